// The run over samples: steps in order, layer after layer, until an output fires.
#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes the "undefined" operands inside its own AVX-512 header for mistakes of ours.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include "common/arena.hpp"
#include "packed/first_spike/layers.hpp"
#if defined(__AVX512F__)
#include "packed/first_spike/ops_avx512.hpp"
#elif defined(__AVX2__)
#include "packed/first_spike/ops_avx2.hpp"
#endif

namespace bitspike::packed::first_spike {
namespace {

constexpr int select_levels = 24;  // up to so many levels it pays to search the pixels anew for each

struct Scratch {
    State states[max_layers];
    std::uint32_t *keys, *indices, *sorted, *list[2];
    std::uint32_t* count;                // per step or level
    std::uint8_t* touched;               // per 64 keys: whether any of their counts is not 0
    int n_touched;
    std::uint32_t *bucket, *bucket_end;  // occupied steps in order, and where each ends in `sorted`

    Scratch(const Network& net, const Inputs& in, Arena& arena) {
        std::size_t widest = static_cast<std::size_t>(net.n_in);
        for (int l = 0; l < net.n_layers; ++l) {
            const Layer& y = net.layers[l];
            State& s = states[l];
            s = State{};
            if (y.kind == Kind::binary) {
                const std::size_t lanes = 64 * static_cast<std::size_t>(y.stride);
                s.counter = arena.take<std::int8_t>(lanes);
                for (auto& half : s.half) half = arena.take<std::int8_t>(lanes);
                s.wide = arena.take<std::int32_t>(lanes);
                s.planes = arena.take<std::uint64_t>(8 * static_cast<std::size_t>(y.stride));
            }
            if (y.kind == Kind::real) s.potential = arena.take<float>(static_cast<std::size_t>(y.real_stride));
            if (y.kind == Kind::narrow_output) s.sum16 = arena.take<std::int16_t>(32);
            s.alive = arena.take<std::uint64_t>(static_cast<std::size_t>(y.stride));
            s.fresh = arena.take<std::uint64_t>(static_cast<std::size_t>(y.stride));
            if (static_cast<std::size_t>(y.n_out) > widest) widest = static_cast<std::size_t>(y.n_out);
        }
        const std::size_t n = static_cast<std::size_t>(net.n_in) + 64;
        keys = arena.take<std::uint32_t>(n);
        indices = arena.take<std::uint32_t>(n);
        sorted = arena.take<std::uint32_t>(n);
        bucket = arena.take<std::uint32_t>(n);
        bucket_end = arena.take<std::uint32_t>(n);
        list[0] = arena.take<std::uint32_t>(widest + 64);
        list[1] = arena.take<std::uint32_t>(widest + 64);
        const std::size_t n_keys = in.images ? 256 : static_cast<std::size_t>(net.n_steps);
        n_touched = static_cast<int>(n_keys / 512 + 1) * 8;
        count = arena.take<std::uint32_t>(64 * static_cast<std::size_t>(n_touched));
        touched = arena.take<std::uint8_t>(static_cast<std::size_t>(n_touched));
        if (arena.base) {
            std::memset(count, 0, 64 * static_cast<std::size_t>(n_touched) * sizeof *count);
            std::memset(touched, 0, static_cast<std::size_t>(n_touched));
        }
    }
};

inline int list_bits(const std::uint64_t* bits, int words, std::uint32_t* list) {
    int n = 0;
    for (int w = 0; w < words; ++w)
        for (std::uint64_t rest = bits[w]; rest; rest &= rest - 1)
            list[n++] = static_cast<std::uint32_t>(64 * w + lowest_bit(rest));
    return n;
}

// One sample: steps are fed in order, `decided` ends the race.
template <class Ops>
struct Race {
    const Network& net;
    Scratch& scratch;
    bool counting;
    bool begun = false;       // step 0 has been seen
    int decided_at = -1;      // input step of the decision
    std::int64_t n_spikes = 0, n_synops = 0;

