// Steps of the published rules.
#pragma once
#include "glm/circuit.hpp"
#include "glm/followed.hpp"

namespace bitspike::glm {
namespace {

// Moves `n` parameters, from `at` on, by the slopes g(j) of ln p, j = 0, kLanes, ..; `own`: of the stream.
template <bool vowel, class Slope>
BITSPIKE_INLINE void move(const Rule& c, const Learned& t, std::size_t own, std::size_t at, int n, bool is_output, bool full,
                          float reward, const Slope& g) {
    const Floats keep = splat(c.kappa), take = splat(1 - c.kappa);
    for (int j = 0; j < n; j += kLanes) {
        const int lanes = n - j;
        const std::size_t here = own + at + j;
        Floats slope = g(j);
        if (!vowel && c.steps > 1) {
            slope += load(t.sums + here, lanes);
            store(t.sums + here, full ? Floats{} : slope, lanes);
            if (!full) continue;
        }
        Floats e = load(t.trace + here, lanes) * keep + slope * take, change = e;
        if (!is_output) {
            Floats left = splat(reward);
            if (t.top) {
                const Floats square = e * e;
                const Floats top = load(t.top + here, lanes) * c.beta + square * reward * (1 - c.beta);
                const Floats bottom = load(t.bottom + here, lanes) * c.beta + square * (1 - c.beta);
                store(t.top + here, top, lanes);
                store(t.bottom + here, bottom, lanes);
                if (c.baseline) left -= top / (bottom + 1e-7f);
            }
            change = left * e;
            if constexpr (vowel) {
                change = (c.aliased ? e : load(t.product + here, lanes)) * keep + change * take;
                if (c.aliased) e = change;
                else store(t.product + here, change, lanes);
            }
        }
        store(t.trace + here, e, lanes);
        store(t.value + at + j, load(t.value + at + j, lanes) + change * c.lr, lanes);
    }
}

struct OnlineScratch {
    const Online& y;
    int lanes, max_rows;
    Followed* followed;                              // (groups, streams)
    float *u, *x, *own;                              // (rows), (rows of the largest group, filters), (filters, rows)
    float *potential, *p, *s, *log_total, *uniform;  // lanes of a group
    float* errors;                                   // (streams, rows of all circuits)
    std::int32_t* emitted;                           // (rows)

    OnlineScratch(const Online& y, Arena& arena) : y(y), lanes(0), max_rows(0) {
        int all = 0;
        for (int group = 0; group < y.n_groups; ++group) {
            lanes = max(lanes, y.groups[group].lanes);
            max_rows = max(max_rows, static_cast<int>(y.groups[group].rows()));
            all += group ? round_rows(y.groups[group]) : 0;
        }
        followed = arena.take<Followed>(static_cast<std::size_t>(y.n_groups) * y.streams);
        for (int group = 0; group < y.n_groups; ++group)
            for (int stream = 0; stream < y.streams; ++stream) {
                const Followed one(static_cast<int>(y.groups[group].rows()), y.length, arena);
                if (arena.base) of(group, stream) = one;
            }
        u = arena.take<float>(max_rows + kPad);
        x = arena.take<float>(static_cast<std::size_t>(max_rows) * y.filters.n);
        own = arena.take<float>(static_cast<std::size_t>(max_rows + kPad) * max(1, y.own_filters.n));
        potential = arena.take<float>(lanes);
        p = arena.take<float>(lanes);
        s = arena.take<float>(lanes);
        log_total = arena.take<float>(lanes);
        errors = arena.take<float>(static_cast<std::size_t>(y.streams) * all);
        emitted = arena.take<std::int32_t>(max_rows + kPad);
    }
    Followed& of(int group, int stream) const { return followed[static_cast<std::size_t>(group) * y.streams + stream]; }
    static int round_rows(const Group& g) { return (static_cast<int>(g.rows()) + kPad - 1) / kPad * kPad; }
    float* error(int group, int stream) const {
        float* at = errors;
        for (int other = 1; other < y.n_groups; ++other)
            at += static_cast<std::size_t>(round_rows(y.groups[other])) * (other < group ? y.streams : other == group ? stream : 0);
        return at;
    }
};

struct Stepping {
    const Online& y;
    const OnlineScratch& now;

