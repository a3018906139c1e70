// Kernels of layers of spike trains, one sample of one tile of neurons each. Tiles own words of output bits and columns of
// weights, so a result never depends on who computed it.
#pragma once
#include <cstddef>
#include <cstdint>

#include "common/isa.hpp"
#include "lif/neuron.hpp"

namespace bitspike::lif {

// Input spikes of a sample by step: those of step t are inputs[starts[t] .. starts[t + 1]), ascending.
struct ByStep {
    const std::int32_t* inputs;
    const std::int32_t* starts;
};

// The sample's neurons and where their results go: bits (n_steps, words); counts, tpsp, membrane (n_out).
struct Neurons {
    Lif lif;
    int n_steps, n_out, words;
    std::uint64_t* bits;
    float *counts, *tpsp, *membrane;
};

// Input spikes of a sample by input: entries[starts[a] .. ends[a]) are those of input inputs[a], a < n_active; `count` spikes
// in row `place` (a step or a bin) of the adjoint.
struct Entry {
    std::uint16_t place, count;
};
struct ByInput {
    const Entry* entries;
    const std::int32_t *inputs, *starts, *ends;
    int n_active;
};

// Spikes of `vectors` * 16 neurons, and which are held at 0 by earlier ones: bits, both (n_steps, words).
struct AdjointRows {
    Back back;
    int n_steps, words, vectors;
    const std::uint64_t *fired, *held;
};

// Sums over a sample's spikes of rows of the adjoint, e_j (vectors * 16), and where they go; null for what is not wanted.
// Lane k of e is neuron lanes[k] of the tile (k < n_lanes), or k itself where `lanes` is null.
struct Gather {
    const float* rows;  // (places, vectors * 16)
    int vectors, n_lanes;
    const std::int32_t* lanes;
    bool counted;           // whether entries have counts other than 1
    const float* weight;    // (n_in, weight_stride), at the tile's first neuron
    std::size_t weight_stride;
    const float* d_scale;   // (vectors * 16) in the order of lanes, 0 beyond n_lanes, as are the next two
    float* d_weight;        // (n_in, d_stride): += e * d_scale
    std::size_t d_stride;
    const float* error_scale;
    float* error;           // (n_in): sum of e * error_scale * weight
    float* tpsp;            // (vectors * 16): += e * weight
};

constexpr int kTileLanes = 256;  // most neurons of a tile of `gather`

struct Kernels {
    int tile;  // neurons of a tile of `forward_events`: 64 or 128
    std::size_t (*count)(const std::uint64_t* bits, std::size_t words);  // bits that are 1
    // Lists a sample's spikes (n_steps, words) as `ByStep`; writes up to 4 entries beyond them. Bits from n_in up are ignored.
    void (*by_step)(const std::uint64_t* bits, int n_in, int n_steps, int words, std::int32_t* starts, std::int32_t* inputs);
    // Lists a sample's spikes by input and bin; returns the number of active inputs. columns: 64 * ceil(n_steps / 64) words;
    // entries: one more than the spikes.
    int (*by_input)(const std::uint64_t* bits, int n_in, int n_steps, int words, int bin, std::uint64_t* columns, Entry* entries,
                    std::int32_t* inputs, std::int32_t* starts, std::int32_t* ends);
    // Moves the bits of rows of `words` that `keep` marks together: (n_steps, to_words); rows of `bits` are `stride` apart.
    void (*squeeze)(const std::uint64_t* bits, int stride, const std::uint64_t* keep, int words, int n_steps, std::uint64_t* to,
                    int to_words);
    // Rows of the tile's weights: (n_in, 16 * vectors).
    void (*forward_events)(const ByStep&, const float* rows, int vectors, const Neurons&, int first);
    // One word of neurons; current (n_out), or (n_steps, n_out).
    void (*forward_constant)(const float* current, const Neurons&, int first);
    void (*forward_dense)(const float* current, const Neurons&, int first);
    // The whole layer, with lateral inhibition; current of step t at current + t * stride; state: 2 * (n_out + 16) floats.
    void (*forward_lateral)(const float* current, std::size_t stride, const Neurons&, float* state);
    // Input current (n_steps, 16 * vectors) of a sample's spikes; rows (n_in, 16 * vectors).
    void (*current)(const ByStep&, const float* rows, int vectors, int n_steps, float* current);
    // Sums, or means, of R(t) over bins of `bin` steps (the last may be shorter): (bins, 16 * vectors).
    void (*adjoint)(const AdjointRows&, int bin, bool mean, float* rows);
    void (*gather)(const ByInput&, const Gather&);
    // Bits (n_steps, words) of one image's train; limits (sides, 256); clears the bits first.
    void (*poisson)(const std::uint8_t* image, int n_pixels, std::uint64_t key, const std::int32_t* limits, int sides,
                    int n_steps, int words, std::uint64_t* bits);
    std::uint64_t (*content_key)(const std::uint8_t* image, int n_pixels);
};

BITSPIKE_VARIANTS(const Kernels&, kernels);

}  // namespace bitspike::lif