    void reset() {
        begun = false;
        decided_at = -1;
        n_spikes = n_synops = 0;
        for (int l = 0; l < net.n_layers; ++l) {
            const Layer& y = net.layers[l];
            State& s = scratch.states[l];
            s.n = 0;
            s.is_wide = false;
            s.budget = 252;
            if (y.kind == Kind::narrow_output) {
                std::memset(s.sum16, 0, 32);
                continue;
            }
            std::memcpy(s.alive, y.all, static_cast<std::size_t>(y.stride) * 8);
            if (y.kind == Kind::real) {
                std::memset(s.potential, 0, static_cast<std::size_t>(y.real_stride) * sizeof(float));
            } else {
                const std::size_t lanes = static_cast<std::size_t>(y.words) * 64;
                std::memset(s.counter, 0, lanes);
                if (Ops::retires)
                    for (int odd = 0; odd < 2; ++odd) std::memcpy(s.half[odd], y.half[odd], lanes);
            }
        }
    }

    // Step a of the input with its m spikes; returns whether more steps are wanted.
    bool feed(int a, const std::uint32_t* events, int m) {
        if (!begun) {
            begun = true;
            if (a > 0 && net.fires_unprompted) feed(0, events, 0);
        }
        const int top = net.n_layers;
        const int depth = decided_at < 0 ? top : top - (a - decided_at);  // layers whose spikes can still count
        if (decided_at >= 0 && !wanted(a)) return false;
        n_spikes += m;
        n_synops += static_cast<std::int64_t>(m) * net.layers[0].n_out;
        const bool unprompted = a == 0 && net.fires_unprompted;
        for (int l = 0; l < depth; ++l) {
            const Layer& y = net.layers[l];
            State& s = scratch.states[l];
            const bool is_output = l == top - 1;
            const bool in_time = a + (l + 1) * net.delay <= net.n_steps - 1;
            if (!is_output && !in_time) break;
            int fired;
            if (y.kind == Kind::narrow_output) {
                if (l == 0)
                    for (int e = 0; e < m; ++e)
                        Ops::add16(y.rows16 + 16 * static_cast<std::size_t>(events[e]), s.sum16);
                else if (m > 0)
                    Ops::add16_bits(net, y, scratch.states[l - 1].fresh, m, s.sum16);
                s.fresh[0] = Ops::crossed16(y, s.sum16);
                fired = s.fresh[0] != 0;
            } else {
                if (l > 0 && m > 0) {
                    list_bits(scratch.states[l - 1].fresh, net.layers[l - 1].words, scratch.list[0]);
                    events = scratch.list[0];
                }
                fired = y.kind == Kind::real ? step_real<Ops>(y, s, events, m) : step_binary<Ops>(y, s, events, m);
            }
            if (is_output) {
                if (fired && in_time) decided_at = a;
                break;
            }
            m = fired;
            n_spikes += m;
            n_synops += static_cast<std::int64_t>(m) * net.layers[l + 1].n_out;
            if (m == 0 && !unprompted) break;
        }
        return decided_at < 0 || wanted(a + 1);
    }

    // Whether spikes of step a still belong to the count of a decided sample.
    bool wanted(int a) const {
        return decided_at < 0 || (counting && net.delay == 1 && a <= decided_at + net.n_layers);
    }

