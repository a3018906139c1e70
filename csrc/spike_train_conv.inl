// Included by spike_train_conv_{portable,avx2,avx512}.cpp inside their own namespace. GCC/Clang vector types: the
// compiler lowers the 64-byte vectors to whatever the target has, lane by lane the same arithmetic (no contraction).

typedef float f16 __attribute__((vector_size(64)));
typedef std::int32_t i16 __attribute__((vector_size(64)));

#define BITSPIKE_INLINE static inline __attribute__((always_inline))

BITSPIKE_INLINE f16 splat(float x) { return x - f16{}; }
BITSPIKE_INLINE f16 load(const float* p) { return *reinterpret_cast<const f16*>(p); }
BITSPIKE_INLINE void store(float* p, f16 v) { *reinterpret_cast<f16*>(p) = v; }

// Lanes whose bit is set.
BITSPIKE_INLINE i16 lanes_of(std::uint32_t mask) {
    const i16 bit = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
    return ((static_cast<std::int32_t>(mask) - i16{}) & bit) != 0;
}

// Bits of the lanes that are true.
BITSPIKE_INLINE std::uint32_t bits_of(i16 lanes) {
#if defined(__AVX512DQ__)
    return _mm512_movepi32_mask((__m512i)lanes);
#elif defined(__AVX2__)
    union { i16 whole; __m256 half[2]; } both = {lanes};
    return _mm256_movemask_ps(both.half[0]) | _mm256_movemask_ps(both.half[1]) << 8;
#else
    std::uint32_t mask = 0;
    for (int j = 0; j < kLanes; ++j) mask |= (lanes[j] & 1u) << j;
    return mask;
#endif
}

BITSPIKE_INLINE float total(f16 v) {
    alignas(64) float lane[kLanes];
    store(lane, v);
    for (int width = 8; width; width /= 2)
        for (int j = 0; j < width; ++j) lane[j] += lane[j + width];
    return lane[0];
}

// 16 bits of a row of words from any bit on; bits past the row read as 0.
struct Row {
    const unsigned char* bytes;
    int last;  // where the last 4 bytes begin
    Row(const std::uint64_t* words, int n) : bytes(reinterpret_cast<const unsigned char*>(words)), last(8 * n - 4) {}
    std::uint32_t at(int bit) const {
        const int byte = std::min(bit >> 3, last);
        std::uint32_t four;
        std::memcpy(&four, bytes + byte, 4);
        return four >> (bit - 8 * byte) & 0xffff;
    }
};

// Writes groups of bits one after the other.
struct Writer {
    std::uint64_t* words;
    std::uint64_t pending = 0;
    int fill = 0;
    explicit Writer(std::uint64_t* to) : words(to) {}
    void put(std::uint32_t bits, int n) {
        pending |= static_cast<std::uint64_t>(bits) << fill;
        fill += n;
        if (fill >= 64) {
            *words++ = pending;
            fill -= 64;
            pending = static_cast<std::uint64_t>(bits) >> (n - fill);
        }
    }
    void finish() {
        if (fill) *words = pending;
    }
};

// Neurons that fired in one of the `refractory` steps before t.
BITSPIKE_INLINE void recent(const std::uint64_t* spikes, int words, int t, int refractory, std::uint64_t* out) {
    std::memset(out, 0, words * sizeof(std::uint64_t));
    for (int before = std::max(0, t - refractory); before < t; ++before)
        for (int w = 0; w < words; ++w) out[w] |= spikes[static_cast<std::size_t>(before) * words + w];
}

BITSPIKE_INLINE void to_padded(const Map& map, const float* flat, float* padded) {
    for (int p = 0; p < map.positions(); ++p)
        std::memcpy(padded + static_cast<std::size_t>(p) * map.row, flat + static_cast<std::size_t>(p) * map.n_filters,
                    map.n_filters * sizeof(float));
}

BITSPIKE_INLINE void to_flat(const Map& map, const float* padded, float* flat) {
    for (int p = 0; p < map.positions(); ++p)
        std::memcpy(flat + static_cast<std::size_t>(p) * map.n_filters, padded + static_cast<std::size_t>(p) * map.row,
                    map.n_filters * sizeof(float));
}

