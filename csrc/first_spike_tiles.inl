// Included by first_spike_{portable,avx2,avx512}.cpp inside their own namespace. GCC/Clang vector types: the compiler
// lowers the 64-byte vectors to whatever the target has, lane by lane the same arithmetic (no contraction).

typedef float f16 __attribute__((vector_size(64)));
typedef float f16u __attribute__((vector_size(64), aligned(4)));
typedef std::int32_t i16 __attribute__((vector_size(64)));
typedef std::int16_t s32 __attribute__((vector_size(64)));
typedef std::int16_t s32u __attribute__((vector_size(64), aligned(2)));
typedef std::int16_t s16 __attribute__((vector_size(32)));
typedef std::uint8_t b64 __attribute__((vector_size(64)));
typedef std::uint8_t b32 __attribute__((vector_size(32)));

#define BITSPIKE_INLINE static inline __attribute__((always_inline))

BITSPIKE_INLINE f16 splat(float x) { return x - f16{}; }
BITSPIKE_INLINE f16 load(const float* p) { return *reinterpret_cast<const f16u*>(p); }
BITSPIKE_INLINE void store(float* p, f16 v) { *reinterpret_cast<f16u*>(p) = v; }

// counts += 1 in the lanes whose bit is set.
BITSPIKE_INLINE void count(b64& counts, std::uint64_t word) {
#if defined(__AVX512BW__)
    counts = (b64)_mm512_mask_add_epi8((__m512i)counts, word, (__m512i)counts, _mm512_set1_epi8(1));
#else
    // Spread each byte of the word over 8 lanes, keep lane k's bit k, and turn "set" into -1.
    const b64 bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32,
                     64, 128, 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8,
                     16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    typedef std::uint64_t w8 __attribute__((vector_size(64)));
    constexpr std::uint64_t ones = 0x0101010101010101ull;
    const w8 spread = {(word & 255) * ones,         ((word >> 8) & 255) * ones,  ((word >> 16) & 255) * ones,
                       ((word >> 24) & 255) * ones, ((word >> 32) & 255) * ones, ((word >> 40) & 255) * ones,
                       ((word >> 48) & 255) * ones, (word >> 56) * ones};
    counts -= (b64)(((b64)spread & bit) == bit);
#endif
}

// V += 2 * counts - n for 64 int16 lanes in two vectors.
BITSPIKE_INLINE void settle(s32& low, s32& high, b64 counts, int n) {
    union { b64 whole; b32 half[2]; } both = {counts};
    const s32 shift = static_cast<std::int16_t>(n) - s32{};
    const s32 a = __builtin_convertvector(both.half[0], s32), b = __builtin_convertvector(both.half[1], s32);
    low += a + a - shift;
    high += b + b - shift;
}

static void forward_binary(const Spikes& x, const Layer& layer, std::int16_t* maxima, std::int16_t* crossing, int tile) {
    const std::uint64_t* words = layer.words + static_cast<std::size_t>(tile) * x.n_in;
    const int first = tile * kTile, width = std::min(kTile, layer.n_out - first);
    // U > theta with integer U is U > floor(theta).
    alignas(64) std::int16_t bound[kTile];
    for (int j = 0; j < kTile; ++j) {
        const float floor = std::floor(layer.thresholds[first + j]);
        bound[j] = static_cast<std::int16_t>(std::min(32767.0f, std::max(-32768.0f, floor)));
    }
    const s32 bound0 = *reinterpret_cast<s32*>(bound), bound1 = *reinterpret_cast<s32*>(bound + 32);
    for (int b = 0; b < x.batch; ++b) {
        const std::int32_t* starts = x.starts + static_cast<std::size_t>(b) * (x.slots + 1);
        std::int16_t* out = maxima + static_cast<std::size_t>(b) * x.slots * layer.n_padded + first;
        s32 v0{}, v1{}, m0 = INT16_MIN - s32{}, m1 = m0, late0{}, late1{};
        for (int a = 0; a < x.n_active[b]; ++a, out += layer.n_padded) {
            for (int e = starts[a]; e < starts[a + 1];) {
                const int stop = std::min(e + 255, starts[a + 1]), n = stop - e;
                b64 counts{}, odd{};
                for (; e + 1 < stop; e += 2) {
                    count(counts, words[x.events[e]]);
                    count(odd, words[x.events[e + 1]]);
                }
                if (e < stop) count(counts, words[x.events[e++]]);
                settle(v0, v1, counts + odd, n);
            }
            m0 = m0 > v0 ? m0 : v0;
            m1 = m1 > v1 ? m1 : v1;
            late0 -= m0 <= bound0;
            late1 -= m1 <= bound1;
            *reinterpret_cast<s32u*>(out) = m0;
            *reinterpret_cast<s32u*>(out + 32) = m1;
        }
        alignas(64) std::int16_t late[kTile];
        *reinterpret_cast<s32*>(late) = late0;
        *reinterpret_cast<s32*>(late + 32) = late1;
        std::memcpy(crossing + static_cast<std::size_t>(b) * layer.n_out + first, late, width * sizeof(std::int16_t));
    }
}