    // u += x w of the sources that have a trace.
    void hear(const Link& link, int stream, float* u) const {
        const int filters = y.filters.n, n = static_cast<int>(y.groups[link.target].rows());
        const Followed& sources = now.of(link.source, stream);
        sources.each([&](int row) {
            if (!sources.has_trace(row)) return;
            float x[kMostFilters];
            for (int first = 0; first < filters; first += kMostFilters) {
                const int some = min(kMostFilters, filters - first);
                sources.trace(row, {some, y.filters.length, y.filters.a + first * y.filters.length}, x, 1);
                const float* w = link.weight.value + (static_cast<std::size_t>(row) * filters + first) * n;
                for (int j = 0; j < n; j += kLanes) {
                    Floats sum = load(u + j);
                    for (int k = 0; k < some; ++k) sum += load(w + k * n + j, n - j) * x[k];
                    store(u + j, sum);
                }
            }
        });
    }
    static constexpr int kMostFilters = 16;

    void own_traces(int group, int stream) const {
        const Followed& circuits = now.of(group, stream);
        const std::size_t stride = OnlineScratch::round_rows(y.groups[group]);
        fill(now.own, now.own + y.own_filters.n * stride, 0.0f);
        circuits.each([&](int row) { circuits.trace(row, y.own_filters, now.own + row, stride); });
    }

    // Potentials, chances, emissions and errors of a group in step t.
    void emit(int group, int stream, int t) const {
        const Group& g = y.groups[group];
        const int n = static_cast<int>(g.rows());
        const bool is_output = group == y.n_groups - 1;
        float* u = now.u;
        for (int j = 0; j < n; j += kLanes) store(u + j, load(y.biases[group].value + j, n - j));
        for (int k = 0; k < y.n_links; ++k)
            if (y.links[k].target == group) hear(y.links[k], stream, u);
        if (y.own) {
            own_traces(group, stream);
            for (int k = 0; k < y.own_filters.n; ++k)
                for (int j = 0; j < n; j += kLanes)
                    store(u + j, load(u + j) + load(now.own + static_cast<std::size_t>(k) * OnlineScratch::round_rows(g) + j) *
                                                   load(y.own[group].value + static_cast<std::size_t>(k) * n + j, n - j));
        }
        to_lanes(g, u, now.potential, kNobody);
        chances(g, now.potential, now.p, now.log_total);
        const std::size_t time = static_cast<std::size_t>(stream) * y.n_steps + t;
        if (y.given[group]) to_lanes(g, y.given[group] + time * n, now.s, 0);
        else
            draw(g, random::mix(y.keys[stream] + static_cast<std::uint64_t>(group)), y.first + static_cast<std::uint64_t>(t), now.p,
                 now.s);
        float *error = now.error(group, stream), *emitted = y.emitted[group] + time * n;
        int count = 0;
        for (int c = 0, row = 0; c < g.values; ++c)
            for (int at = c * g.width, end = at + g.n; at < end; ++at, ++row) {
                emitted[row] = now.s[at];
                error[row] = now.s[at] - now.p[at];
                count += now.s[at] != 0;
                if (is_output) y.p[time * n + row] = now.p[at];
            }
        const float ln = log_likelihood(g, now.potential, now.s, now.log_total), silence = y.rule.log_silence;
        if (is_output) y.log_output[time] = ln;
        else y.divergence[time] += ln - static_cast<float>(g.n) * silence - static_cast<float>(count) * (g.log_value - silence);
    }

    // What a group's circuits hear moves: `full` where a block of steps ends.
    template <bool vowel>
    void learn(int stream, bool full, float reward) const {
        const Rule& c = y.rule;
        for (int k = 0; k < y.n_links; ++k) {
            const Link& link = y.links[k];
            const Followed& sources = now.of(link.source, stream);
            const int filters = y.filters.n, n = static_cast<int>(y.groups[link.target].rows());
            const float* error = now.error(link.target, stream);
            const bool is_output = link.target == y.n_groups - 1;
            sources.each([&](int row) {
                const float* mask = link.mask ? link.mask + static_cast<std::size_t>(row) * n : nullptr;
                sources.trace(row, y.filters, now.x, 1);
                for (int k = 0; k < filters; ++k) {
                    const std::size_t at = (static_cast<std::size_t>(row) * filters + k) * n;
                    const float x = now.x[k];
                    move<vowel>(c, link.weight, stream * link.weight.size, at, n, is_output, full, reward, [&](int j) {
                        const Floats g = load(error + j) * x;
                        return mask ? g * load(mask + j, n - j) : g;
                    });
                }
            });
        }
        for (int group = 1; group < y.n_groups; ++group) {
            const int n = static_cast<int>(y.groups[group].rows());
            const float* error = now.error(group, stream);
            const bool is_output = group == y.n_groups - 1;
            const Learned& bias = y.biases[group];
            move<vowel>(c, bias, stream * bias.size, 0, n, is_output, full, reward, [&](int j) { return load(error + j); });
            if (!y.own) continue;
            own_traces(group, stream);
            for (int k = 0; k < y.own_filters.n; ++k) {
                const float* x = now.own + static_cast<std::size_t>(k) * OnlineScratch::round_rows(y.groups[group]);
                move<vowel>(c, y.own[group], stream * y.own[group].size, static_cast<std::size_t>(k) * n, n, is_output, full,
                            reward, [&](int j) { return load(error + j) * load(x + j); });
            }
        }
    }

