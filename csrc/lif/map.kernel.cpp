// Convolution, step by step: a step's currents and the state of all neurons stay in the first two caches; spikes bring their
// taps to them. The table of all kernels on maps.
#include <cstring>

#include "lif/map_kernels.hpp"
#include "lif/pool.hpp"
#include "lif/step.hpp"

namespace bitspike::lif::map {
namespace {

// Reads a row's bits in groups, one after the other, and no word past the last bit taken.
struct Reader {
    const std::uint64_t* words;
    std::uint64_t pending = 0;
    int left = 0;
    Mask take(int n) {
        std::uint64_t bits = pending;
        if (left < n) {
            const std::uint64_t next = *words++;
            bits |= next << left;
            pending = next >> (n - left);
            left += 64 - n;
        } else {
            pending >>= n;
            left -= n;
        }
        return static_cast<Mask>(bits & ((1u << n) - 1));
    }
};

// Writes a row's bits in groups, one after the other; bits from n up are 0.
struct Writer {
    std::uint64_t* words;
    std::uint64_t pending = 0;
    int fill = 0;
    void put(Mask mask, int n) {
        const std::uint64_t bits = mask;
        pending |= bits << fill;
        fill += n;
        if (fill >= 64) {
            *words++ = pending;
            fill -= 64;
            pending = bits >> (n - fill);
        }
    }
    void finish() {
        if (fill) *words = pending;
    }
};

// body(at, n): every group of a map in turn, at float `at`, n of its lanes in use.
template <class Body>
BITSPIKE_INLINE void each_group(const Map& map, const Body& body) {
    const int positions = map.positions, groups = map.groups, rest = map.n_filters - kLanes * (groups - 1);
    std::size_t at = 0;
    for (int p = 0; p < positions; ++p, at += kLanes) {
        for (int group = 1; group < groups; ++group, at += kLanes) body(at, kLanes);
        body(at, rest);
    }
}

// Neurons with a spike in t - refractory .. t - 1.
BITSPIKE_INLINE void held_before(const std::uint64_t* spikes, int words, int t, int refractory, std::uint64_t* held) {
    std::memset(held, 0, words * sizeof(std::uint64_t));
    for (int before = t > refractory ? t - refractory : 0; before < t; ++before)
        for (int w = 0; w < words; ++w) held[w] |= spikes[static_cast<std::size_t>(before) * words + w];
}

BITSPIKE_INLINE void to_padded(const Map& map, const float* flat, float* padded) {
    each_group(map, [&](std::size_t at, int n) {
        store(padded + at, load(flat, n));
        flat += n;
    });
}

BITSPIKE_INLINE void to_flat(const Map& map, const float* padded, float* flat) {
    each_group(map, [&](std::size_t at, int n) {
        store(flat, load(padded + at), n);
        flat += n;
    });
}

// body(index) for each set bit, ascending.
template <class Body>
BITSPIKE_INLINE void each_bit(const std::uint64_t* words, int n, const Body& body) {
    for (int w = 0; w < n; ++w)
        for (std::uint64_t word = words[w]; word; word &= word - 1) body(w * 64 + __builtin_ctzll(word));
}

// body(input, spikes in `steps` steps) for each input that has one, ascending in each step or in each word of a bin.
template <class Body>
BITSPIKE_INLINE void each_event(const std::uint64_t* in, int words, int steps, const Body& body) {
    if (steps == 1) return each_bit(in, words, [&](int input) { body(input, 1); });
    int counts[64] = {};
    for (int w = 0; w < words; ++w) {
        std::uint64_t any = 0;
        for (int t = 0; t < steps; ++t) {
            const std::uint64_t* word = in + static_cast<std::size_t>(t) * words + w;
            each_bit(word, 1, [&](int j) { ++counts[j]; });
            any |= *word;
        }
        each_bit(&any, 1, [&](int j) {
            body(64 * w + j, counts[j]);
            counts[j] = 0;
        });
    }
}

// current += the taps of every spike of a step.
BITSPIKE_INLINE void scatter(const Map& map, const float* taps, const std::uint64_t* in, float* current) {
    const std::size_t out_stride = map.out_stride, tap_stride = map.tap_stride;
    const Reach* const reaches = map.reach;
    each_bit(in, map.in_words, [&](int input) {
        const Reach reach = reaches[input];
        float* to = current + reach.out;
        const float* from = taps + reach.tap;
        for (int r = 0; r < reach.rows; ++r, to += out_stride, from += tap_stride)
            for (int i = 0; i < reach.run; i += kLanes) store(to + i, load(to + i) + load(from + i));
    });
}

static void conv_forward(const Map& map, const Lif& lif, const float* taps, const std::uint64_t* in, const Outcome& out,
                         const Memory& memory) {
    const std::size_t padded = map.positions * static_cast<std::size_t>(map.row);
    const LifLanes constants(lif);
    const f16 one = splat(1.0f), zero{};
    float *const current = memory.floats, *const v = current + padded, *const x = v + padded, *const counts = x + padded,
                 *const tpsp = counts + padded;
    const std::size_t words = map.out_words;
    std::memset(current, 0, 5 * padded * sizeof(float));
    std::memset(out.spikes, 0, words * sizeof(std::uint64_t));
    std::memset(memory.words, 0, words * sizeof(std::uint64_t));
    for (int t = 1; t < map.n_steps; ++t) {
        scatter(map, taps, in + static_cast<std::size_t>(t - 1) * map.in_words, current);
        std::uint64_t* const row = out.spikes + t * words;
        Writer writer{row};
        Reader held{memory.words};
        const bool clamp = lif.refractory > 0;
        each_group(map, [&](std::size_t at, int n) {
            f16 vs = load(v + at), xs = load(x + at), v_pre;
            const Mask fired = lif_step(constants, load(current + at), clamp ? held.take(n) : Mask{0}, vs, xs, v_pre);
            store(v + at, vs);
            store(x + at, xs);
            store(counts + at, load(counts + at) + choose(fired, one, zero));
            store(tpsp + at, load(tpsp + at) + choose(fired, v_pre, zero));
            store(current + at, zero);
            writer.put(fired, n);  // lanes from n up have no weights, so never fire
        });
        writer.finish();
        for (std::size_t w = 0; w < words && clamp; ++w)
            memory.words[w] = next_held(memory.words[w], row[w], t > lif.refractory ? row[w - lif.refractory * words] : 0);
    }
    to_flat(map, counts, out.counts);
    to_flat(map, tpsp, out.tpsp);
    to_flat(map, v, out.membrane);
}

// The adjoint scan, one step back at a time.
struct Scan {
    const Map& map;
    const Back& back;
    const std::uint64_t* spikes;
    float *lam, *mu;  // padded, zero at first
    std::uint64_t* words;

