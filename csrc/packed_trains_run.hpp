// The run over samples: all layers in lockstep, the last one first, for a spike acts on the next layer one step later.
#pragma once
#include "packed_trains_layers.hpp"

namespace bitspike::packed_trains {
namespace {

// Hands out memory, or with a null base only counts it.
struct Arena {
    char* base;
    std::size_t used = 0;
    template <class T>
    T* take(std::size_t n) {
        T* here = base ? reinterpret_cast<T*>(base + used) : nullptr;
        used += (n * sizeof(T) + 63) / 64 * 64;
        return here;
    }
};

constexpr int max_layers = 64;
constexpr std::uint64_t weyl = 0x9E3779B97F4A7C15ull;

SPIKE_INLINE std::uint64_t mix64(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

struct Scratch {
    State states[max_layers];
    std::uint64_t* bits;      // (n_steps, words) of input spikes, all 0 between samples
    std::uint32_t* entering;  // the inputs that spike in a step, or the pixels above 0
    std::uint32_t* ids;       // constant current: the neurons of the first layer that can fire
    float* constant;          // the current itself, where all of them are followed
    double* exact;
    std::uint64_t* drawn;
    std::int32_t* counts;  // of the outputs
    std::size_t words;
    int n_followed;

    Scratch(const Network& net, const Inputs& in, Arena& arena) {
        for (int l = 0; l < net.n_layers; ++l) {
            const Layer& y = net.layers[l];
            const std::size_t lanes = static_cast<std::size_t>(y.lanes), blocks = lanes / kLanes;
            State& s = states[l];
            for (float** at : {&s.current, &s.v, &s.x}) *at = arena.take<float>(lanes);
            s.held = arena.take<Mask>(blocks);
            s.ring = arena.take<Mask>(blocks * static_cast<std::size_t>(y.lif.refractory + 1));
            s.awake = arena.take<std::uint8_t>(blocks);
            s.fired = arena.take<std::uint32_t>(lanes);
        }
        const std::size_t first = static_cast<std::size_t>(net.layers[0].lanes), n_in = static_cast<std::size_t>(net.n_in);
        const bool is_constant = in.images && !in.limits;
        words = is_constant ? 0 : (n_in + 63) / 64;
        bits = arena.take<std::uint64_t>(words * static_cast<std::size_t>(net.n_steps));
        entering = arena.take<std::uint32_t>(2 * n_in);
        ids = arena.take<std::uint32_t>(is_constant ? first : 0);
        constant = arena.take<float>(is_constant ? first : 0);
        exact = arena.take<double>(is_constant ? first : 0);
        drawn = arena.take<std::uint64_t>(in.limits ? static_cast<std::size_t>(net.n_steps) / 4 + 1 : 0);
        counts = arena.take<std::int32_t>(static_cast<std::size_t>(net.n_classes));
        n_followed = 0;
    }
};

struct Sample {
    const Network& net;
    const Inputs& in;
    Scratch& at;
    bool is_constant;
    std::int64_t n_spikes = 0, n_synops = 0;

    void reset() {
        n_spikes = n_synops = 0;
        for (int l = 0; l < net.n_layers; ++l) {
            const Layer& y = net.layers[l];
            const std::size_t lanes = static_cast<std::size_t>(y.lanes), blocks = lanes / kLanes;
            State& s = at.states[l];
            std::memset(s.current, 0, lanes * sizeof(float));
            std::memset(s.held, 0, blocks * sizeof(Mask));
            std::memset(s.ring, 0, blocks * static_cast<std::size_t>(y.lif.refractory + 1) * sizeof(Mask));
            std::memset(s.awake, 0, blocks);
            if (l == net.n_layers - 1) std::memset(s.v, 0, lanes * sizeof(float));
            s.n_fired = 0;
            s.any_awake = false;
        }
        std::memset(at.counts, 0, static_cast<std::size_t>(net.n_classes) * sizeof(std::int32_t));
    }

    // I = float(sum of w k * scale), the sum exact. Of neurons below the last layer only those that can fire are followed.
    void constant_current(const std::uint8_t* image) {
        const Layer& y = net.layers[0];
        State& s = at.states[0];
        std::uint32_t *const lit = at.entering, *const some = at.entering + net.n_in;
        int n_lit = 0;
        for (int i = 0; i < in.n_pixels; ++i) {
            lit[n_lit] = static_cast<std::uint32_t>(i);
            n_lit += image[i] > 0;
        }
        for (int e = 0; e < n_lit; ++e) n_synops += y.fan_out[lit[e]];
        double* const exact = at.exact;
        std::memset(exact, 0, static_cast<std::size_t>(y.lanes) * sizeof(double));
        if (y.kind == Kind::rows) {
            for (int e = 0; e < n_lit; ++e) {
                const double level = image[lit[e]];
                each_run(y, lit[e], [exact, level](const float* from, std::size_t lane, int n) {
                    double* to = exact + lane;
                    for (int k = 0; k < n; ++k) to[k] += level * static_cast<double>(from[k]);
                });
            }
        } else {
            for (int bit = 0; bit < 8; ++bit) {  // grey levels bit by bit: spikes of weight 2^bit
                int n = 0;
                for (int e = 0; e < n_lit; ++e) {
                    some[n] = lit[e];
                    n += image[lit[e]] >> bit & 1;
                }
                if (n == 0) continue;
                add_spikes(y, some, n, s.current);
                const double worth = 1 << bit;
                for (int k = 0; k < y.lanes; ++k) exact[k] += worth * static_cast<double>(s.current[k]);
                std::memset(s.current, 0, static_cast<std::size_t>(y.lanes) * sizeof(float));
            }
        }
        for (int k = 0; k < y.lanes; ++k) at.constant[k] = static_cast<float>(exact[k] * in.scale);
        if (net.n_layers == 1) return;
        int n = 0;
        for (int k = 0; k < y.lanes; ++k) {
            s.current[n] = at.constant[k];
            at.ids[n] = y.ids[k];
            n += at.constant[k] >= y.least;
        }
        at.n_followed = n;
        for (; n % kLanes; ++n) s.current[n] = 0;
    }

    bool insert(int step, int channel) {
        std::uint64_t& word = at.bits[static_cast<std::size_t>(step) * at.words + static_cast<std::size_t>(channel >> 6)];
        const std::uint64_t bit = 1ull << (channel & 63);
        const bool fresh = !(word & bit);
        word |= bit;
        ++n_spikes;
        n_synops += net.layers[0].fan_out[channel];
        return fresh;
    }

    bool read_list(std::size_t sample) {
        for (std::int64_t e = in.offsets[sample]; e < in.offsets[sample + 1]; ++e) {
            const int step = in.steps[e], channel = in.channels[e];
            const bool inside = step >= 0 && step < net.n_steps && channel >= 0 && channel < net.n_in;
            if (!inside || !insert(step, channel)) return false;
        }
        return true;
    }

    // The image's own trains (coding/poisson.py, little-endian words).
    void draw(const std::uint8_t* image) {
        std::uint64_t key = 0;
        for (int i = 0; i < in.n_pixels; ++i)
            key += mix64((256 * static_cast<std::uint64_t>(i) + 1 + image[i]) * weyl);
        key = mix64(key);
        const int groups = (net.n_steps + 3) / 4;
        for (int side = 0; side < in.sides; ++side)
            for (int i = 0; i < in.n_pixels; ++i) {
                const std::int32_t limit = in.limits[256 * side + image[i]];
                if (limit == 0) continue;
                const int channel = side * in.n_pixels + i;
                const std::uint64_t begin = static_cast<std::uint64_t>(channel) * static_cast<std::uint64_t>(groups) + 1;
                for (int g = 0; g < groups; ++g) at.drawn[g] = mix64(key + (begin + static_cast<std::uint64_t>(g)) * weyl);
                for (int t = 1; t < net.n_steps; ++t)
                    if (static_cast<std::int32_t>(at.drawn[t >> 2] >> (16 * (t & 3)) & 0xffff) < limit) insert(t, channel);
            }
    }

    // The inputs that spike in `step`, which are then forgotten.
    int take_entering(int step) {
        std::uint64_t* row = at.bits + static_cast<std::size_t>(step) * at.words;
        int n = 0;
        for (std::size_t w = 0; w < at.words; ++w) {
            for (std::uint64_t rest = row[w]; rest; rest &= rest - 1)
                at.entering[n++] = static_cast<std::uint32_t>(64 * w) + static_cast<std::uint32_t>(__builtin_ctzll(rest));
            row[w] = 0;
        }
        return n;
    }

    void step(int t) {
        const int top = net.n_layers - 1;
        for (int l = top; l >= 0; --l) {
            const Layer& y = net.layers[l];
            State& s = at.states[l];
            if (l == 0 && is_constant && top > 0) {
                step_neurons(y, s, t, (at.n_followed + kLanes - 1) / kLanes, at.ids, true);
            } else {
                int m;
                if (l == 0 && is_constant) {
                    std::memcpy(s.current, at.constant, static_cast<std::size_t>(y.lanes) * sizeof(float));
                    m = 1;
                } else {
                    m = l == 0 ? take_entering(t - 1) : at.states[l - 1].n_fired;
                    if (m > 0) add_spikes(y, l == 0 ? at.entering : at.states[l - 1].fired, m, s.current);
                }
                if (m == 0 && !s.any_awake) continue;
                if (y.lif.lateral > 0 && s.n_fired > 0) inhibit(y, s, t);
                step_neurons(y, s, t, y.lanes / kLanes, y.ids, false);
            }
            if (l == top) {
                for (int k = 0; k < s.n_fired; ++k) ++at.counts[s.fired[k]];
            } else {
                n_spikes += s.n_fired;
                const std::int32_t* fan_out = net.layers[l + 1].fan_out;
                for (int k = 0; k < s.n_fired; ++k) n_synops += fan_out[s.fired[k]];
            }
        }
    }

    void finish(const Outputs& out, std::size_t sample) {
        if (!is_constant) take_entering(net.n_steps - 1);  // too late to act
        const Layer& y = net.layers[net.n_layers - 1];
        const float* v = at.states[net.n_layers - 1].v;
        const int n = net.n_classes;
        const std::size_t row = sample * static_cast<std::size_t>(n);
        std::int32_t most = 0;
        for (int j = 0; j < n; ++j) most = at.counts[j] > most ? at.counts[j] : most;
        int label = 0;
        float best = 0;
        for (int j = 0; j < n; ++j) {
            const float share = v[j] / (2 * (y.threshold + (v[j] < 0 ? -v[j] : v[j])));
            const float score = static_cast<float>(at.counts[j]) + share;
            if (j == 0 || score > best) label = j, best = score;
            if (out.potentials) out.potentials[row + static_cast<std::size_t>(j)] = score;
            if (out.tied) out.tied[row + static_cast<std::size_t>(j)] = most > 0 && at.counts[j] == most;
        }
        if (out.labels) out.labels[sample] = label;
        if (out.silent) out.silent[sample] = most == 0;
        if (out.decision_time) out.decision_time[sample] = most == 0 ? net.n_steps : net.n_steps - 1;
        if (out.n_spikes) out.n_spikes[sample] = n_spikes;
        if (out.n_synops) out.n_synops[sample] = n_synops;
    }
};

static std::int64_t run(const Network& net, const Inputs& in, const Outputs& out, std::size_t begin, std::size_t end,
                        char* memory) {
    Arena arena{memory};
    Scratch scratch(net, in, arena);
    std::memset(scratch.bits, 0, scratch.words * static_cast<std::size_t>(net.n_steps) * sizeof(std::uint64_t));
    Sample sample{net, in, scratch, in.images && !in.limits};
    const std::size_t width = static_cast<std::size_t>(in.n_pixels);
    for (std::size_t k = begin; k < end; ++k) {
        sample.reset();
        if (sample.is_constant) sample.constant_current(in.images + k * width);
        else if (in.limits) sample.draw(in.images + k * width);
        else if (!sample.read_list(k)) return static_cast<std::int64_t>(k);
        for (int t = 1; t < net.n_steps; ++t) sample.step(t);
        sample.finish(out, k);
    }
    return -1;
}

}  // namespace
}  // namespace bitspike::packed_trains