// body(index) for each set bit, ascending.
template <class Body>
BITSPIKE_INLINE void each(const std::uint64_t* words, int n, const Body& body) {
    for (int w = 0; w < n; ++w)
        for (std::uint64_t word = words[w]; word; word &= word - 1) body(w * 64 + __builtin_ctzll(word));
}

// current += the taps of every spike of a step.
BITSPIKE_INLINE void scatter(const Map& map, const float* taps, const std::uint64_t* in, float* current) {
    each(in, map.in_words, [&](int input) {
        const Reach& reach = map.reach[input];
        float* to = current + reach.out;
        const float* from = taps + reach.tap;
        for (int r = 0; r < reach.rows; ++r, to += map.out_stride, from += map.tap_stride)
            for (int i = 0; i < reach.run; i += kLanes) store(to + i, load(to + i) + load(from + i));
    });
}

// Spikes of a window, channel by channel.
BITSPIKE_INLINE f16 window(const Map& map, Row in, int corner) {
    f16 sum{};
    for (int y = 0; y < map.size; ++y, corner += map.width * map.channels)
        for (int x = 0; x < map.size; ++x)
            sum += lanes_of(in.at(corner + x * map.channels)) ? splat(1.0f) : f16{};
    return sum;
}

// First input bit of the window of an output group.
BITSPIKE_INLINE int corner(const Map& map, int y, int x, int group) {
    return ((y * map.width + x) * map.stride) * map.channels + group * kLanes;
}

// The neurons of one sample; `current(t)` gives the function from (y, x, group, offset) to the input of step t.
template <class Current>
BITSPIKE_INLINE void run(const Map& map, const Neuron& neuron, const Outcome& out, float* state, const Current& current) {
    float *v = state, *x = v + map.padded(), *counts = x + map.padded(), *tpsp = counts + map.padded();
    const f16 beta_m = splat(neuron.beta_m), beta_s = splat(neuron.beta_s), rate = splat(neuron.rate);
    const f16 limit = splat(neuron.limit), one = splat(1.0f), zero{};
    std::vector<std::uint64_t> clamped(map.out_words);
    std::memset(out.spikes, 0, map.out_words * sizeof(std::uint64_t));
    for (int t = 1; t < map.n_steps; ++t) {
        const auto input = current(t - 1);
        if (neuron.refractory) recent(out.spikes, map.out_words, t, neuron.refractory, clamped.data());
        const Row rests(clamped.data(), map.out_words);
        Writer writer(out.spikes + static_cast<std::size_t>(t) * map.out_words);
        std::size_t at = 0;
        int bit = 0;
        for (int py = 0; py < map.out_height; ++py)
            for (int px = 0; px < map.out_width; ++px)
                for (int group = 0; group < map.groups; ++group, at += kLanes) {
                    const int lanes = map.lanes(group);
                    const f16 xs = load(x + at) * beta_s + input(py, px, group, at);
                    f16 vs = load(v + at) * beta_m + xs * rate;
                    if (neuron.refractory) vs = lanes_of(rests.at(bit)) ? zero : vs;
                    const i16 fired = vs > limit;
                    store(x + at, xs);
                    store(v + at, fired ? zero : vs);
                    store(counts + at, load(counts + at) + (fired ? one : zero));
                    store(tpsp + at, load(tpsp + at) + (fired ? vs : zero));
                    writer.put(bits_of(fired) & ((1u << lanes) - 1), lanes);
                    bit += lanes;
                }
        writer.finish();
    }
    to_flat(map, counts, out.counts);
    to_flat(map, tpsp, out.tpsp);
    to_flat(map, v, out.membrane);
}

static void forward(const Map& map, const Neuron& neuron, const float* taps, const std::uint64_t* in, const Outcome& out,
                    Scratch& scratch) {
    float* state = scratch.zeros(5 * map.padded());
    if (taps) {
        float* sum = state + 4 * map.padded();
        run(map, neuron, out, state, [&](int t) {
            scatter(map, taps, in + static_cast<std::size_t>(t) * map.in_words, sum);
            return [sum](int, int, int, std::size_t at) {
                const f16 now = load(sum + at);
                store(sum + at, f16{});
                return now;
            };
        });
    } else {
        run(map, neuron, out, state, [&](int t) {
            const Row row(in + static_cast<std::size_t>(t) * map.in_words, map.in_words);
            return [&map, row](int y, int x, int group, std::size_t) { return window(map, row, corner(map, y, x, group)); };
        });
    }
}

