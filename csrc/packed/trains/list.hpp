// From masks of lanes to lists of those that spike.
#pragma once
#include "common/vector16.hpp"

namespace bitspike::packed::trains {
namespace {

using namespace vector16;

// Where the eight lanes of a mask that are set come from, one byte each.
struct Order {
    std::uint64_t of[256];
    constexpr Order() : of() {
        for (int mask = 0; mask < 256; ++mask)
            for (int lane = 0, n = 0; lane < 8; ++lane)
                if (mask >> lane & 1) of[mask] |= static_cast<std::uint64_t>(lane) << 8 * n++;
    }
};

// Copies the ids whose bits are set, in order; writes up to 16 whatever their number, which it returns.
BITSPIKE_INLINE int list(Mask mask, const std::uint32_t* ids, std::uint32_t* to) {
#if defined(__AVX512F__)
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(mask, _mm512_loadu_si512(ids)));
    return __builtin_popcount(mask);
#elif defined(__AVX2__)
    static constexpr Order order;
    int n = 0;
    for (int k = 0; k < 2; ++k) {
        const unsigned part = mask >> 8 * k & 255;
        const __m256i from = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(order.of[part])));
        const __m256i eight = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ids + 8 * k));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + n), _mm256_permutevar8x32_epi32(eight, from));
        n += __builtin_popcount(part);
    }
    return n;
#else
    int n = 0;
    for (unsigned rest = mask; rest; rest &= rest - 1) to[n++] = ids[__builtin_ctz(rest)];
    return n;
#endif
}

}  // namespace
}  // namespace bitspike::packed::trains
