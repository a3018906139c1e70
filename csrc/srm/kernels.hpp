// Kernels of one online step of a layer (ops/srm/reference.py). Every sum runs in the reference's order, so a result depends
// neither on the instruction set nor on who computed it. A "row" is a sample of a dense layer, or one place of one sample of a
// convolution.
#pragma once
#include <cstddef>
#include <cstdint>

#include "common/isa.hpp"

namespace bitspike::srm {

constexpr int kTile = 32;  // neurons of a tile of `forward`
constexpr int kPad = 32;   // rows of u and of the readout's signs are padded to a multiple of it

enum class Kind : int { real = 0, straight_through = 1, hard = 2, relaxed = 3 };

struct Draw {
    Kind kind;
    std::uint64_t key;
    float tau, s_max;
};

struct Neuron {
    float alpha, beta, gamma, scale, readout_scale, box;
};

// How latents move: w -= lr g, or Adam's step of g; minus decay (w - prior); then clipped.
struct Rule {
    bool adam, decays, clips;
    float lr, decay, keep_mean, keep_square, add_square, rate, root, eps, clip;
};

// Latents with what moves beside them; null for what is absent. `factor` multiplies the gradient.
struct Learned {
    float* latent;
    const float* prior;
    float prior_value;
    float *mean, *square;
    const float* factor;
};

struct Forward {
    const float* const* rows;          // of P, (n_rows)
    const std::int32_t *taken, *offsets;  // inputs with P != 0 in some row, and where they lie in a row
    int n_taken, n_rows, n_out;
    const float* latent;  // (n_in, n_out)
    Draw draw;
    float* factor;      // (n_in, n_out), where relaxed
    const float* bias;  // (n_out) as drawn, or null
    Neuron neuron;
    float* r;             // (n_rows, n_out), in place
    const float* before;  // spikes of the last step, as r
    float* spikes;        // as r
    float* u;             // (n_rows, u_stride)
    std::size_t u_stride;
};

struct Event {
    std::int32_t neuron;
    float error;
};

struct Readout {
    const float* signs;  // (n_readouts, stride), 0 beyond n_out
    std::size_t stride;
    const float* bias;  // (n_readouts)
    int n_out, n_readouts, batch;
    float scale, box;
};
// Of one sample: a class, or targets (n_readouts), or neither.
struct Goal {
    const std::int64_t* class_;
    const float* values;
};

// The errors of all rows: those that are not 0 as events[begins[row] .. begins[row + 1]), or all of them.
struct Learn {
    const float* p;               // row r meets trace i at p[rows[r] + inputs[i]]
    const std::int32_t *rows, *inputs;
    const float* errors;          // (tiles, n_rows, kTile)
    const Event* events;          // null: learn from `errors`
    const std::int64_t* begins;   // (n_rows + 1)
    const std::uint32_t* seen;    // (n_in): 0 where P is 0 in all rows; null: take all
    int n_rows, n_in, n_out;
    float scale;
    Learned tensor;
    Rule rule;
};

struct Kernels {
    int lanes;  // inputs of a panel of `learn_events`
    // P <- alpha P + Q, Q <- beta Q + x of `n` inputs; x is uint8 where `bytes`, else float. seen |= the bits of P.
    void (*traces)(const Neuron&, float* p, float* q, const void* x, bool bytes, std::size_t n, std::uint32_t* seen);
    // Draws numbers 0..n-1 of a tensor; factor may be null.
    void (*sample)(const Draw&, const float* latent, std::size_t n, float* weight, float* factor);
    // R, U and S of one tile of neurons in all rows.
    void (*forward)(const Forward&, int tile);
    // One sample: spikes (n_out), u (stride) -> readouts, their slopes (padded), loss; errors, tile by tile, error_stride
    // apart; returns how many of them are not 0.
    std::size_t (*read)(const Readout&, const float* spikes, const float* u, Goal, float* readout, float* slope, float* loss,
                        float* errors, std::size_t error_stride);
    // Errors of a row that are not 0; returns their number.
    std::size_t (*list)(const float* errors, std::size_t error_stride, int n_out, Event*);
    // Gradient and move of a panel of inputs: of `lanes` from events (inputs lie one after the other), of kTile from dense
    // errors. g: 2 * kTile * n_out padded.
    void (*learn_events)(const Learn&, std::size_t panel, float* g);
    void (*learn_dense)(const Learn&, std::size_t panel, float* g);
    // Moves `n` latents by the gradient g * scale; g padded to whole vectors.
    void (*move)(const Rule&, const Learned&, const float* g, float scale, std::size_t n);
};

BITSPIKE_VARIANTS(const Kernels&, kernels);

}  // namespace bitspike::srm
