// The column kernels, written once over a small vector type; included by one file per instruction set. Only plain
// pointers here: an inline function of the standard library compiled for AVX-512 must not leak into other files.
#pragma once
#include <limits>

#include "s4nn.hpp"

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

namespace bitspike::s4nn {
namespace {

#if defined(__AVX512F__)
using V = __m512;
constexpr int width = 16;
inline V load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, V a) { _mm512_storeu_ps(p, a); }
inline V load_part(const float* p, int n) { return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p); }
inline void store_part(float* p, V a, int n) { _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), a); }
inline V all(float x) { return _mm512_set1_ps(x); }
inline unsigned above(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
inline V where_at_least(V t, V e, V x) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(t, e, _CMP_GE_OQ), x); }
inline V sign(V w) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(w, _mm512_setzero_ps(), _CMP_GE_OQ), all(-1.f), all(1.f));
}
inline V clamp(V a, V bound) {
    const V low = _mm512_sub_ps(_mm512_setzero_ps(), bound);
    a = _mm512_mask_mov_ps(a, _mm512_cmp_ps_mask(a, bound, _CMP_GT_OQ), bound);
    return _mm512_mask_mov_ps(a, _mm512_cmp_ps_mask(a, low, _CMP_LT_OQ), low);
}
#elif defined(__AVX2__)
using V = __m256;
constexpr int width = 8;
alignas(32) const int32_t tail[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
inline __m256i first(int n) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(tail + 8 - n)); }
inline V load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, V a) { _mm256_storeu_ps(p, a); }
inline V load_part(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
inline void store_part(float* p, V a, int n) { _mm256_maskstore_ps(p, first(n), a); }
inline V all(float x) { return _mm256_set1_ps(x); }
inline unsigned above(V a, V b) { return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ))); }
inline V where_at_least(V t, V e, V x) { return _mm256_and_ps(_mm256_cmp_ps(t, e, _CMP_GE_OQ), x); }
inline V sign(V w) { return _mm256_blendv_ps(all(-1.f), all(1.f), _mm256_cmp_ps(w, _mm256_setzero_ps(), _CMP_GE_OQ)); }
inline V clamp(V a, V bound) { return _mm256_max_ps(_mm256_min_ps(a, bound), _mm256_sub_ps(_mm256_setzero_ps(), bound)); }
#else
typedef float V __attribute__((vector_size(16)));
typedef int32_t I __attribute__((vector_size(16)));
constexpr int width = 4;
inline V load(const float* p) {
    V a;
    __builtin_memcpy(&a, p, sizeof a);
    return a;
}
inline void store(float* p, V a) { __builtin_memcpy(p, &a, sizeof a); }
inline V load_part(const float* p, int n) {
    V a = {0, 0, 0, 0};
    for (int k = 0; k < n; ++k) a[k] = p[k];
    return a;
}
inline void store_part(float* p, V a, int n) {
    for (int k = 0; k < n; ++k) p[k] = a[k];
}
inline V all(float x) { return V{x, x, x, x}; }
inline unsigned above(V a, V b) {
    const I m = a > b;
    return static_cast<unsigned>((m[0] & 1) | (m[1] & 2) | (m[2] & 4) | (m[3] & 8));
}
inline V where_at_least(V t, V e, V x) { return reinterpret_cast<V>((t >= e) & reinterpret_cast<I>(x)); }
inline V sign(V w) { return w >= all(0.f) ? all(1.f) : all(-1.f); }
inline V clamp(V a, V bound) {
    a = a < bound ? a : bound;
    return a > -bound ? a : -bound;
}
#endif

constexpr float infinity = std::numeric_limits<float>::infinity();

inline int list_crossed(unsigned mask, int column, float* level, int32_t* crossed, int n) {
    for (; mask != 0; mask &= mask - 1) {
        const int j = column + __builtin_ctz(mask);
        level[j] = infinity;
        crossed[n++] = j;
    }
    return n;
}

