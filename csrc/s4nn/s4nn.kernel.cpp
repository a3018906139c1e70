// The column kernels.
#include "common/vector.hpp"
#include "s4nn/kernels.hpp"

namespace bitspike::s4nn {
namespace {

using namespace vector;

#if defined(__AVX512F__)
inline unsigned above(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
inline Floats where_at_least(Floats t, Floats e, Floats x) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(t, e, _CMP_GE_OQ), x);
}
inline Floats sign(Floats w) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(w, _mm512_setzero_ps(), _CMP_GE_OQ), splat(-1.f), splat(1.f));
}
inline Floats clamp(Floats a, Floats bound) {
    const Floats low = _mm512_sub_ps(_mm512_setzero_ps(), bound);
    a = _mm512_mask_mov_ps(a, _mm512_cmp_ps_mask(a, bound, _CMP_GT_OQ), bound);
    return _mm512_mask_mov_ps(a, _mm512_cmp_ps_mask(a, low, _CMP_LT_OQ), low);
}
#elif defined(__AVX2__)
inline unsigned above(Floats a, Floats b) { return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ))); }
inline Floats where_at_least(Floats t, Floats e, Floats x) { return _mm256_and_ps(_mm256_cmp_ps(t, e, _CMP_GE_OQ), x); }
inline Floats sign(Floats w) {
    return _mm256_blendv_ps(splat(-1.f), splat(1.f), _mm256_cmp_ps(w, _mm256_setzero_ps(), _CMP_GE_OQ));
}
inline Floats clamp(Floats a, Floats bound) {
    return _mm256_max_ps(_mm256_min_ps(a, bound), _mm256_sub_ps(_mm256_setzero_ps(), bound));
}
#else
inline unsigned above(Floats a, Floats b) {
    const Ints m = a > b;
    return static_cast<unsigned>((m[0] & 1) | (m[1] & 2) | (m[2] & 4) | (m[3] & 8));
}
inline Floats where_at_least(Floats t, Floats e, Floats x) {
    return reinterpret_cast<Floats>((t >= e) & reinterpret_cast<Ints>(x));
}
inline Floats sign(Floats w) { return w >= splat(0.f) ? splat(1.f) : splat(-1.f); }
inline Floats clamp(Floats a, Floats bound) {
    a = a < bound ? a : bound;
    return a > -bound ? a : -bound;
}
#endif

constexpr float infinity = __builtin_inff();

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
    Floats a[N];
    unsigned masks[N], any = 0;
#pragma GCC unroll 8
    for (int k = 0; k < N; ++k) a[k] = load(potential + c + k * kLanes);
    for (int r = 0; r < n_rows; ++r) {
        const float* row = w + static_cast<std::size_t>(rows[r]) * static_cast<std::size_t>(stride) + c;
#pragma GCC unroll 8
        for (int k = 0; k < N; ++k) a[k] += Binary ? sign(load(row + k * kLanes)) : load(row + k * kLanes);
    }
#pragma GCC unroll 8
    for (int k = 0; k < N; ++k) {
        store(potential + c + k * kLanes, a[k]);
        any |= masks[k] = above(a[k], load(level + c + k * kLanes));
    }
    if (any == 0) return n;
    for (int k = 0; k < N; ++k) n = list_crossed(masks[k], c + k * kLanes, level, crossed, n);
    return n;
}

template <bool Binary>
int accumulate_as(const float* w, int stride, const int32_t* rows, int n_rows, int begin, int end, float* potential,
                  float* level, int32_t* crossed) {
    int n = 0, c = begin;
    for (; c + 8 * kLanes <= end; c += 8 * kLanes)
        n = block<Binary, 8>(w, stride, rows, n_rows, c, potential, level, crossed, n);
    if (c + 4 * kLanes <= end) {
        n = block<Binary, 4>(w, stride, rows, n_rows, c, potential, level, crossed, n);
        c += 4 * kLanes;
    }
    for (; c + kLanes <= end; c += kLanes) n = block<Binary, 1>(w, stride, rows, n_rows, c, potential, level, crossed, n);
    if (c < end) {
        Floats a = load(potential + c);
        for (int r = 0; r < n_rows; ++r) {
            const Floats x = load(w + static_cast<std::size_t>(rows[r]) * static_cast<std::size_t>(stride) + c, end - c);
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
    const Floats limit = splat(bound);
    for (int r = 0; r < n_rows; ++r) {
        float* row = w + static_cast<std::size_t>(rows[r]) * static_cast<std::size_t>(stride);
        const Floats earliest = splat(static_cast<float>(row_times[r] + delay));
        for (int c = begin; c < end; c += kLanes) {
            const int left = end - c;
            const Floats t = load(time + c);
            Floats x = left >= kLanes ? load(row + c) : load(row + c, left);
            x = clamp(x - where_at_least(t, earliest, load(amount + c)), limit);
            if (left >= kLanes)
                store(row + c, x);
            else
                store(row + c, x, left);
            if (signs != nullptr) store(signs + c, load(signs + c) + where_at_least(t, earliest, sign(x)));
        }
    }
}

void shrink(float* w, std::size_t n, float loss) {
    const Floats rate = splat(loss);
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        const Floats x = load(w + i);
        store(w + i, x - x * rate);
    }
    for (; i < n; ++i) w[i] -= w[i] * loss;
}

const Kernels table = {accumulate, update, shrink};

}  // namespace

const Kernels& BITSPIKE_VARIANT(kernels)() { return table; }

}  // namespace bitspike::s4nn