static void forward_real(const Spikes& x, const Layer& layer, float* maxima, std::int16_t* crossing, int tile) {
    const float* rows = layer.rows + static_cast<std::size_t>(tile) * x.n_in * kTile;
    const int first = tile * kTile, width = std::min(kTile, layer.n_out - first);
    f16 bound[4];
    for (int k = 0; k < 4; ++k) bound[k] = load(layer.thresholds + first + 16 * k);
    for (int b = 0; b < x.batch; ++b) {
        const std::int32_t* starts = x.starts + static_cast<std::size_t>(b) * (x.slots + 1);
        float* out = maxima + static_cast<std::size_t>(b) * x.slots * layer.n_padded + first;
        f16 v0{}, v1{}, v2{}, v3{};
        f16 m0 = splat(-INFINITY), m1 = m0, m2 = m0, m3 = m0;
        i16 late0{}, late1{}, late2{}, late3{};
        for (int a = 0; a < x.n_active[b]; ++a, out += layer.n_padded) {
            for (int e = starts[a]; e < starts[a + 1]; ++e) {
                const float* row = rows + static_cast<std::size_t>(x.events[e]) * kTile;
                v0 += load(row);
                v1 += load(row + 16);
                v2 += load(row + 32);
                v3 += load(row + 48);
            }
            m0 = m0 > v0 ? m0 : v0;
            m1 = m1 > v1 ? m1 : v1;
            m2 = m2 > v2 ? m2 : v2;
            m3 = m3 > v3 ? m3 : v3;
            late0 -= m0 <= bound[0];
            late1 -= m1 <= bound[1];
            late2 -= m2 <= bound[2];
            late3 -= m3 <= bound[3];
            store(out, m0);
            store(out + 16, m1);
            store(out + 32, m2);
            store(out + 48, m3);
        }
        alignas(64) std::int32_t late[kTile];
        *reinterpret_cast<i16*>(late) = late0;
        *reinterpret_cast<i16*>(late + 16) = late1;
        *reinterpret_cast<i16*>(late + 32) = late2;
        *reinterpret_cast<i16*>(late + 48) = late3;
        std::int16_t* slot = crossing + static_cast<std::size_t>(b) * layer.n_out + first;
        for (int j = 0; j < width; ++j) slot[j] = static_cast<std::int16_t>(late[j]);
    }
}

BITSPIKE_INLINE f16 read_maxima(const float* p) { return load(p); }
BITSPIKE_INLINE f16 read_maxima(const std::int16_t* p) {
    typedef std::int16_t s16u __attribute__((vector_size(32), aligned(2)));
    return __builtin_convertvector(*reinterpret_cast<const s16u*>(p), f16);
}

