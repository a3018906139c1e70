// Vectors of sixteen floats on every machine, for kernel files. The compilers' vector types give all targets the same
// arithmetic, lane by lane (no contraction); masks are 16 bits, bit k for lane k, as spikes lie in memory.
#pragma once
#include <cstdint>
#include <cstring>

#include "common/vector.hpp"

namespace bitspike::vector16 {
namespace {

constexpr int kLanes = 16;

typedef float f16 __attribute__((vector_size(64)));
typedef float f16u __attribute__((vector_size(64), aligned(4), may_alias));
typedef std::int32_t i16 __attribute__((vector_size(64)));
using Mask = std::uint16_t;

BITSPIKE_INLINE f16 splat(float x) { return x - f16{}; }
BITSPIKE_INLINE f16 load(const float* p) { return *reinterpret_cast<const f16u*>(p); }
BITSPIKE_INLINE void store(float* p, f16 v) { *reinterpret_cast<f16u*>(p) = v; }

// The first `lanes` of 16; the others are 0 and not touched in memory.
BITSPIKE_INLINE f16 load(const float* p, int lanes) {
    if (lanes >= kLanes) return load(p);
    alignas(64) float part[kLanes] = {};
    std::memcpy(part, p, lanes * sizeof(float));
    return load(part);
}
BITSPIKE_INLINE void store(float* p, f16 v, int lanes) {
    if (lanes >= kLanes) return store(p, v);
    alignas(64) float part[kLanes];
    store(part, v);
    std::memcpy(p, part, lanes * sizeof(float));
}

// `above`: bits of the lanes with v > limit. `drop`: 0 where the bit is set. `choose`: yes where it is set.
#if defined(__AVX512F__)
BITSPIKE_INLINE Mask above(f16 v, f16 limit) { return _mm512_cmp_ps_mask((__m512)v, (__m512)limit, _CMP_GT_OQ); }
BITSPIKE_INLINE f16 drop(f16 v, Mask m) { return (f16)_mm512_maskz_mov_ps(static_cast<Mask>(~m), (__m512)v); }
BITSPIKE_INLINE f16 choose(Mask m, f16 yes, f16 no) { return (f16)_mm512_mask_mov_ps((__m512)no, m, (__m512)yes); }
#else
// GCC compares vectors wider than the machine's lane by lane, so comparisons are made in the machine's width.
BITSPIKE_INLINE Mask above(f16 v, f16 limit) {
    unsigned mask = 0;
#if defined(__AVX__)
    union { f16 whole; __m256 part[2]; } a = {v}, b = {limit};
    for (int k = 0; k < 2; ++k)
        mask |= static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a.part[k], b.part[k], _CMP_GT_OQ))) << 8 * k;
#elif defined(__SSE2__)
    union { f16 whole; __m128 part[4]; } a = {v}, b = {limit};
    for (int k = 0; k < 4; ++k)
        mask |= static_cast<unsigned>(_mm_movemask_ps(_mm_cmpgt_ps(a.part[k], b.part[k]))) << 4 * k;
#else
    for (int k = 0; k < kLanes; ++k) mask |= static_cast<unsigned>(v[k] > limit[k]) << k;
#endif
    return static_cast<Mask>(mask);
}
BITSPIKE_INLINE i16 clear_lanes(Mask m) {  // all ones where the bit is 0: bit k goes to the sign of lane k
    typedef std::uint32_t u16 __attribute__((vector_size(64)));
    const u16 worth = {1u << 31, 1u << 30, 1u << 29, 1u << 28, 1u << 27, 1u << 26, 1u << 25, 1u << 24,
                       1u << 23, 1u << 22, 1u << 21, 1u << 20, 1u << 19, 1u << 18, 1u << 17, 1u << 16};
    return ~((i16)(worth * static_cast<std::uint32_t>(m)) >> 31);
}
BITSPIKE_INLINE f16 drop(f16 v, Mask m) { return (f16)((i16)v & clear_lanes(m)); }
BITSPIKE_INLINE f16 choose(Mask m, f16 yes, f16 no) {
    const i16 clear = clear_lanes(m);
    return (f16)(((i16)no & clear) | ((i16)yes & ~clear));
}
#endif

// Sums of K * 16 floats in registers of the machine's own width: GCC keeps wider ones in memory.
template <int K>
struct RowSum {
    using Own = vector::FloatsAt;
    static constexpr int kOwnLanes = vector::kLanes;
    static constexpr int kParts = K * kLanes / kOwnLanes;
    Own part[kParts] = {};

    BITSPIKE_INLINE_MEMBER void load(const float* from) {
        for (int k = 0; k < kParts; ++k) part[k] = *reinterpret_cast<const Own*>(from + k * kOwnLanes);
    }
    BITSPIKE_INLINE_MEMBER void add(const RowSum& other) {
        for (int k = 0; k < kParts; ++k) part[k] += other.part[k];
    }
    BITSPIKE_INLINE_MEMBER void add(const float* from) {
        for (int k = 0; k < kParts; ++k) part[k] += *reinterpret_cast<const Own*>(from + k * kOwnLanes);
    }
    BITSPIKE_INLINE_MEMBER void add(const float* from, float count) {
        for (int k = 0; k < kParts; ++k) part[k] += count * *reinterpret_cast<const Own*>(from + k * kOwnLanes);
    }
    BITSPIKE_INLINE_MEMBER void store(float* to) const {
        for (int k = 0; k < kParts; ++k) *reinterpret_cast<Own*>(to + k * kOwnLanes) = part[k];
    }
};
// The most vectors of 16 that RowSum keeps in registers.
constexpr int kMostRows = vector::kLanes == 16 ? 8 : vector::kLanes / 2;

// The lanes' sum, in one order on every machine.
BITSPIKE_INLINE float sum(f16 v) {
    alignas(64) float a[kLanes];
    store(a, v);
    for (int half = 8; half; half /= 2)
        for (int k = 0; k < half; ++k) a[k] += a[k + half];
    return a[0];
}

}  // namespace
}  // namespace bitspike::vector16