    void finish(const Outputs& out, std::size_t sample) {
        if (!begun && net.fires_unprompted) feed(0, nullptr, 0);
        const Layer& y = net.layers[net.n_layers - 1];
        const State& s = scratch.states[net.n_layers - 1];
        const bool silent = decided_at < 0;
        int label = -1;
        float best = 0;
        const int n = net.n_classes;
        const std::size_t row = sample * static_cast<std::size_t>(n);
        for (int j = 0; j < n; ++j) {
            const bool tied = !silent && (s.fresh[j >> 6] >> (j & 63) & 1);
            if (out.tied) out.tied[row + static_cast<std::size_t>(j)] = tied;
            if (!out.potentials && !silent && !tied) continue;
            const float size = margin(y, s, j);
            if (out.potentials) out.potentials[row + static_cast<std::size_t>(j)] = size;
            if ((silent || tied) && (label < 0 || size > best)) label = j, best = size;
        }
        if (out.labels) out.labels[sample] = label;
        if (out.silent) out.silent[sample] = silent;
        if (out.decision_time) out.decision_time[sample] = silent ? net.n_steps : decided_at + net.n_layers * net.delay;
        if (out.n_spikes) out.n_spikes[sample] = n_spikes;
        if (out.n_synops) out.n_synops[sample] = n_synops;
    }
};

// Orders the spikes by key, stable, and feeds them bucket by bucket. The cost does not depend on the number of keys.
template <class Ops, class StepOf>
void feed_sorted(Race<Ops>& race, const std::uint32_t* keys, const std::uint32_t* indices, int n, StepOf step_of) {
    Scratch& x = race.scratch;
    for (int e = 0; e < n; ++e) {
        ++x.count[keys[e]];
        x.touched[keys[e] >> 6] = 1;
    }
    int buckets = 0;
    std::uint32_t at = 0;
    for (int h = 0; h < x.n_touched; h += 8) {
        std::uint64_t eight;
        std::memcpy(&eight, x.touched + h, 8);
        if (!eight) continue;
        for (int k = h; k < h + 8; ++k) {
            if (!x.touched[k]) continue;
            for (std::uint64_t rest = Ops::nonzero64(x.count + 64 * k); rest; rest &= rest - 1) {
                const std::uint32_t key = static_cast<std::uint32_t>(64 * k + lowest_bit(rest));
                const std::uint32_t size = x.count[key];
                x.count[key] = at;
                at += size;
                x.bucket[buckets] = key;
                x.bucket_end[buckets++] = at;
            }
        }
        std::memset(x.touched + h, 0, 8);
    }
    for (int e = 0; e < n; ++e) x.sorted[x.count[keys[e]]++] = indices[e];
    for (int b = 0; b < buckets; ++b) x.count[x.bucket[b]] = 0;
    at = 0;
    for (int b = 0; b < buckets; ++b) {
        if (!race.feed(step_of(x.bucket[b]), x.sorted + at, static_cast<int>(x.bucket_end[b] - at))) break;
        at = x.bucket_end[b];
    }
}

template <class Ops>
std::int64_t run(const Network& net, const Inputs& in, const Outputs& out, std::size_t begin, std::size_t end,
                 char* memory) {
    Arena arena{memory};
    Scratch scratch(net, in, arena);
    Race<Ops> race{net, scratch, out.n_spikes || out.n_synops};
    const std::size_t width = static_cast<std::size_t>(net.n_in);
    for (std::size_t sample = begin; sample < end; ++sample) {
        race.reset();
        if (in.images && sample + 1 < end)
            for (std::size_t i = 0; i < width; i += 64) __builtin_prefetch(in.images + (sample + 1) * width + i);
        if (in.images) {
            const Levels& levels = *in.levels;
            const int n = Ops::scan_pixels(in.images + sample * width, net.n_in, levels.dimmest, scratch.keys);
            if (levels.n <= select_levels) {
                int left = n;
                for (int k = 0; k < levels.n && left > 0; ++k) {
                    const int m = Ops::select(scratch.keys, n, levels.lowest[k], levels.highest[k], scratch.list[1]);
                    left -= m;
                    if (m > 0 && !race.feed(levels.time[k], scratch.list[1], m)) break;
                }
            } else {
                for (int e = 0; e < n; ++e) {
                    const std::uint32_t key = scratch.keys[e];
                    scratch.indices[e] = key & 0xffffffu;
                    scratch.keys[e] = levels.rank[key >> 24];
                }
                feed_sorted<Ops>(race, scratch.keys, scratch.indices, n,
                                 [&](std::uint32_t rank) { return static_cast<int>(levels.time[rank]); });
            }
        } else {
            bool bad = false;
            const int n = Ops::scan_times(in.times + sample * width, net.n_in, net.n_steps, scratch.keys,
                                          scratch.indices, bad);
            if (bad) return static_cast<std::int64_t>(sample);
            feed_sorted<Ops>(race, scratch.keys, scratch.indices, n,
                             [](std::uint32_t step) { return static_cast<int>(step); });
        }
        race.finish(out, sample);
    }
    return -1;
}

#if defined(__AVX512F__)
using Best = Avx512;
#elif defined(__AVX2__)
using Best = Avx2;
#else
using Best = Portable;
#endif

const Kernels table = {bytes_of<Scratch, Network, Inputs>, run<Best>};

}  // namespace

const Kernels& BITSPIKE_VARIANT(kernels)() { return table; }

}  // namespace bitspike::packed::first_spike
