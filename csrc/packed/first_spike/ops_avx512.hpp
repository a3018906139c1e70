// What AVX-512 does better than AVX2.
#pragma once
#include <immintrin.h>

#include "packed/first_spike/ops_avx2.hpp"

namespace bitspike::packed::first_spike {
namespace {

struct Avx512 : Avx2 {
    struct Bits {
        static constexpr int words = 8;
        __m512i v;
        static Bits zero() { return {_mm512_setzero_si512()}; }
        static Bits load(const std::uint64_t* p) { return {_mm512_load_si512(p)}; }
        void store(std::uint64_t* p) const { _mm512_store_si512(p, v); }
        static Bits sum2(Bits a, Bits b) { return {_mm512_xor_si512(a.v, b.v)}; }
        static Bits carry2(Bits a, Bits b) { return {_mm512_and_si512(a.v, b.v)}; }
        static Bits sum3(Bits a, Bits b, Bits c) { return {_mm512_ternarylogic_epi64(a.v, b.v, c.v, 0x96)}; }
        static Bits carry3(Bits a, Bits b, Bits c) { return {_mm512_ternarylogic_epi64(a.v, b.v, c.v, 0xe8)}; }
    };

    static int scan_pixels(const std::uint8_t* pixels, int n, int dimmest, std::uint32_t* keys) {
        if (dimmest > 255) return 0;
        const __m512i least = _mm512_set1_epi8(static_cast<char>(dimmest));
        const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        int count = 0;
        for (int i = 0; i < n; i += 64) {
            const __mmask64 there = n - i >= 64 ? ~0ull : (1ull << (n - i)) - 1;
            const __m512i block = _mm512_maskz_loadu_epi8(there, pixels + i);
            const std::uint64_t lit = _mm512_mask_cmpge_epu8_mask(there, block, least);
            if (!lit) continue;
            for (int q = 0; q < 4; ++q) {
                const __mmask16 mask = static_cast<__mmask16>(lit >> (16 * q));
                const __mmask16 near = static_cast<__mmask16>(there >> (16 * q));
                const __m128i bytes = _mm_maskz_loadu_epi8(near, pixels + i + 16 * q);
                const __m512i value = _mm512_slli_epi32(_mm512_cvtepu8_epi32(bytes), 24);
                const __m512i key = _mm512_or_si512(value, _mm512_add_epi32(lane, _mm512_set1_epi32(i + 16 * q)));
                _mm512_storeu_si512(keys + count, _mm512_maskz_compress_epi32(mask, key));
                count += count_bits(mask);
            }
        }
        return count;
    }

    static int select(const std::uint32_t* keys, int n, std::uint8_t lowest, std::uint8_t highest,
                      std::uint32_t* indices) {
        const __m512i from = _mm512_set1_epi32(static_cast<int>(static_cast<std::uint32_t>(lowest) << 24));
        const __m512i span =
            _mm512_set1_epi32(static_cast<int>((static_cast<std::uint32_t>(highest - lowest) << 24) | 0xffffffu));
        const __m512i index = _mm512_set1_epi32(0xffffff);
        int count = 0;
        for (int e = 0; e < n; e += 16) {
            const __mmask16 there = static_cast<__mmask16>(n - e >= 16 ? 0xffff : (1 << (n - e)) - 1);
            const __m512i key = _mm512_loadu_si512(keys + e);
            const __mmask16 mask = _mm512_mask_cmple_epu32_mask(there, _mm512_sub_epi32(key, from), span);
            _mm512_storeu_si512(indices + count, _mm512_maskz_compress_epi32(mask, _mm512_and_si512(key, index)));
            count += count_bits(mask);
        }
        return count;
    }

    static int scan_times(const std::int16_t* times, int n, int n_steps, std::uint32_t* steps, std::uint32_t* indices,
                          bool& bad) {
        const __m512i never = _mm512_set1_epi32(n_steps);
        const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        __mmask16 outside = 0;
        int count = 0;
        for (int i = 0; i < n; i += 16) {
            const __mmask16 there = static_cast<__mmask16>(n - i >= 16 ? 0xffff : (1 << (n - i)) - 1);
            const __m512i step = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, times + i));
            const __mmask16 mask = _mm512_mask_cmplt_epi32_mask(there, step, never);
            outside = static_cast<__mmask16>(outside | _mm512_mask_cmpgt_epi32_mask(there, step, never));
            _mm512_storeu_si512(steps + count, _mm512_maskz_compress_epi32(mask, step));
            _mm512_storeu_si512(indices + count,
                                _mm512_maskz_compress_epi32(mask, _mm512_add_epi32(lane, _mm512_set1_epi32(i))));
            count += count_bits(mask);
        }
        bad |= outside != 0;
        return count;
    }

    static constexpr bool retires = true;

