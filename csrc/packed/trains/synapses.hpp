// What the spikes of one step add to the currents of a layer.
#pragma once
#include "common/vector16.hpp"
#include "packed/trains/network.hpp"

namespace bitspike::packed::trains {
namespace {

using namespace vector16;

typedef std::uint64_t w8 __attribute__((vector_size(64)));
typedef std::uint8_t b64 __attribute__((vector_size(64)));
typedef std::uint8_t b16u __attribute__((vector_size(16), aligned(1), may_alias));
typedef std::int16_t s16 __attribute__((vector_size(32)));

constexpr int chunk = 248;  // spikes that eight bit planes can count, a multiple of 8
constexpr int few = 4;      // up to so many spikes their rows are added as they are

// counts += value in the lanes whose bit is set.
BITSPIKE_INLINE void add_lanes(b64& counts, std::uint64_t word, int value) {
#if defined(__AVX512BW__)
    counts = (b64)_mm512_mask_add_epi8((__m512i)counts, word, (__m512i)counts, _mm512_set1_epi8(static_cast<char>(value)));
#elif defined(__AVX2__)
    const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
    const __m256i eighth = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    union { b64 whole; __m256i half[2]; } sum = {counts};
    for (int k = 0; k < 2; ++k) {
        const __m256i four = _mm256_set1_epi32(static_cast<int>(word >> 32 * k));
        const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(four, eighth), bit), bit);
        sum.half[k] = _mm256_add_epi8(sum.half[k], _mm256_and_si256(set, _mm256_set1_epi8(static_cast<char>(value))));
    }
    counts = sum.whole;
#else
    constexpr std::uint64_t ones = 0x0101010101010101ull;
    union { b64 whole; std::uint64_t eights[8]; } sum = {counts};
    for (int k = 0; k < 8; ++k) {  // byte j of `set` is bit j of the word's byte k
        const std::uint64_t picked = (word >> 8 * k & 255) * ones & 0x8040201008040201ull;
        const std::uint64_t set = (picked + 0x7f7f7f7f7f7f7f7full) >> 7 & ones;
        sum.eights[k] += set * static_cast<std::uint64_t>(value);
    }
    counts = sum.whole;
#endif
}

// A full adder: sum + a + b, the carry returned.
BITSPIKE_INLINE w8 full(w8& sum, w8 a, w8 b) {
#if defined(__AVX512F__)
    const w8 carry = (w8)_mm512_ternarylogic_epi64((__m512i)sum, (__m512i)a, (__m512i)b, 0xe8);
    sum = (w8)_mm512_ternarylogic_epi64((__m512i)sum, (__m512i)a, (__m512i)b, 0x96);
#else
    const w8 both = a ^ b, carry = (a & b) | (sum & both);
    sum ^= both;
#endif
    return carry;
}

// Counts the +1 synapses of m <= chunk spikes onto 512 neurons: a tree of carry-save adders over eight rows at a time
// (missing ones are the zero row), and a ripple above. Returns the number of planes.
static int count_planes(const Synapses& y, int word, const std::uint32_t* ids, int m, w8* planes) {
    w8 c0{}, c1{}, c2{}, high[5] = {};
    int n_high = 0;
    while (m >> (3 + n_high)) ++n_high;
    for (int e = 0; e < m; e += 8) {
        const auto row = [&](int k) {
            const std::size_t id = e + k < m ? ids[e + k] : static_cast<std::uint32_t>(y.n_in);
            return *reinterpret_cast<const w8*>(y.signs + id * static_cast<std::size_t>(y.stride) + word);
        };
        const w8 t0 = full(c0, row(0), row(1)), t1 = full(c0, row(2), row(3));
        const w8 f0 = full(c1, t0, t1);
        const w8 t2 = full(c0, row(4), row(5)), t3 = full(c0, row(6), row(7));
        const w8 f1 = full(c1, t2, t3);
        w8 carry = full(c2, f0, f1);
        for (int k = 0; k < n_high; ++k) {
            const w8 next = high[k] & carry;
            high[k] ^= carry;
            carry = next;
        }
    }
    planes[0] = c0;
    planes[1] = c1;
    planes[2] = c2;
    for (int k = 0; k < n_high; ++k) planes[3 + k] = high[k];
    return 3 + n_high;
}