// Equations (5) to (8) of the step formulation: D = dL/ds * psi((M - theta)/width), psi(x) = max(0, 1 - |x|); D reaches V
// in the slot where the running maximum was attained (earliest on ties), hence every input up to that slot.
//
// First the reach of every slot, C(a) = sum of the D whose slot of attainment is a or later, for all samples; then, input
// by input, the sum of C over the input's events, in registers.
template <class Maximum>
static void backward(const Spikes& x, const Layer& layer, const Maximum* maxima, const Gradient& gradient,
                     const ByInput& by_input, float width, float* d_weight, float* d_threshold, float* d_potential, int tile) {
    const int first = tile * kTile, lanes = std::min(kTile, layer.n_out - first);
    const int groups = (lanes + 15) / 16, n_next = gradient.n_next;
    const std::size_t n_live = by_input.n_live;
    static thread_local std::vector<float> reach_memory, next_memory;
    reach_memory.resize(n_live * x.slots * kTile);
    next_memory.assign(static_cast<std::size_t>(n_next) * kTile, 0.0f);
    float* const reach = reach_memory.data();
    float* const next = next_memory.data();  // rows of the layer above, transposed: [n_next][64]
    for (int j = 0; j < lanes && n_next; ++j)
        for (int o = 0; o < n_next; ++o) next[o * kTile + j] = gradient.next[static_cast<std::size_t>(first + j) * n_next + o];
    alignas(64) float edge[kTile] = {};
    f16 total[4] = {};
    const f16 scale = splat(1.0f / width), one = splat(1.0f), zero{};
    for (std::size_t live = 0; live < n_live; ++live) {
        const int b = by_input.samples[live], used = by_input.used[live];
        const Maximum* m = maxima + static_cast<std::size_t>(b) * x.slots * layer.n_padded + first;
        float* to_reach = reach + live * x.slots * kTile;
        for (int k = 0; k < groups; ++k) {
            const f16 bound = load(layer.thresholds + first + 16 * k);
            const int part = std::min(16, lanes - 16 * k);
            f16 pending{}, run{}, sum{}, kept = one;
            if (gradient.keep) {
                const bool* keep = gradient.keep + static_cast<std::size_t>(b) * layer.n_out + first + 16 * k;
                for (int j = 0; j < part; ++j) kept[j] = keep[j] ? 1.0f : 0.0f;
            }
            f16 here = read_maxima(m + static_cast<std::size_t>(used - 1) * layer.n_padded + 16 * k);
            for (int a = used - 1; a >= 0; --a) {
                f16 g{};
                if (n_next) {
                    const float* at = gradient.values + (static_cast<std::size_t>(b) * x.slots + a) * n_next;
                    for (int o = 0; o < n_next; ++o) g += at[o] * load(next + o * kTile + 16 * k);
                } else {
                    const float* at = gradient.values + (static_cast<std::size_t>(b) * x.slots + a) * layer.n_out + first + 16 * k;
                    if (part < 16) {
                        std::memcpy(edge, at, part * sizeof(float));
                        at = edge;
                    }
                    g = load(at);
                }
                const f16 before =
                    a ? read_maxima(m + static_cast<std::size_t>(a - 1) * layer.n_padded + 16 * k) : splat(-INFINITY);
                f16 distance = (here - bound) * scale;
                distance = distance < zero ? -distance : distance;
                const f16 psi = one - distance;
                const f16 d = g * (psi > zero ? psi : zero) * kept;
                sum += d;
                pending += d;
                const i16 attained = here > before;
                const f16 landed = attained ? pending : zero;
                run += landed;
                pending = attained ? zero : pending;
                store(to_reach + a * kTile + 16 * k, run);
                if (d_potential) {
                    float* to = d_potential + (static_cast<std::size_t>(b) * x.slots + a) * layer.n_out + first + 16 * k;
                    for (int j = 0; j < part; ++j) to[j] = landed[j];
                }
                here = before;
            }
            total[k] -= sum;
        }
    }
    for (int i = 0; i < x.n_in; ++i) {
        f16 w0{}, w1{}, w2{}, w3{};
        for (std::int32_t e = by_input.starts[i]; e < by_input.starts[i + 1]; ++e) {
            const float* from = reach + static_cast<std::size_t>(by_input.places[e]) * kTile;
            w0 += load(from);
            w1 += load(from + 16);
            w2 += load(from + 32);
            w3 += load(from + 48);
        }
        float* to = d_weight + static_cast<std::size_t>(i) * layer.n_out + first;
        if (lanes == kTile) {
            store(to, w0);
            store(to + 16, w1);
            store(to + 32, w2);
            store(to + 48, w3);
        } else {
            store(edge, w0);
            store(edge + 16, w1);
            store(edge + 32, w2);
            store(edge + 48, w3);
            std::memcpy(to, edge, lanes * sizeof(float));
        }
    }
    for (int j = 0; j < lanes; ++j) d_threshold[first + j] = total[j / 16][j % 16];
}