    // A step on; sources whose trace ended long ago leave, and nothing is carried of them.
    void pass(int group, int stream, int t) const {
        Followed& sources = now.of(group, stream);
        sources.each([&](int row) {
            sources.idle[row] = sources.has_trace(row) ? 0 : sources.idle[row] + 1;
            if (sources.idle[row] <= y.rule.tail) return;
            sources.followed[row / 64] &= ~(1ull << row % 64);
            for (int k = 0; k < y.n_links; ++k) {
                if (y.links[k].source != group) continue;
                const Learned& w = y.links[k].weight;
                const std::size_t n = static_cast<std::size_t>(y.filters.n) * static_cast<int>(y.groups[y.links[k].target].rows());
                const std::size_t at = stream * w.size + row * n;
                float* const carried[] = {w.trace, w.sums, w.top, w.bottom, w.product};
                for (float* part : carried)
                    if (part) std::memset(part + at, 0, n * sizeof *part);
            }
        });
        if (group == 0) {
            const ByStep& in = y.inputs[stream];
            return sources.pass(in.inputs + in.starts[t], in.starts[t + 1] - in.starts[t]);
        }
        const int n = static_cast<int>(y.groups[group].rows());
        const float* emitted = y.emitted[group] + (static_cast<std::size_t>(stream) * y.n_steps + t) * n;
        int count = 0;
        for (int row = 0; row < n; ++row)
            if (emitted[row] != 0) now.emitted[count++] = row;
        sources.pass(now.emitted, count);
    }

    void step(int t) const {
        const Rule& c = y.rule;
        for (int stream = 0; stream < y.streams; ++stream) {
            y.divergence[static_cast<std::size_t>(stream) * y.n_steps + t] = 0;
            for (int group = 1; group < y.n_groups; ++group) emit(group, stream, t);
        }
        const bool full = c.vowel || ++*y.count == c.steps;
        for (int stream = 0; stream < y.streams; ++stream) {
            const std::size_t time = static_cast<std::size_t>(stream) * y.n_steps + t;
            float reward = y.log_output[time] / c.per_output - c.alpha * y.divergence[time] / c.per_hidden;
            if (c.vowel) {
                learn<true>(stream, true, reward);
            } else {
                y.reward[stream] += reward;
                if (full) {
                    y.signal[stream] = c.kappa * y.signal[stream] + (1 - c.kappa) * y.reward[stream];
                    y.reward[stream] = 0;
                }
                learn<false>(stream, full, y.signal[stream]);
            }
            for (int group = 0; group < y.n_groups; ++group) pass(group, stream, t);
        }
        if (full && !c.vowel) *y.count = 0;
    }
};

static std::size_t online_bytes(const Online& y) { return bytes_of<OnlineScratch>(y); }

static void run_online(const Online& y, void* memory) {
    Arena arena{static_cast<char*>(memory)};
    const OnlineScratch now(y, arena);
    for (int group = 0; group < y.n_groups; ++group)
        for (int stream = 0; stream < y.streams; ++stream) {
            const std::size_t rows = static_cast<int>(y.groups[group].rows()), at = stream * rows;
            now.of(group, stream).read(y.history[group] + at * y.length, y.idle[group] + at, y.rule.tail);
        }
    const Stepping stepping{y, now};
    for (int t = 0; t < y.n_steps; ++t) stepping.step(t);
    for (int group = 0; group < y.n_groups; ++group)
        for (int stream = 0; stream < y.streams; ++stream)
            now.of(group, stream)
                .write(y.history[group] + static_cast<std::size_t>(stream) * static_cast<int>(y.groups[group].rows()) * y.length);
}

}  // namespace
}  // namespace bitspike::glm