    // Leaves R(t) in `mu`; false where that is 0 because nothing comes later.
    bool before(int t) {
        const int after = t + back.late + 1;
        if (after >= map.n_steps) return false;
        const BackLanes constants(back);
        const bool clamp = back.refractory > 0;
        if (clamp) held_before(spikes, map.out_words, after, back.refractory, words);
        Reader fired{spikes + static_cast<std::size_t>(after) * map.out_words}, held{words};
        float *const lam = this->lam, *const mu = this->mu;
        each_group(map, [&](std::size_t at, int n) {
            f16 l = load(lam + at), m = load(mu + at);
            back_step(constants, clamp ? held.take(n) : Mask{0}, fired.take(n), l, m);
            store(lam + at, l);
            store(mu + at, m);
        });
        return true;
    }
};

// A bin's spikes meet its R: gradient of the taps, error of the inputs.
template <bool WEIGHT, bool ERROR>
BITSPIKE_INLINE void meet(const Map& map, const std::uint64_t* in, int steps, const float* by_weight, const float* by_error,
                       const float* taps, float* d_taps, float* error) {
    const std::size_t out_stride = map.out_stride, tap_stride = map.tap_stride;
    const Reach* const reaches = map.reach;
    each_event(in, map.in_words, steps, [&](int input, int spikes) {
        const Reach reach = reaches[input];
        const float count = static_cast<float>(spikes);
        const f16 times = splat(count);
        f16 total{};
        std::size_t place = reach.out, tap = reach.tap;
        for (int r = 0; r < reach.rows; ++r, place += out_stride, tap += tap_stride)
            for (int i = 0; i < reach.run; i += kLanes) {
                if (WEIGHT) store(d_taps + tap + i, load(d_taps + tap + i) + times * load(by_weight + place + i));
                if (ERROR) total += load(taps + tap + i) * load(by_error + place + i);
            }
        if (ERROR) error[input] += count * sum(total);
    });
}

static void conv_backward(const Map& map, const Back& back, int bin, const float* taps, const Sample& sample, float* d_taps,
                          const Memory& memory) {
    const std::size_t padded = map.positions * static_cast<std::size_t>(map.row);
    float *const lam = memory.floats, *const mu = lam + padded, *const binned = mu + padded, *const weight_scale = binned + padded,
                 *const error_scale = weight_scale + padded, *const by_weight = error_scale + padded,
                 *const by_error = by_weight + padded;
    const bool weight = sample.weight_scale, error = sample.error_scale;
    const bool apart = weight && error && sample.weight_scale != sample.error_scale;
    std::memset(lam, 0, 3 * padded * sizeof(float));
    if (weight) to_padded(map, sample.weight_scale, weight_scale);
    if (error) to_padded(map, sample.error_scale, apart ? error_scale : weight_scale);
    Scan scan{map, back, sample.out, lam, mu, memory.words};
    bool any = false;
    for (int t = map.n_steps - 1; t >= 0; --t) {
        if (scan.before(t)) {
            any = true;
            if (bin > 1)
                for (std::size_t i = 0; i < padded; i += kLanes) store(binned + i, load(binned + i) + load(mu + i));
        }
        if (t % bin || !any) continue;
        const int steps = map.n_steps - t < bin ? map.n_steps - t : bin;
        const f16 share = splat(1.0f / static_cast<float>(steps));
        for (std::size_t i = 0; i < padded; i += kLanes) {
            const f16 r = bin > 1 ? load(binned + i) * share : load(mu + i);
            store(by_weight + i, r * load(weight_scale + i));
            if (apart) store(by_error + i, r * load(error_scale + i));
            if (bin > 1) store(binned + i, f16{});
        }
        const float* below = apart ? by_error : by_weight;
        const std::uint64_t* in = sample.in + static_cast<std::size_t>(t) * map.in_words;
        if (weight && error)
            meet<true, true>(map, in, steps, by_weight, below, taps, d_taps, sample.error);
        else if (weight)
            meet<true, false>(map, in, steps, by_weight, below, taps, d_taps, sample.error);
        else
            meet<false, true>(map, in, steps, by_weight, below, taps, d_taps, sample.error);
    }
}

static void conv_tpsp(const Map& map, const Back& back, const float* taps, const Sample& sample, float* a, const Memory& memory) {
    const std::size_t padded = map.positions * static_cast<std::size_t>(map.row);
    float *const lam = memory.floats, *const mu = lam + padded, *const current = mu + padded, *const total = current + padded;
    std::memset(lam, 0, 4 * padded * sizeof(float));
    Scan scan{map, back, sample.out, lam, mu, memory.words};
    for (int t = map.n_steps - 1; t >= 0; --t) {
        if (!scan.before(t)) continue;
        scatter(map, taps, sample.in + static_cast<std::size_t>(t) * map.in_words, current);
        for (std::size_t i = 0; i < padded; i += kLanes) {
            store(total + i, load(total + i) + load(current + i) * load(mu + i));
            store(current + i, f16{});
        }
    }
    to_flat(map, total, a);
}

const Kernels table = {conv_forward, conv_backward, conv_tpsp, pool_forward, pool_backward, pool_tpsp};

}  // namespace

const Kernels& BITSPIKE_VARIANT(kernels)() { return table; }

}  // namespace bitspike::lif::map
