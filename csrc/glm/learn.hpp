// The learning signal of a window, errors, and where they go.
#pragma once
#include "glm/run.hpp"

namespace bitspike::glm {
namespace {

// Sum over t' > t of lam^(t' - t - 1) x(t'), or with `same_step` over t' >= t of lam^(t' - t), times `factor`; added to `to`.
static void add_later(const float* x, int n, float lam, bool same_step, float factor, float* to) {
    float total = 0;
    for (int t = n - 1; t >= 0; --t) {
        const float with_now = x[t] + lam * total;
        to[t] += factor * (same_step ? with_now : total);
        total = with_now;
    }
}

static void rewards(const Window& w) {
    const Signal& signal = w.signal;
    const int n = w.net.n_steps;
    for (int m = 0; m < signal.draws; ++m) {
        float* reward = w.now.reward + m * n;
        fill(reward, reward + n, 0.0f);
        add_later(w.now.output + m * n, n, signal.lam, signal.same_step, 1, reward);
        if (w.now.diverges) add_later(w.now.divergence + m * n, n, signal.lam, true, -signal.alpha, reward);
    }
    for (int t = 0; t < n; ++t) {
        float total = 0;
        for (int m = 0; m < signal.draws; ++m) total += w.now.reward[m * n + t];
        w.sample.reward[t] = total / static_cast<float>(signal.draws);
    }
}

// Rewards minus their baseline, or the importance of a draw.
static void weigh(const Window& w) {
    const Signal& signal = w.signal;
    const int n = w.net.n_steps, draws = signal.draws;
    const float many = static_cast<float>(draws), others = many / (many - 1);
    for (int t = 0; t < n; ++t) {
        const float *reward = w.now.reward + t, mean = w.sample.reward[t];
        float* weight = w.now.weight + t;
        if (signal.kind == Kind::importance) {
            float largest = reward[0], total = 0;
            for (int m = 1; m < draws; ++m) largest = max(largest, reward[m * n]);
            for (int m = 0; m < draws; ++m) total += weight[m * n] = exp(splat(reward[m * n] - largest))[0];
            for (int m = 0; m < draws; ++m) weight[m * n] = many * (weight[m * n] / total) - 1;
            continue;
        }
        for (int m = 0; m < draws; ++m) {
            float here = reward[m * n];
            if (signal.baseline == Baseline::leave_one_out) here = (here - mean) * others;
            if (signal.baseline == Baseline::mean) here -= signal.mean[t];
            weight[m * n] = here;
        }
    }
}

// Where E of a group stands in a sample: of a draw, or of all together.
BITSPIKE_INLINE float* error_of(const Network& net, const Sample& sample, int draw, const Group& g) {
    return sample.errors + place(net, draw, g) * net.filters.n;
}
BITSPIKE_INLINE int all_draws(const Signal& signal) { return signal.draws > 1 ? signal.draws : 0; }

// Does the group hear, from the input or from circuits, anything in step t?
static bool hears(const Window& w, int target, bool from_input, int draw, int t) {
    for (int c = 0; c < w.net.n_connections; ++c) {
        const Connection& y = w.net.connections[c];
        if (y.target != target || (y.source == 0) != from_input) continue;
        const std::int32_t* starts = w.emitted(y.source, draw).starts;
        if (starts[t] < starts[t + 1]) return true;
    }
    return false;
}

// Do hidden circuits hear the outputs' errors?
BITSPIKE_INLINE bool feeds_back(const Window& w) { return w.signal.kind == Kind::vector && w.net.n_groups > 2; }

// q of a hidden group in step t: sum over filters and outputs of B E, E (filters, lanes of the output).
static void feed_back(const Window& w, int group, const float* e) {
    const Network& net = w.net;
    const Group &out = net.output(), &g = net.groups[group];
    const float* given = e;
    if (w.signal.n_feedback == 1 && net.filters.n > 1) {
        float* total = w.now.q + net.lanes;
        for (int i = 0; i < out.lanes; i += kLanes) {
            Floats sum = load(e + i);
            for (int k = 1; k < net.filters.n; ++k) sum += load(e + k * out.lanes + i);
            store(total + i, sum);
        }
        given = total;
    }
    by_blocks(g.lanes, [&](auto blocks, std::size_t lane) {
        typename decltype(blocks)::Sum sum;
        for (int k = 0; k < w.signal.n_feedback; ++k)
            for (int c = 0; c < out.values; ++c)
                for (int i = 0; i < out.n; ++i) {
                    const std::size_t row = static_cast<std::size_t>(k) * out.lanes + c * out.width + i;
                    sum.add(w.signal.feedback[group] + row * g.lanes + lane, given[row]);
                }
        sum.store(w.now.q + lane);
    });
}

// g of all groups in one draw.
static void slopes(const Window& w, int draw) {
    const Network& net = w.net;
    const Group& out = net.output();
    const int n = net.n_steps;
    const auto minus = [&](const Group& g, int t, float weight) {
        const std::size_t at = place(net, draw, g) + t * g.lanes;
        for (int i = 0; i < g.lanes; i += kLanes)
            store(w.now.g + at + i, (load(w.now.s + at + i) - load(w.now.p + at + i)) * weight);
    };
    for (int t = 0; t < n; ++t) minus(out, t, 1);
    for (int t = 0; t < n; ++t) {
        float* e = error_of(net, w.sample, draw, out) + t * net.filters.n * out.lanes;
        if (feeds_back(w)) error(net.filters, n, out.lanes, w.now.g + place(net, draw, out), t, e);
        for (int group = 1; group + 1 < net.n_groups; ++group) {
            const Group& g = net.groups[group];
            if (!feeds_back(w)) {
                minus(g, t, w.now.weight[draw * n + t]);
                continue;
            }
            const std::size_t at = place(net, draw, g) + t * g.lanes;
            feed_back(w, group, e);
            const auto through = w.now.diverges ? through_chances<true> : through_chances<false>;
            through(g, w.signal, w.now.p + at, w.now.q, w.now.log_total + at, w.now.g + at);
        }
    }
}

// E where it is needed: of every draw for what circuits emitted, of all draws for the input.
static void errors(const Window& w) {
    const Network& net = w.net;
    const int n = net.n_steps, draws = w.signal.draws;
    for (int group = 1; group < net.n_groups; ++group) {
        const Group& g = net.groups[group];
        const std::size_t size = static_cast<std::size_t>(n) * g.lanes;
        const float* sum = w.now.g + place(net, 0, g);
        if (draws > 1) {
            float* to = w.now.g_sum + place(net, 0, g);
            for (std::size_t i = 0; i < size; i += kLanes) {
                Floats total = load(sum + i);
                for (int m = 1; m < draws; ++m) total += load(w.now.g + place(net, m, g) + i);
                store(to + i, total);
            }
            sum = to;
        }
        for (int i = 0; i < g.lanes; i += kLanes) {
            Floats total{};
            for (int t = 0; t < n; ++t) total += load(sum + t * g.lanes + i);
            store(w.sample.bias + g.first + i, total);
        }
        const auto make = [&](int draw, const float* from, bool of_input, bool of_circuits) {
            float* e = error_of(net, w.sample, draw, g);
            for (int t = 0; t + 1 < n; ++t)
                if ((of_input && hears(w, group, true, 0, t)) || (of_circuits && hears(w, group, false, draw, t)))
                    error(net.filters, n, g.lanes, from, t, e + static_cast<std::size_t>(t) * net.filters.n * g.lanes);
        };
        const bool there = group == net.n_groups - 1 && feeds_back(w);  // E of every draw
        if (draws > 1 || !there) make(all_draws(w.signal), sum, true, draws == 1);
        for (int m = 0; draws > 1 && !there && m < draws; ++m) make(m, w.now.g + place(net, m, g), false, true);
    }
}

// own_d = sum over draws and steps of s(t) g(t + 1 + d).
static void own(const Window& w) {
    const Network& net = w.net;
    for (int d = 0; d < net.own_length; ++d)
        for (int group = 1; group < net.n_groups; ++group) {
            const Group& g = net.groups[group];
            for (int i = 0; i < g.lanes; i += kLanes) {
                Floats total{};
                for (int m = 0; m < w.signal.draws; ++m) {
                    const float *s = w.now.s + place(net, m, g) + i, *later = w.now.g + place(net, m, g) + i;
                    for (int t = 0; t + 1 + d < net.n_steps; ++t)
                        total += load(s + t * g.lanes) * load(later + (t + 1 + d) * g.lanes);
                }
                store(w.sample.own + static_cast<std::size_t>(d) * net.lanes + g.first + i, total);
            }
        }
}

// What is told of a sample: sums of the outputs' chances and of ln p, means over draws; emissions of all draws.
static void tell(const Window& w) {
    const Network& net = w.net;
    const Group& out = net.output();
    const int n = net.n_steps, draws = w.signal.draws;
    for (int i = 0; i < out.n; ++i) {
        float total = 0;
        for (int m = 0; m < draws; ++m)
            for (int t = 0; t < n; ++t)
                for (int at = i; at < out.lanes; at += out.width) total += w.now.p[place(net, m, out) + t * out.lanes + at];
        w.sample.scores[i] = total / static_cast<float>(draws);
    }
    float total = 0;
    for (int i = 0; i < draws * n; ++i) total += w.now.output[i];
    *w.sample.log_likelihood = total / static_cast<float>(draws);
    for (int group = 1; group < net.n_groups; ++group) {
        std::int32_t count = 0;
        for (int m = 0; m < draws; ++m) count += w.emitted(group, m).starts[n];
        w.sample.emitted[group] = static_cast<float>(count);
    }
}

static std::size_t learn_bytes(const Network& net, const Signal& signal) { return bytes_of<Scratch>(net, signal); }

static void learn(const Network& net, const Signal& signal, ByStep inputs, const float* wanted, std::uint64_t key,
                  const Sample& sample, void* memory) {
    Arena arena{static_cast<char*>(memory)};
    const Scratch now(net, signal, arena);
    const Window w{net, signal, inputs, wanted, key, sample, now};
    w.drive();
    for (int m = 0; m < signal.draws; ++m) w.run(m);
    rewards(w);
    if (signal.kind != Kind::vector) weigh(w);
    for (int m = 0; m < signal.draws; ++m) slopes(w, m);
    errors(w);
    own(w);
    tell(w);
}

// The part of the events of a step, ascending, that lies in begin .. end - 1.
BITSPIKE_INLINE void scatter_list(const Network& net, ByStep events, const float* e, std::size_t width, int begin, int end,
                                  float* to) {
    for (int t = 0; t + 1 < net.n_steps; ++t) {
        int first = events.starts[t], last = events.starts[t + 1];
        while (first < last && events.inputs[first] < begin) ++first;
        while (first < last && events.inputs[last - 1] >= end) --last;
        if (first < last) spread(e + t * width, width, events.inputs + first, last - first, to);
    }
}

static void scatter(const Network& net, const Signal& signal, const Connection& y, const Sample* samples, const ByStep* inputs,
                    std::size_t n, int begin, int end, float* gradient) {
    const Group& g = net.groups[y.target];
    const std::size_t width = static_cast<std::size_t>(net.filters.n) * g.lanes;
    for (std::size_t b = 0; b < n; ++b) {
        if (y.source == 0) {
            const float* e = error_of(net, samples[b], all_draws(signal), g);
            scatter_list(net, inputs[b], e, width, begin, end, gradient);
            continue;
        }
        for (int m = 0; m < signal.draws; ++m)
            scatter_list(net, emissions(net, samples[b], m, y.source), error_of(net, samples[b], m, g), width, begin, end,
                         gradient);
    }
}

}  // namespace
}  // namespace bitspike::glm
