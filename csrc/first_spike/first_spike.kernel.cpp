// Potentials of a tile, its running maxima and crossings; the readout; the table of all kernels of the first-spike layer.
#include <math.h>
#include <cstring>

#include "first_spike/backward.hpp"
#include "first_spike/race.hpp"

namespace bitspike::first_spike {
namespace {

typedef std::int16_t s32 __attribute__((vector_size(64)));
typedef std::int16_t s32u __attribute__((vector_size(64), aligned(2)));
typedef std::int16_t s16 __attribute__((vector_size(32)));
typedef std::uint8_t b64 __attribute__((vector_size(64)));
typedef std::uint8_t b32 __attribute__((vector_size(32)));

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
    const int first = tile * kTile, width = min(kTile, layer.n_out - first);
    // U > theta with integer U is U > floor(theta).
    alignas(64) std::int16_t bound[kTile];
    for (int j = 0; j < kTile; ++j) {
        const float floor = floorf(layer.thresholds[first + j]);
        bound[j] = static_cast<std::int16_t>(min(32767.0f, max(-32768.0f, floor)));
    }
    const s32 bound0 = *reinterpret_cast<s32*>(bound), bound1 = *reinterpret_cast<s32*>(bound + 32);
    for (int b = 0; b < x.batch; ++b) {
        const std::int32_t* starts = x.starts + static_cast<std::size_t>(b) * (x.slots + 1);
        std::int16_t* out = maxima + static_cast<std::size_t>(b) * x.slots * layer.n_padded + first;
        s32 v0{}, v1{}, m0 = INT16_MIN - s32{}, m1 = m0, late0{}, late1{};
        for (int a = 0; a < x.n_active[b]; ++a, out += layer.n_padded) {
            for (int e = starts[a]; e < starts[a + 1];) {
                const int stop = min(e + 255, starts[a + 1]), n = stop - e;
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
    const int first = tile * kTile, width = min(kTile, layer.n_out - first);
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

static void readout(const Spikes& x, const Layer& layer, float* margins, int tile) {
    const float* rows = layer.rows + static_cast<std::size_t>(tile) * x.n_in * kReadout;
    const int first = tile * kReadout, lanes = min(kReadout, layer.n_out - first);
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
    const int first = tile * kReadout, lanes = min(kReadout, layer.n_out - first);
    Buffer<float> sums(static_cast<std::size_t>(x.n_in) * kReadout);
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
    const int first = tile * kTile, lanes = min(kTile, n_out - first);
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

const Kernels table = {forward_binary, forward_real,     backward<std::int16_t>, backward<float>,
                       readout,        readout_backward, pack_words,             race};

}  // namespace

const Kernels& BITSPIKE_VARIANT(kernels)() { return table; }

}  // namespace bitspike::first_spike