// The adjoint scan, one step back at a time: each call of `before(t)` leaves R(t) in `mu`.
struct Scan {
    const Map& map;
    const Adjoint& how;
    const std::uint64_t* spikes;
    float *lam, *mu;  // padded, zero at first
    std::vector<std::uint64_t> clamped;

    // False where R(t) is 0 because nothing later is left.
    bool before(int t) {
        const int after = t + how.late + 1;
        if (after >= map.n_steps) return false;
        if (how.refractory) recent(spikes, map.out_words, after, how.refractory, clamped.data());
        const Row fired(spikes + static_cast<std::size_t>(after) * map.out_words, map.out_words);
        const Row rests(clamped.data(), map.out_words);
        const f16 decay_m = splat(how.decay_m), decay_s = splat(how.decay_s), gain = splat(how.gain), one = splat(1.0f);
        std::size_t at = 0;
        int bit = 0;
        for (int p = 0; p < map.positions(); ++p)
            for (int group = 0; group < map.groups; ++group, at += kLanes) {
                f16 now = load(lam + at) * decay_m;
                if (how.refractory) now = lanes_of(rests.at(bit)) ? f16{} : now;
                now = lanes_of(fired.at(bit)) ? one : now;
                store(lam + at, now);
                store(mu + at, load(mu + at) * decay_s + now * gain);
                bit += map.lanes(group);
            }
        return true;
    }
};

// One input, `count` spikes in a bin: its taps' gradient and its error.
template <bool WEIGHT, bool ERROR>
BITSPIKE_INLINE float meet(const Map& map, const Reach& reach, float count, const float* by_weight, const float* by_error,
                           const float* taps, float* d_taps) {
    const f16 times = splat(count);
    f16 sum{};
    std::size_t place = reach.out, tap = reach.tap;
    for (int r = 0; r < reach.rows; ++r, place += map.out_stride, tap += map.tap_stride)
        for (int i = 0; i < reach.run; i += kLanes) {
            if (WEIGHT) store(d_taps + tap + i, load(d_taps + tap + i) + times * load(by_weight + place + i));
            if (ERROR) sum += load(taps + tap + i) * load(by_error + place + i);
        }
    return ERROR ? count * total(sum) : 0.0f;
}

template <bool WEIGHT, bool ERROR>
BITSPIKE_INLINE void meet_all(const Map& map, const std::uint64_t* in, int steps, const float* by_weight,
                              const float* by_error, const float* taps, float* d_taps, float* error, int* counts) {
    const auto one = [&](int input, float count) {
        const float more = meet<WEIGHT, ERROR>(map, map.reach[input], count, by_weight, by_error, taps, d_taps);
        if (ERROR) error[input] += more;
    };
    if (steps == 1) return each(in, map.in_words, [&](int input) { one(input, 1.0f); });
    for (int w = 0; w < map.in_words; ++w) {
        std::uint64_t any = 0;
        for (int t = 0; t < steps; ++t) {
            const std::uint64_t word = in[static_cast<std::size_t>(t) * map.in_words + w];
            each(&word, 1, [&](int j) { ++counts[j]; });
            any |= word;
        }
        each(&any, 1, [&](int j) {
            one(64 * w + j, static_cast<float>(counts[j]));
            counts[j] = 0;
        });
    }
}

// error of the inputs of every window += R where they fired; laid out [output group][place in the window][lane].
BITSPIKE_INLINE void spread(const Map& map, const std::uint64_t* in, const float* r, float* error) {
    const Row row(in, map.in_words);
    for (int py = 0; py < map.out_height; ++py)
        for (int px = 0; px < map.out_width; ++px)
            for (int group = 0; group < map.groups; ++group, r += kLanes) {
                const f16 now = load(r);
                int from = corner(map, py, px, group);
                for (int y = 0; y < map.size; ++y, from += map.width * map.channels)
                    for (int x = 0; x < map.size; ++x, error += kLanes)
                        store(error, load(error) + (lanes_of(row.at(from + x * map.channels)) ? now : f16{}));
            }
}

