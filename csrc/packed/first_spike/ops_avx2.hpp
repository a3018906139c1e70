// What AVX2 does better.
#pragma once
#include <immintrin.h>

#include "packed/first_spike/ops.hpp"

namespace bitspike::packed::first_spike {
namespace {

struct Avx2 : Portable {
    struct Bits {
        static constexpr int words = 4;
        __m256i v;
        static Bits zero() { return {_mm256_setzero_si256()}; }
        static Bits load(const std::uint64_t* p) { return {_mm256_load_si256(reinterpret_cast<const __m256i*>(p))}; }
        void store(std::uint64_t* p) const { _mm256_store_si256(reinterpret_cast<__m256i*>(p), v); }
        static Bits sum2(Bits a, Bits b) { return {_mm256_xor_si256(a.v, b.v)}; }
        static Bits carry2(Bits a, Bits b) { return {_mm256_and_si256(a.v, b.v)}; }
        static Bits sum3(Bits a, Bits b, Bits c) { return sum2(sum2(a, b), c); }
        static Bits carry3(Bits a, Bits b, Bits c) {
            return {_mm256_or_si256(_mm256_and_si256(a.v, b.v), _mm256_and_si256(c.v, _mm256_or_si256(a.v, b.v)))};
        }
    };

    // Byte j is 0xff where bit j is set.
    static __m256i expand(std::uint32_t bits) {
        const __m256i which = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,
                                               2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
        const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
        const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)), which);
        return _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
    }

    template <bool planes, int n_rows>
    static int count_bytes(const Layer& y, State& s, const std::uint64_t* const* rows, int delta) {
        const std::int8_t* half = y.half[s.n & 1];
        int fired = 0;
        const __m256i shift = _mm256_set1_epi8(static_cast<char>(delta));
        for (int w = 0; w < y.words; ++w) {
            std::uint64_t reached = 0;
            for (int part = 0; part < 2; ++part) {
                __m256i* at = reinterpret_cast<__m256i*>(s.counter + 64 * w + 32 * part);
                const __m256i least =
                    _mm256_load_si256(reinterpret_cast<const __m256i*>(half + 64 * w + 32 * part));
                __m256i sum = _mm256_sub_epi8(_mm256_load_si256(at), shift);
                for (int k = 0; k < n_rows; ++k) {
                    const __m256i set = expand(static_cast<std::uint32_t>(rows[k][w] >> (32 * part)));
                    const __m256i worth = _mm256_set1_epi8(static_cast<char>(planes ? 1 << k : 1));
                    sum = _mm256_add_epi8(sum, _mm256_and_si256(set, worth));
                }
                _mm256_store_si256(at, sum);
                const std::uint32_t below =
                    static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_cmpgt_epi8(least, sum)));
                reached |= static_cast<std::uint64_t>(~below) << (32 * part);
            }
            s.fresh[w] = reached & s.alive[w];
            s.alive[w] ^= s.fresh[w];
            fired += count_bits(s.fresh[w]);
        }
        return fired;
    }

    static void add16(const std::int16_t* row, std::int16_t* sum) {
        __m256i* at = reinterpret_cast<__m256i*>(sum);
        _mm256_store_si256(at, _mm256_add_epi16(_mm256_load_si256(at),
                                                _mm256_load_si256(reinterpret_cast<const __m256i*>(row))));
    }

    static void add16_bits(const Network&, const Layer& y, const std::uint64_t* bits, int, std::int16_t* sum) {
        __m256i* at = reinterpret_cast<__m256i*>(sum);
        __m256i total = _mm256_load_si256(at);
        for (int w = 0; 64 * w < y.n_in; ++w)
            for (std::uint64_t rest = bits[w]; rest; rest &= rest - 1) {
                const std::int16_t* row = y.rows16 + 16 * (64 * w + lowest_bit(rest));
                total = _mm256_add_epi16(total, _mm256_load_si256(reinterpret_cast<const __m256i*>(row)));
            }
        _mm256_store_si256(at, total);
    }
};

}  // namespace
}  // namespace bitspike::packed::first_spike
