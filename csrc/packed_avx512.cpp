#include <immintrin.h>

#include "packed_run.hpp"

namespace bitspike::packed {
namespace {

struct Avx512 : Portable {
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
            std::uint64_t lit = _mm512_mask_cmpge_epu8_mask(there, block, least);
            for (int q = 0; lit; ++q, lit >>= 16) {
                const __mmask16 mask = static_cast<__mmask16>(lit);
                const __m128i bytes = _mm_maskz_loadu_epi8(static_cast<__mmask16>(there >> (16 * q)), pixels + i + 16 * q);
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

    template <bool planes, int n_rows>
    static int count_bytes(const std::uint64_t* const* rows, int words, int delta, const std::int8_t* half,
                           std::int8_t* counter, std::uint64_t* alive, std::uint64_t* fresh) {
        int fired = 0;
        const __m512i shift = _mm512_set1_epi8(static_cast<char>(delta));
        for (int w = 0; w < words; ++w) {
            __m512i sum = _mm512_sub_epi8(_mm512_load_si512(counter + 64 * w), shift);
            for (int k = 0; k < n_rows; ++k)
                sum = _mm512_mask_add_epi8(sum, rows[k][w], sum, _mm512_set1_epi8(static_cast<char>(planes ? 1 << k : 1)));
            _mm512_store_si512(counter + 64 * w, sum);
            const __mmask64 reached = _mm512_mask_cmpge_epi8_mask(alive[w], sum, _mm512_load_si512(half + 64 * w));
            fresh[w] = reached;
            alive[w] ^= reached;
            fired += count_bits(reached);
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

    static void add16(const std::int16_t* row, std::int16_t* sum) {
        __m256i* at = reinterpret_cast<__m256i*>(sum);
        _mm256_store_si256(at, _mm256_add_epi16(_mm256_load_si256(at),
                                                _mm256_load_si256(reinterpret_cast<const __m256i*>(row))));
    }

    static void add16_bits(const std::int16_t* rows, const std::uint64_t* bits, int words, std::int16_t* sum) {
        __m256i* at = reinterpret_cast<__m256i*>(sum);
        __m256i total = _mm256_load_si256(at);
        for (int w = 0; w < words; ++w)
            for (std::uint64_t rest = bits[w]; rest; rest &= rest - 1) {
                const std::int16_t* row = rows + 16 * (64 * w + lowest_bit(rest));
                total = _mm256_add_epi16(total, _mm256_load_si256(reinterpret_cast<const __m256i*>(row)));
            }
        _mm256_store_si256(at, total);
    }
};

}  // namespace

std::int64_t run_avx512(const Network& net, const Inputs& in, const Outputs& out, std::size_t begin, std::size_t end,
                        char* scratch) {
    return run<Avx512>(net, in, out, begin, end, scratch);
}

}  // namespace bitspike::packed
