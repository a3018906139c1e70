// Kernels of the first-spike layer: one tile of 64 neurons (readout: 16) over a whole batch.
//
// A tile's state lives in registers, its weights and gradients in the first two caches. Threads own tiles, so every sum
// has one fixed order whatever the number of threads.
#pragma once
#include <cstddef>
#include <cstdint>

#include "common/isa.hpp"

namespace bitspike::first_spike {

constexpr int kTile = 64;    // neurons of a hidden tile: one word of sign bits
constexpr int kReadout = 16; // neurons of a readout tile

// Input spikes of a batch, sorted by active step ("slot"): those of sample b in slot a are
// events[starts[b * (slots + 1) + a] .. starts[b * (slots + 1) + a + 1]).
struct Spikes {
    const std::int32_t* events;
    const std::int32_t* starts;
    const std::int32_t* n_active;  // slots in use per sample, at least 1
    int batch, slots, n_in;
};

struct Layer {
    int n_out, n_padded;        // n_padded: multiple of the tile
    const float* thresholds;    // (n_padded)
    const std::uint64_t* words; // binary: [tile][n_in], bit = +1
    const float* rows;          // real: [tile][n_in][tile width]
};

// dL/ds of a layer: as it is, (batch, slots, n_out), where n_next is 0; else as the product of `values`, (batch, slots,
// n_next), with the weights `next` (n_out, n_next) of the layer above. `keep` (batch, n_out), where given, is 0 for the
// neurons whose spike was lost.
struct Gradient {
    const float* values;
    const float* next;
    int n_next;
    const bool* keep;
};

// The events of the samples with a gradient ("live"), sorted by input: those of input i are places[starts[i]..starts[i+1]),
// each (index of the live sample) * slots + slot. `used[live]` counts the slots up to the last one with a gradient.
struct ByInput {
    const std::int32_t *samples, *used, *starts, *places;
    std::size_t n_live;
};

struct Kernels {
    // Running maximum of the potential, (batch, slots, n_padded), and slot of the first crossing (>= n_active: never).
    void (*forward_binary)(const Spikes&, const Layer&, std::int16_t* maxima, std::int16_t* crossing, int tile);
    void (*forward_real)(const Spikes&, const Layer&, float* maxima, std::int16_t* crossing, int tile);
    // From dL/ds: gradient of weights (n_in, n_out), thresholds (n_out), and, where d_potential is not null (and zero on
    // entry), dL/dV (batch, slots, n_out).
    void (*backward_binary)(const Spikes&, const Layer&, const std::int16_t* maxima, const Gradient&, const ByInput&,
                            float width, float* d_weight, float* d_threshold, float* d_potential, int tile);
    void (*backward_real)(const Spikes&, const Layer&, const float* maxima, const Gradient&, const ByInput&, float width,
                          float* d_weight, float* d_threshold, float* d_potential, int tile);
    // Potential minus threshold after every slot, (batch, slots, n_out); the last one repeats where slots are unused.
    void (*readout)(const Spikes&, const Layer&, float* margins, int tile);
    void (*readout_backward)(const Spikes&, const Layer&, const float* gradient, float* d_weight, float* d_threshold,
                             int tile);
    // Sign bits of a (n_in, n_out) weight matrix for one tile: bit = 1 where the weight is positive.
    void (*pack_words)(const float* weight, int n_in, int n_out, std::uint64_t* words, int tile);
    // Competing-risk loss of one sample and its gradient (slots, n_out).
    float (*race)(const float* margins, int n_active, int slots, int n_out, int label, float tau_c, float tau_h,
                  float beta, float skip, float* gradient);
};

BITSPIKE_VARIANTS(const Kernels&, kernels);

}  // namespace bitspike::first_spike