static void readout(const Spikes& x, const Layer& layer, float* margins, int tile) {
    const float* rows = layer.rows + static_cast<std::size_t>(tile) * x.n_in * kReadout;
    const int first = tile * kReadout, lanes = std::min(kReadout, layer.n_out - first);
    const f16 bound = load(layer.thresholds + first);
    for (int b = 0; b < x.batch; ++b) {
        const std::int32_t* starts = x.starts + static_cast<std::size_t>(b) * (x.slots + 1);
        float* out = margins + static_cast<std::size_t>(b) * x.slots * layer.n_out + first;
        f16 v{};
        for (int a = 0; a < x.slots; ++a, out += layer.n_out) {
            if (a < x.n_active[b])
                for (int e = starts[a]; e < starts[a + 1]; ++e) v += load(rows + static_cast<std::size_t>(x.events[e]) * kReadout);
            alignas(64) float margin[kReadout];
            store(margin, v - bound);
            std::memcpy(out, margin, lanes * sizeof(float));
        }
    }
}

static void readout_backward(const Spikes& x, const Layer& layer, const float* gradient, float* d_weight,
                             float* d_threshold, int tile) {
    const int first = tile * kReadout, lanes = std::min(kReadout, layer.n_out - first);
    std::vector<float> sums(static_cast<std::size_t>(x.n_in) * kReadout, 0.0f);
    f16 total{};
    for (int b = 0; b < x.batch; ++b) {
        const std::int32_t* starts = x.starts + static_cast<std::size_t>(b) * (x.slots + 1);
        const float* g = gradient + static_cast<std::size_t>(b) * x.slots * layer.n_out + first;
        f16 later{};
        for (int a = x.slots - 1; a >= 0; --a) {
            alignas(64) float now[kReadout] = {};
            std::memcpy(now, g + static_cast<std::size_t>(a) * layer.n_out, lanes * sizeof(float));
            later += load(now);
            if (a >= x.n_active[b]) continue;
            for (int e = starts[a]; e < starts[a + 1]; ++e) {
                float* to = &sums[static_cast<std::size_t>(x.events[e]) * kReadout];
                store(to, load(to) + later);
            }
        }
        total -= later;
    }
    for (int i = 0; i < x.n_in; ++i)
        std::memcpy(d_weight + static_cast<std::size_t>(i) * layer.n_out + first, &sums[static_cast<std::size_t>(i) * kReadout],
                    lanes * sizeof(float));
    for (int j = 0; j < lanes; ++j) d_threshold[first + j] = total[j];
}

static void pack_words(const float* weight, int n_in, int n_out, std::uint64_t* words, int tile) {
    const int first = tile * kTile, lanes = std::min(kTile, n_out - first);
    for (int i = 0; i < n_in; ++i) {
        const float* row = weight + static_cast<std::size_t>(i) * n_out + first;
        std::uint64_t word = 0;
#if defined(__AVX512F__)
        if (lanes == kTile) {
            for (int k = 0; k < 4; ++k)
                word |= static_cast<std::uint64_t>(_mm512_cmp_ps_mask(_mm512_loadu_ps(row + 16 * k), _mm512_setzero_ps(), _CMP_GT_OQ))
                        << (16 * k);
            words[static_cast<std::size_t>(tile) * n_in + i] = word;
            continue;
        }
#endif
        for (int j = 0; j < lanes; ++j) word |= static_cast<std::uint64_t>(row[j] > 0.0f) << j;
        words[static_cast<std::size_t>(tile) * n_in + i] = word;
    }
}

#include "first_spike_race.inl"

static const Kernels table = {forward_binary, forward_real, backward<std::int16_t>, backward<float>, readout, readout_backward,
                              pack_words, race};