    // Two passes: in most steps of a long race nobody fires, and the first pass is all there is.
    template <bool planes, int n_rows>
    static int count_bytes(const Layer& y, State& s, const std::uint64_t* const* rows, int delta) {
        const std::int8_t* half = s.half[s.n & 1];
        std::int8_t* const counter = s.counter;  // named here, for a store of bytes may alias the fields of s and y
        const int words = y.words;
        const __m512i shift = _mm512_set1_epi8(static_cast<char>(delta));
        __mmask64 any = 0;
        for (int w = 0; w < words; ++w) {
            __m512i sum = _mm512_sub_epi8(_mm512_load_si512(counter + 64 * w), shift);
            for (int k = 0; k < n_rows; ++k) {
                const __m512i worth = _mm512_set1_epi8(static_cast<char>(planes ? 1 << k : 1));
                sum = _mm512_mask_add_epi8(sum, rows[k][w], sum, worth);
            }
            _mm512_store_si512(counter + 64 * w, sum);
            any = _kor_mask64(any, _mm512_cmpge_epi8_mask(sum, _mm512_load_si512(half + 64 * w)));
        }
        if (!any) return 0;
        int fired = 0;
        const __m512i never = _mm512_set1_epi8(127);
        std::int8_t *const even = s.half[0], *const odd = s.half[1];
        std::uint64_t *const alive = s.alive, *const fresh = s.fresh;
        for (int w = 0; w < words; ++w) {
            const __m512i sum = _mm512_load_si512(counter + 64 * w);
            const __mmask64 reached = _mm512_cmpge_epi8_mask(sum, _mm512_load_si512(half + 64 * w));
            _mm512_mask_storeu_epi8(even + 64 * w, reached, never);
            _mm512_mask_storeu_epi8(odd + 64 * w, reached, never);
            const std::uint64_t now = reached & alive[w];
            fresh[w] = now;
            alive[w] ^= now;
            fired += count_bits(now);
        }
        return fired;
    }

    static void count_words(const std::uint64_t* const* planes, int n_planes, int words, std::int32_t* counter) {
        for (int w = 0; w < words; ++w)
            for (int q = 0; q < 4; ++q) {
                std::int32_t* at = counter + 64 * w + 16 * q;
                __m512i sum = _mm512_load_si512(at);
                for (int k = 0; k < n_planes; ++k)
                    sum = _mm512_mask_add_epi32(sum, static_cast<__mmask16>(planes[k][w] >> (16 * q)), sum,
                                                _mm512_set1_epi32(1 << k));
                _mm512_store_si512(at, sum);
            }
    }

    static void add16_bits(const Network& net, const Layer& y, const std::uint64_t* bits, int fired,
                           std::int16_t* sum) {
        if (net.counts_bits) count_columns(y, bits, fired, sum);
        else Avx2::add16_bits(net, y, bits, fired, sum);
    }

    // U += 2 |bits & column| - |bits|, without a branch per spike.
    __attribute__((target("avx512vpopcntdq"))) static void count_columns(const Layer& y, const std::uint64_t* bits,
                                                                         int fired, std::int16_t* sum) {
        __m512i low = _mm512_setzero_si512(), high = low;
        for (int w = 0; 64 * w < y.n_in; ++w) {
            const __m512i word = _mm512_set1_epi64(static_cast<long long>(bits[w]));
            const std::uint64_t* column = y.columns + 16 * w;
            low = _mm512_add_epi64(low, _mm512_popcnt_epi64(_mm512_and_si512(word, _mm512_load_si512(column))));
            high = _mm512_add_epi64(high, _mm512_popcnt_epi64(_mm512_and_si512(word, _mm512_load_si512(column + 8))));
        }
        __m256i* at = reinterpret_cast<__m256i*>(sum);
        const __m256i positive = _mm256_set_m128i(_mm512_cvtepi64_epi16(high), _mm512_cvtepi64_epi16(low));
        const __m256i all = _mm256_set1_epi16(static_cast<short>(fired));
        const __m256i change = _mm256_sub_epi16(_mm256_slli_epi16(positive, 1), all);
        _mm256_store_si256(at, _mm256_add_epi16(_mm256_load_si256(at), change));
    }

    static std::uint64_t nonzero64(const std::uint32_t* count) {
        std::uint64_t mask = 0;
        for (int q = 0; q < 4; ++q) {
            const __m512i block = _mm512_load_si512(count + 16 * q);
            mask |= static_cast<std::uint64_t>(_mm512_test_epi32_mask(block, block)) << (16 * q);
        }
        return mask;
    }

    static std::uint64_t crossed16(const Layer& y, const std::int16_t* sum) {
        return y.all[0] & _mm256_cmpge_epi16_mask(_mm256_load_si256(reinterpret_cast<const __m256i*>(sum)),
                                                  _mm256_load_si256(reinterpret_cast<const __m256i*>(y.fires_at16)));
    }
};

}  // namespace
}  // namespace bitspike::packed::first_spike