// current += U = 2 (count of +1) - m.
static void add_signs(const Synapses& y, const std::uint32_t* ids, int m, float* current) {
    const int words = (y.n_out + 63) / 64;
    for (int from = 0; from < m; from += chunk) {
        const int part = m - from < chunk ? m - from : chunk;
        for (int word = 0; word < words; word += 8) {
            alignas(64) w8 planes[8];
            int n_planes = part;
            if (part <= few)
                for (int k = 0; k < part; ++k)
                    planes[k] = *reinterpret_cast<const w8*>(
                        y.signs + static_cast<std::size_t>(ids[from + k]) * static_cast<std::size_t>(y.stride) + word);
            else
                n_planes = count_planes(y, word, ids + from, part, planes);
            const auto* bits = reinterpret_cast<const std::uint64_t*>(planes);
            for (int w = 0; w < 8 && word + w < words; ++w) {
                b64 counts{};
                for (int k = 0; k < n_planes; ++k) add_lanes(counts, bits[8 * k + w], part <= few ? 1 : 1 << k);
                const auto* bytes = reinterpret_cast<const std::uint8_t*>(&counts);
                float* to = current + 64 * (word + w);
                for (int q = 0; q < 4; ++q) {
                    const i16 p = __builtin_convertvector(*reinterpret_cast<const b16u*>(bytes + 16 * q), i16);
                    store(to + 16 * q, load(to + 16 * q) + __builtin_convertvector(p + p - part, f16));
                }
            }
        }
    }
}

static void add_narrow(const Synapses& y, const std::uint32_t* ids, int m, float* current) {
    const auto row = [&](int e) { return *reinterpret_cast<const s16*>(y.narrow + 16 * static_cast<std::size_t>(ids[e])); };
    s16 even{}, odd{};
    int e = 0;
    for (; e + 1 < m; e += 2) {
        even += row(e);
        odd += row(e + 1);
    }
    if (e < m) even += row(e);
    store(current, load(current) + __builtin_convertvector(even + odd, f16));
}

// The runs of floats that an input neuron adds, one per row of the kernel: add(weights, first lane, lanes).
template <class Add>
BITSPIKE_INLINE void each_run(const Synapses& y, std::uint32_t id, Add add) {
    const int channels = y.channels, place = static_cast<int>(id) / channels, c = static_cast<int>(id) % channels;
    const int row = place / y.width + y.padding, column = place % y.width + y.padding;
    const int top = row - y.out_height + 1, left = column - y.out_width + 1;
    const int first = left > 0 ? left : 0, last = column < y.size - 1 ? column : y.size - 1;
    if (last < first) return;
    const int run = (last - first + 1) * y.depth;
    for (int ky = top > 0 ? top : 0; ky < y.size && ky <= row; ++ky) {
        const std::size_t at = (static_cast<std::size_t>(c) * y.size + ky) * y.size + (y.size - 1 - last);
        const std::size_t lane = static_cast<std::size_t>(row - ky) * y.out_width + (column - last);
        add(y.rows + at * y.depth, lane * y.depth, run);
    }
}

// Lanes `lane` to lane + 16 K of a dense layer: summed in registers, added to memory once.
template <int K>
BITSPIKE_INLINE void add_columns(const Synapses& y, const std::uint32_t* ids, int m, float* current, int lane) {
    RowSum<K> sum;
    for (int e = 0; e < m; ++e) sum.add(y.rows + static_cast<std::size_t>(ids[e]) * static_cast<std::size_t>(y.depth) + lane);
    alignas(64) float total[K * kLanes];
    sum.store(total);
    for (int k = 0; k < K * kLanes; k += kLanes) store(current + lane + k, load(current + lane + k) + load(total + k));
}

static void add_dense(const Synapses& y, const std::uint32_t* ids, int m, float* current) {
    int lane = 0;
    for (; lane + kMostRows * kLanes <= y.depth; lane += kMostRows * kLanes) add_columns<kMostRows>(y, ids, m, current, lane);
    for (; lane < y.depth; lane += kLanes) add_columns<1>(y, ids, m, current, lane);
}

static void add_rows(const Synapses& y, const std::uint32_t* ids, int m, float* current) {
    for (int e = 0; e < m; ++e)
        each_run(y, ids[e], [current](const float* from, std::size_t lane, int n) {
            float* to = current + lane;
            for (int k = 0; k < n; k += kLanes) store(to + k, load(to + k) + load(from + k));
        });
}

static void add_pool(const Synapses& y, const std::uint32_t* ids, int m, float* current) {
    for (int e = 0; e < m; ++e) {
        const int id = static_cast<int>(ids[e]), place = id / y.channels, c = id % y.channels;
        const int row = place / y.width / y.size, column = place % y.width / y.size;
        if (row < y.out_height && column < y.out_width)
            current[(static_cast<std::size_t>(row) * y.out_width + column) * y.depth + c] += 1;
    }
}

static void add_spikes(const Synapses& y, const std::uint32_t* ids, int m, float* current) {
    switch (y.kind) {
        case Kind::signs: return add_signs(y, ids, m, current);
        case Kind::narrow: return add_narrow(y, ids, m, current);
        case Kind::rows: return y.height * y.width == 1 && y.size == 1 && y.padding == 0 ? add_dense(y, ids, m, current)
                                                                                     : add_rows(y, ids, m, current);
        case Kind::pool: return add_pool(y, ids, m, current);
    }
}

}  // namespace
}  // namespace bitspike::packed::trains
