// Vectors of the machine's own width, for kernel files. Lane by lane all targets compute the same (no contraction).
#pragma once
#include <math.h>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

#include "common/isa.hpp"

namespace bitspike::vector {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Floats __attribute__((vector_size(kLanes * 4)));
typedef float FloatsAt __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef std::int32_t Ints __attribute__((vector_size(kLanes * 4)));
typedef std::uint32_t Unsigned __attribute__((vector_size(kLanes * 4)));
typedef std::uint32_t UnsignedAt __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef std::uint64_t Words __attribute__((vector_size(kLanes * 4)));
typedef std::uint8_t BytesAt __attribute__((vector_size(kLanes), aligned(1), may_alias));

BITSPIKE_INLINE Floats splat(float x) { return x - Floats{}; }
BITSPIKE_INLINE Floats load(const float* p) { return *reinterpret_cast<const FloatsAt*>(p); }
BITSPIKE_INLINE void store(float* p, Floats v) { *reinterpret_cast<FloatsAt*>(p) = v; }

#if defined(__AVX2__) && !defined(__AVX512F__)
alignas(32) constexpr std::int32_t kOnesThenZeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
BITSPIKE_INLINE __m256i lane_mask(int lanes) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kOnesThenZeros + 8 - lanes));
}
#endif

// The first `lanes`; the others are 0 and not touched in memory.
BITSPIKE_INLINE Floats load(const float* p, int lanes) {
    if (lanes >= kLanes) return load(p);
#if defined(__AVX512F__)
    return (Floats)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << lanes) - 1), p);
#elif defined(__AVX2__)
    return (Floats)_mm256_maskload_ps(p, lane_mask(lanes));
#else
    alignas(64) float part[kLanes] = {};
    std::memcpy(part, p, lanes * sizeof(float));
    return load(part);
#endif
}
BITSPIKE_INLINE void store(float* p, Floats v, int lanes) {
    if (lanes >= kLanes) return store(p, v);
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << lanes) - 1), (__m512)v);
#elif defined(__AVX2__)
    _mm256_maskstore_ps(p, lane_mask(lanes), (__m256)v);
#else
    alignas(64) float part[kLanes];
    store(part, v);
    std::memcpy(p, part, lanes * sizeof(float));
#endif
}

// NaN passes: x where the comparison is not true.
#if defined(__AVX512F__)  // masked: GCC 12 warns of the others
BITSPIKE_INLINE Floats at_least(Floats x, float low) { return (Floats)_mm512_maskz_max_ps(0xFFFF, _mm512_set1_ps(low), (__m512)x); }
BITSPIKE_INLINE Floats at_most(Floats x, float high) { return (Floats)_mm512_maskz_min_ps(0xFFFF, _mm512_set1_ps(high), (__m512)x); }
BITSPIKE_INLINE Floats root(Floats x) { return (Floats)_mm512_maskz_sqrt_ps(0xFFFF, (__m512)x); }
BITSPIKE_INLINE unsigned bits(Ints mask) { return _mm512_movepi32_mask((__m512i)mask); }
#elif defined(__AVX2__)
BITSPIKE_INLINE Floats at_least(Floats x, float low) { return (Floats)_mm256_max_ps(_mm256_set1_ps(low), (__m256)x); }
BITSPIKE_INLINE Floats at_most(Floats x, float high) { return (Floats)_mm256_min_ps(_mm256_set1_ps(high), (__m256)x); }
BITSPIKE_INLINE Floats root(Floats x) { return (Floats)_mm256_sqrt_ps((__m256)x); }
BITSPIKE_INLINE unsigned bits(Ints mask) { return static_cast<unsigned>(_mm256_movemask_ps((__m256)mask)); }
#else
BITSPIKE_INLINE Floats at_least(Floats x, float low) { return x < low ? splat(low) : x; }
BITSPIKE_INLINE Floats at_most(Floats x, float high) { return x > high ? splat(high) : x; }
BITSPIKE_INLINE Floats root(Floats x) {
    for (int k = 0; k < kLanes; ++k) x[k] = sqrtf(x[k]);
    return x;
}
BITSPIKE_INLINE unsigned bits(Ints mask) {
    unsigned set = 0;
    for (int k = 0; k < kLanes; ++k) set |= (static_cast<unsigned>(mask[k]) >> 31) << k;
    return set;
}
#endif

// sum + p w. `exact`: w is +1 or -1, so that one rounding is as good as two.
template <bool exact>
BITSPIKE_INLINE Floats add_product(Floats sum, Floats p, Floats w) {
#if defined(__AVX512F__)
    if constexpr (exact) return (Floats)_mm512_fmadd_ps((__m512)p, (__m512)w, (__m512)sum);
#elif defined(__AVX2__) && defined(__FMA__)
    if constexpr (exact) return (Floats)_mm256_fmadd_ps((__m256)p, (__m256)w, (__m256)sum);
#endif
    return sum + p * w;
}

BITSPIKE_INLINE Floats magnitude(Floats x) { return (Floats)((Ints)x & 0x7FFFFFFF); }
BITSPIKE_INLINE Floats with_sign(Floats x, Floats sign) {
    return (Floats)(((Ints)x & 0x7FFFFFFF) | ((Unsigned)sign & 0x80000000u));
}
// +1 where the mask is set, else -1.
BITSPIKE_INLINE Floats plus_or_minus(Ints mask) { return mask ? splat(1.0f) : splat(-1.0f); }

BITSPIKE_INLINE float sum(Floats v) {  // of whole numbers: in any order
    alignas(64) float a[kLanes];
    store(a, v);
    for (int half = kLanes / 2; half; half /= 2)
        for (int k = 0; k < half; ++k) a[k] += a[k + half];
    return a[0];
}

BITSPIKE_INLINE void prefetch(const float* p) { __builtin_prefetch(p, 1, 2); }

// Turns rows of kLanes vectors into columns.
BITSPIKE_INLINE void transpose(Floats* v) {
#if defined(__clang__)
    alignas(64) float from[kLanes][kLanes];
    for (int a = 0; a < kLanes; ++a) store(from[a], v[a]);
    for (int a = 0; a < kLanes; ++a)
        for (int b = 0; b < kLanes; ++b) v[a][b] = from[b][a];
#else
    const auto swap = [&](auto half) {
        constexpr int h = decltype(half)::value;
        Ints low, high;
        for (int l = 0; l < kLanes; ++l) {
            low[l] = l & h ? kLanes + l - h : l;
            high[l] = l & h ? kLanes + l : l + h;
        }
#pragma GCC unroll 16
        for (int a = 0; a < kLanes; ++a) {
            if (a & h) continue;
            const Floats x = v[a], y = v[a + h];
            v[a] = __builtin_shuffle(x, y, low);
            v[a + h] = __builtin_shuffle(x, y, high);
        }
    };
    swap(std::integral_constant<int, 1>{});
    swap(std::integral_constant<int, 2>{});
    if constexpr (kLanes > 4) swap(std::integral_constant<int, 4>{});
    if constexpr (kLanes > 8) swap(std::integral_constant<int, 8>{});
#endif
}

}  // namespace
}  // namespace bitspike::vector
