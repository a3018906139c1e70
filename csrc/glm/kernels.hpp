// Kernels of circuits that fire by chance, weights held for a window (ops/glm/block.py). All sums have a written order, so a
// result depends neither on the instruction set nor on who computed it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "common/isa.hpp"
#include "lif/kernels.hpp"

namespace bitspike::glm {

using lif::ByStep;

constexpr int kPad = 16;           // circuits of a group are filled up to a multiple of it
constexpr float kNobody = -1e30f;  // potential of what fills up: it never emits

// a_k(d): (n, length).
struct Filters {
    int n, length;
    const float* a;
};

// Row c * n + i is value c of circuit i; its lane is c * width + i. Arrays of all circuits hold the lanes of group after group,
// from `first` on; those over steps are (n_steps, lanes) per group.
struct Group {
    int n, values, width, lanes, first, first_circuit;
    const float* bias;  // (lanes), kNobody where no circuit is
    const float* own;   // (own_length, lanes): what a spike adds to its own row, by lag; null where own_length is 0
    float log_value;    // ln r of each value, of the reference

    BITSPIKE_INLINE_MEMBER std::size_t rows() const { return static_cast<std::size_t>(n) * values; }
};

// `rows` (source rows, filters, lanes of the target); `first`: that many lanes have the connections before it.
struct Connection {
    int source, target;
    std::size_t first;
    const float* rows;
};

// The first group is the input, the last the output.
struct Network {
    const Group* groups;
    const Connection* connections;
    int n_groups, n_connections, n_steps, own_length;
    int lanes, circuits;  // of all groups but the input
    std::size_t heard;    // lanes of all connections
    bool ordered;         // every group hears lower ones only
    Filters filters;

    BITSPIKE_INLINE_MEMBER const Group& output() const { return groups[n_groups - 1]; }
};

enum class Kind : int { scalar = 0, importance = 1, vector = 2 };
enum class Baseline : int { none = 0, mean = 1, leave_one_out = 2 };

struct Signal {
    Kind kind;
    Baseline baseline;
    int draws, n_feedback;
    float lam, alpha, log_silence;
    bool same_step;
    const float* mean;             // (n_steps)
    const float* const* feedback;  // per group: B (n_feedback, lanes of the output, lanes), one for all filters or one each
};

// What a sample leaves for the sums over the batch; E of draw m at m * lanes * n_steps * filters, then that of all draws
// where there are several: (n_steps, filters, lanes) per group, at the steps in which who is heard emitted.
struct Sample {
    float *bias, *own;               // (lanes), (own_length, lanes)
    float *reward, *log_likelihood;  // (n_steps), (1)
    float *emitted, *scores;         // (groups), (circuits of the output)
    std::int32_t *rows, *starts;     // emissions of a draw and group as ByStep, see `emissions`
    float* errors;
};

struct Kernels {
    std::size_t (*learn_bytes)(const Network&, const Signal&);  // of the memory that `learn` works in
    // The window of one sample: inputs, what outputs emit (n_steps, lanes of the output), and the key of its draws.
    void (*learn)(const Network&, const Signal&, ByStep inputs, const float* wanted, std::uint64_t key, const Sample&,
                  void* memory);
    // gradient (source rows, filters, lanes of the target) += E of the emissions of the rows begin .. end - 1.
    void (*scatter)(const Network&, const Signal&, const Connection&, const Sample*, const ByStep* inputs, std::size_t n, int begin,
                    int end, float* gradient);
};

BITSPIKE_VARIANTS(const Kernels&, kernels);

// Numbers of a group's rows in lanes; lanes without a circuit become `other`.
BITSPIKE_INLINE void to_lanes(const Group& g, const float* rows, float* lanes, float other) {
    for (int c = 0; c < g.values; ++c, rows += g.n, lanes += g.width) {
        std::memcpy(lanes, rows, g.n * sizeof(float));
        for (int i = g.n; i < g.width; ++i) lanes[i] = other;
    }
}

// Where things stand in the arrays of a sample.
BITSPIKE_INLINE std::size_t place(const Network& net, int draw, const Group& group) {
    return (static_cast<std::size_t>(draw) * net.lanes + group.first) * net.n_steps;
}
BITSPIKE_INLINE std::int32_t* rows_of(const Network& net, const Sample& sample, int draw, int group) {
    return sample.rows + (static_cast<std::size_t>(draw) * net.circuits + net.groups[group].first_circuit) * net.n_steps;
}
BITSPIKE_INLINE std::int32_t* starts_of(const Network& net, const Sample& sample, int draw, int group) {
    return sample.starts + (static_cast<std::size_t>(draw) * net.n_groups + group) * (net.n_steps + 1);
}
BITSPIKE_INLINE ByStep emissions(const Network& net, const Sample& sample, int draw, int group) {
    return {rows_of(net, sample, draw, group), starts_of(net, sample, draw, group)};
}

}  // namespace bitspike::glm
