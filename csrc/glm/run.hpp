// Clamped runs of a window, in the memory of one sample.
#pragma once
#include "common/arena.hpp"
#include "glm/circuit.hpp"
#include "glm/rows.hpp"

namespace bitspike::glm {
namespace {

// Numbers of one sample; those of `draws` runs beside each other, as in `Sample`.
struct Scratch {
    float *base, *u;           // potentials: what the input adds, and of one run
    float *p, *s, *log_total;  // log_total lies in the first lanes of a row
    float *g, *g_sum, *q;
    float* z;                    // what emissions bring: (n_steps, filters, lanes) per connection
    float *output, *divergence;  // ln p of outputs, ln(p / r) of hidden circuits: (draws, n_steps)
    float *reward, *weight;
    bool diverges;

    Scratch(const Network& net, const Signal& signal, Arena& arena)
        : diverges(signal.alpha != 0 && signal.kind != Kind::importance) {
        const std::size_t steps = net.n_steps, one = net.lanes * steps, all = one * signal.draws, times = steps * signal.draws;
        base = arena.take<float>(one);
        u = arena.take<float>(one);
        p = arena.take<float>(all);
        s = arena.take<float>(all);
        log_total = arena.take<float>(all);
        g = arena.take<float>(all);
        g_sum = arena.take<float>(one);
        q = arena.take<float>(net.lanes + net.output().lanes);
        z = arena.take<float>(net.heard * net.filters.n * steps);
        output = arena.take<float>(times);
        divergence = arena.take<float>(times);
        reward = arena.take<float>(times);
        weight = arena.take<float>(times);
    }
};

struct Window {
    const Network& net;
    const Signal& signal;
    const ByStep inputs;
    const float* wanted;
    const std::uint64_t key;
    const Sample& sample;
    const Scratch& now;

    float* z(const Connection& c) const { return now.z + c.first * net.filters.n * net.n_steps; }
    ByStep emitted(int group, int draw) const { return group ? emissions(net, sample, draw, group) : inputs; }

    // z of the events of step t of a group, for all who hear it.
    void hear(int group, int draw, int t) const {
        const ByStep events = emitted(group, draw);
        const int begin = events.starts[t], n = events.starts[t + 1] - begin;
        if (!n) return;
        for (int c = 0; c < net.n_connections; ++c) {
            const Connection& y = net.connections[c];
            if (y.source != group) continue;
            const std::size_t width = static_cast<std::size_t>(net.filters.n) * net.groups[y.target].lanes;
            glm::hear(y.rows, width, events.inputs + begin, n, z(y) + t * width);
        }
    }

    // u = base + sum over steps t' < t of a_k(t - 1 - t') z_k(t'), of the connections from the input or from circuits.
    void filter(const Group& g, int target, bool from_input, int draw, int t, const float* base, float* u) const {
        const Filters& f = net.filters;
        const std::size_t lanes = g.lanes;
        by_blocks(lanes, [&](auto blocks, std::size_t lane) {
            typename decltype(blocks)::Sum sum;
            sum.add(base + lane);
            for (int c = 0; c < net.n_connections; ++c) {
                const Connection& y = net.connections[c];
                if (y.target != target || (y.source == 0) != from_input) continue;
                const std::int32_t* starts = emitted(y.source, draw).starts;
                for (int d = 0, last = min(f.length, t); d < last; ++d) {
                    const int then = t - 1 - d;
                    if (starts[then] == starts[then + 1]) continue;
                    const float* from = z(y) + then * f.n * lanes + lane;
                    for (int k = 0; k < f.n; ++k)
                        if (const float a = f.a[k * f.length + d]; a != 0) sum.add(from + k * lanes, a);
                }
            }
            sum.store(u + lane);
        });
    }

    // What a circuit's own emissions add to u.
    void add_own(const Group& g, int t, const float* s, float* u) const {
        for (int d = 0, last = min(net.own_length, t); d < last; ++d) {
            const float *own = g.own + d * g.lanes, *then = s + (t - 1 - d) * g.lanes;
            for (int i = 0; i < g.lanes; i += kLanes) store(u + i, load(u + i) + load(then + i) * load(own + i));
        }
    }

    // What the input adds, the same for all draws.
    void drive() const {
        for (int t = 0; t + 1 < net.n_steps; ++t) hear(0, 0, t);
        for (int group = 1; group < net.n_groups; ++group) {
            const Group& g = net.groups[group];
            for (int t = 0; t < net.n_steps; ++t) filter(g, group, true, 0, t, g.bias, now.base + place(net, 0, g) + t * g.lanes);
        }
    }

    // A group's step: potentials, chances, emissions, and what those bring.
    void step(int group, int draw, int t) const {
        const Group& g = net.groups[group];
        const bool is_output = group == net.n_groups - 1;
        const std::size_t once = place(net, 0, g) + t * g.lanes, at = place(net, draw, g) + t * g.lanes;
        float *u = now.u + once, *p = now.p + at, *s = now.s + at, *log_total = now.log_total + at;
        filter(g, group, false, draw, t, now.base + once, u);
        if (g.own) add_own(g, t, now.s + place(net, draw, g), u);
        chances(g, u, p, is_output || now.diverges ? log_total : nullptr);
        if (is_output) std::memcpy(s, wanted + t * g.lanes, g.lanes * sizeof(float));
        else draw_group(g, group, draw, t, p, s);
        std::int32_t* starts = starts_of(net, sample, draw, group);
        starts[t + 1] = starts[t] + list(g, s, rows_of(net, sample, draw, group) + starts[t]);
        hear(group, draw, t);
        const int time = draw * net.n_steps + t;
        if (is_output) now.output[time] = log_likelihood(g, u, s, log_total);
        else if (now.diverges)
            now.divergence[time] += log_likelihood(g, u, s, log_total) - static_cast<float>(g.n) * signal.log_silence -
                                    static_cast<float>(starts[t + 1] - starts[t]) * (g.log_value - signal.log_silence);
    }
    void draw_group(const Group& g, int group, int draw, int t, const float* p, float* s) const {
        const std::uint64_t stream = key + static_cast<std::uint64_t>(draw) * net.n_groups + static_cast<std::uint64_t>(group);
        glm::draw(g, random::mix(stream), static_cast<std::uint64_t>(t), p, s);
    }

    void run(int draw) const {
        for (int group = 1; group < net.n_groups; ++group) starts_of(net, sample, draw, group)[0] = 0;
        fill(now.divergence + draw * net.n_steps, now.divergence + (draw + 1) * net.n_steps, 0.0f);
        if (net.ordered) {
            for (int group = 1; group < net.n_groups; ++group)
                for (int t = 0; t < net.n_steps; ++t) step(group, draw, t);
        } else {
            for (int t = 0; t < net.n_steps; ++t)
                for (int group = 1; group < net.n_groups; ++group) step(group, draw, t);
        }
    }
};

}  // namespace
}  // namespace bitspike::glm
