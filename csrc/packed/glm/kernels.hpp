// Packed inference of circuits that fire by chance: the prepared network, and its run. The numbers are those of
// bitspike/packed/glm/reference.py, bit for bit.
#pragma once
#include "common/isa.hpp"
#include "packed/engine.hpp"
#include "packed/trains/network.hpp"

namespace bitspike::packed::glm {

using trains::Inputs;

constexpr int max_groups = 64;

// A number of a filter that is not 0.
struct Tap {
    int k;
    float a;  // a_k(d)
};

// Filters a_k(d), k < n, d < length; no longer than the window.
struct Filters {
    int n, length;
    int slots;         // of rings, in which step t has place t % slots; a power of two, at least `length`
    const Tap* taps;   // lag by lag
    const int* first;  // (longest of all filters + 1): those of lag d are first[d] to first[d + 1] - 1
};

// Row c * n + i is value c of circuit i; lanes are the rows rounded up to 16, and what fills them up is 0.
struct Group {
    int n, values, rows, lanes;
    std::int64_t fan_out;    // additions that a spike causes
    const float* bias;       // (lanes)
    const float* own;        // (feedback.n, lanes); null where circuits do not hear themselves
    int n_from_input, n_from_circuits;  // connections that end here
};

// A source row adds `width` = filters x lanes of the target numbers: floats, or +1, -1 and 0 (no synapse) in bytes.
struct Connection {
    int source, target, lanes, width;
    const float* rows;        // (source rows, width), or null
    const std::int8_t* signs; // (source rows, width), or null
    const float* scale;       // (lanes), of signs
    std::size_t ring;         // where its last sums stand, (filters.slots, width) numbers
};

enum class Decision { probability, count, mean_field };

struct Network {
    const Group* groups;  // the input first, the output last
    const Connection* connections;
    const std::int32_t* fan_out;  // (input rows)
    int n_groups, n_connections, n_steps, runs;
    std::size_t rings;  // numbers in the rings of all connections
    Filters filters, feedback;
    int memory;  // steps: the length of the longer ones
    Decision decision;
    bool draws_output;
    std::uint64_t draw_seed;
};

// Null pointers are results that nobody asked for.
struct Outputs {
    float* scores;     // (n, classes): after the last step
    float* over_time;  // (n, n_steps, classes): after each step
    std::int64_t* n_spikes;
    std::int64_t* n_synops;
};

using Kernels = Engine<Network, Inputs, Outputs>;

BITSPIKE_VARIANTS(const Kernels&, kernels);

}  // namespace bitspike::packed::glm
