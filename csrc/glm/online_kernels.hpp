// The kernel of the published rules, which move parameters in every step (ops/glm/online.py).
#pragma once
#include "glm/kernels.hpp"

namespace bitspike::glm {

// A tensor that is learned, and what a rule carries of it: `size` numbers per stream. Null: not carried.
struct Learned {
    float* value;
    std::size_t size;
    float *trace, *sums, *top, *bottom, *product;
};

// weights (source rows, filters, target rows); mask (source rows, target rows): 0 where a synapse is missing; null: none is.
struct Link {
    int source, target;
    Learned weight;
    const float* mask;
};

// FL-SNN (6) to (11), or VOWEL (5) to (10).
struct Rule {
    bool vowel, baseline, aliased;
    int steps, tail;  // of a block; for which a source without traces is followed
    float lr, kappa, beta, alpha, per_output, per_hidden, log_silence;
};

// Streams in parallel; pointers by group, the input first.
struct Online {
    const Group* groups;
    const Link* links;
    const Learned *biases, *own;  // of every group but the input, from 1 on; own null: circuits do not hear themselves
    int n_groups, n_links, streams, n_steps, length;
    Filters filters, own_filters;
    float* const* history;               // (streams, length, rows): spikes of the last steps, newest first
    std::int32_t* const* idle;           // (streams, rows): steps since a row's trace ended; `tail` + 1: not followed
    const ByStep* inputs;                // per stream
    const float* const* given;           // (streams, n_steps, rows) of what is clamped; null: drawn
    const std::uint64_t* keys;           // per stream
    std::uint64_t first;                 // number of the first step, for draws
    float* const* emitted;               // (streams, n_steps, rows)
    float *p, *log_output, *divergence;  // (streams, n_steps, output rows), (streams, n_steps)
    float *signal, *reward;              // (streams): ell and the rewards of the block so far, FL-SNN
    std::int64_t* count;                 // steps of the block so far
    Rule rule;
};

struct OnlineKernels {
    std::size_t (*bytes)(const Online&);  // of the memory that `run` works in
    void (*run)(const Online&, void* memory);
};

BITSPIKE_VARIANTS(const OnlineKernels&, online_kernels);

}  // namespace bitspike::glm