template <bool Binary, int N>
inline int block(const float* w, int stride, const int32_t* rows, int n_rows, int c, float* potential, float* level,
                 int32_t* crossed, int n) {
    V a[N];
    unsigned masks[N], any = 0;
#pragma GCC unroll 8
    for (int k = 0; k < N; ++k) a[k] = load(potential + c + k * width);
    for (int r = 0; r < n_rows; ++r) {
        const float* row = w + static_cast<std::size_t>(rows[r]) * static_cast<std::size_t>(stride) + c;
#pragma GCC unroll 8
        for (int k = 0; k < N; ++k) a[k] += Binary ? sign(load(row + k * width)) : load(row + k * width);
    }
#pragma GCC unroll 8
    for (int k = 0; k < N; ++k) {
        store(potential + c + k * width, a[k]);
        any |= masks[k] = above(a[k], load(level + c + k * width));
    }
    if (any == 0) return n;
    for (int k = 0; k < N; ++k) n = list_crossed(masks[k], c + k * width, level, crossed, n);
    return n;
}

template <bool Binary>
int accumulate_as(const float* w, int stride, const int32_t* rows, int n_rows, int begin, int end, float* potential,
                  float* level, int32_t* crossed) {
    int n = 0, c = begin;
    for (; c + 8 * width <= end; c += 8 * width)
        n = block<Binary, 8>(w, stride, rows, n_rows, c, potential, level, crossed, n);
    if (c + 4 * width <= end) {
        n = block<Binary, 4>(w, stride, rows, n_rows, c, potential, level, crossed, n);
        c += 4 * width;
    }
    for (; c + width <= end; c += width) n = block<Binary, 1>(w, stride, rows, n_rows, c, potential, level, crossed, n);
    if (c < end) {
        V a = load(potential + c);
        for (int r = 0; r < n_rows; ++r) {
            const V x = load_part(w + static_cast<std::size_t>(rows[r]) * static_cast<std::size_t>(stride) + c, end - c);
            a += Binary ? sign(x) : x;
        }
        store(potential + c, a);
        n = list_crossed(above(a, load(level + c)), c, level, crossed, n);
    }
    return n;
}

int accumulate(const float* w, int stride, bool binary, const int32_t* rows, int n_rows, int begin, int end,
               float* potential, float* level, int32_t* crossed) {
    return binary ? accumulate_as<true>(w, stride, rows, n_rows, begin, end, potential, level, crossed)
                  : accumulate_as<false>(w, stride, rows, n_rows, begin, end, potential, level, crossed);
}

void update(float* w, int stride, const int32_t* rows, const int32_t* row_times, int n_rows, int delay, int begin, int end,
            const float* amount, const float* time, float bound, float* signs) {
    const V limit = all(bound);
    for (int r = 0; r < n_rows; ++r) {
        float* row = w + static_cast<std::size_t>(rows[r]) * static_cast<std::size_t>(stride);
        const V earliest = all(static_cast<float>(row_times[r] + delay));
        for (int c = begin; c < end; c += width) {
            const int left = end - c;
            const V t = load(time + c);
            V x = left >= width ? load(row + c) : load_part(row + c, left);
            x = clamp(x - where_at_least(t, earliest, load(amount + c)), limit);
            if (left >= width)
                store(row + c, x);
            else
                store_part(row + c, x, left);
            if (signs != nullptr) store(signs + c, load(signs + c) + where_at_least(t, earliest, sign(x)));
        }
    }
}

void shrink(float* w, std::size_t n, float loss) {
    const V rate = all(loss);
    std::size_t i = 0;
    for (; i + width <= n; i += width) {
        const V x = load(w + i);
        store(w + i, x - x * rate);
    }
    for (; i < n; ++i) w[i] -= w[i] * loss;
}

}  // namespace
}  // namespace bitspike::s4nn