static void gather(const Map& map, const float* spread, float* error) {
    for (int py = 0; py < map.out_height; ++py)
        for (int px = 0; px < map.out_width; ++px)
            for (int group = 0; group < map.groups; ++group) {
                int to = corner(map, py, px, group);
                for (int y = 0; y < map.size; ++y, to += map.width * map.channels)
                    for (int x = 0; x < map.size; ++x, spread += kLanes)
                        std::memcpy(error + to + x * map.channels, spread, map.lanes(group) * sizeof(float));
            }
}

// scaled = scale * r
BITSPIKE_INLINE void multiply(std::size_t n, const float* r, const float* scale, float factor, float* scaled) {
    for (std::size_t i = 0; i < n; i += kLanes) store(scaled + i, load(r + i) * load(scale + i) * splat(factor));
}

static void backward(const Map& map, const Adjoint& how, const float* taps, const Sample& sample, float* d_taps,
                     Scratch& scratch) {
    const std::size_t n = map.padded(), windows = taps || !sample.error ? 0 : n * map.size * map.size;
    float* memory = scratch.zeros(7 * n + windows);
    Scan scan{map, how, sample.out, memory, memory + n, std::vector<std::uint64_t>(map.out_words)};
    float *sum = memory + 2 * n, *by_weight = memory + 3 * n, *by_error = memory + 4 * n;
    float *weight_scale = memory + 5 * n, *error_scale = memory + 6 * n, *in_windows = memory + 7 * n;
    const bool one_scale = sample.weight_scale == sample.error_scale;
    if (sample.weight_scale) to_padded(map, sample.weight_scale, weight_scale);
    if (sample.error_scale) to_padded(map, sample.error_scale, error_scale);
    int counts[64] = {};
    bool any = false;
    for (int t = map.n_steps - 1; t >= 0; --t) {
        if (scan.before(t)) {
            any = true;
            if (how.bin > 1)
                for (std::size_t i = 0; i < n; i += kLanes) store(sum + i, load(sum + i) + load(scan.mu + i));
        }
        if (t % how.bin || !any) continue;
        const int steps = std::min(how.bin, map.n_steps - t);
        const float* r = how.bin > 1 ? sum : scan.mu;
        if (sample.weight_scale) multiply(n, r, weight_scale, 1.0f / steps, by_weight);
        if (sample.error_scale && !(one_scale && sample.weight_scale)) multiply(n, r, error_scale, 1.0f / steps, by_error);
        if (how.bin > 1) std::memset(sum, 0, n * sizeof(float));
        const float* below = one_scale ? by_weight : by_error;
        const std::uint64_t* in = sample.in + static_cast<std::size_t>(t) * map.in_words;
        if (!taps)
            for (int step = 0; step < steps; ++step) spread(map, in + static_cast<std::size_t>(step) * map.in_words, below, in_windows);
        else if (d_taps && sample.error)
            meet_all<true, true>(map, in, steps, by_weight, below, taps, d_taps, sample.error, counts);
        else if (d_taps)
            meet_all<true, false>(map, in, steps, by_weight, below, taps, d_taps, sample.error, counts);
        else
            meet_all<false, true>(map, in, steps, by_weight, below, taps, d_taps, sample.error, counts);
    }
    if (windows) gather(map, in_windows, sample.error);
}

static void tpsp(const Map& map, const Adjoint& how, const float* taps, const Sample& sample, float* a, Scratch& scratch) {
    const std::size_t n = map.padded();
    float *memory = scratch.zeros(4 * n), *sum = memory + 2 * n, *current = memory + 3 * n;
    Scan scan{map, how, sample.out, memory, memory + n, std::vector<std::uint64_t>(map.out_words)};
    for (int t = map.n_steps - 1; t >= 0; --t) {
        if (!scan.before(t)) continue;
        const std::uint64_t* in = sample.in + static_cast<std::size_t>(t) * map.in_words;
        if (taps) scatter(map, taps, in, current);
        const Row row(in, map.in_words);
        std::size_t at = 0;
        for (int y = 0; y < map.out_height; ++y)
            for (int x = 0; x < map.out_width; ++x)
                for (int group = 0; group < map.groups; ++group, at += kLanes) {
                    const f16 now = taps ? load(current + at) : window(map, row, corner(map, y, x, group));
                    store(sum + at, load(sum + at) + now * load(scan.mu + at));
                    store(current + at, f16{});
                }
    }
    to_flat(map, sum, a);
}

static const Kernels table = {forward, backward, tpsp};
