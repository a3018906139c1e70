// exp from additions and multiplications alone, as ops/elementary.py writes it: the same bits, for vectors of any width.
#pragma once
#include "common/isa.hpp"

namespace bitspike::elementary {
namespace {

// (exp(r) - 1 - r) / r^2 on [-ln 2 / 2, ln 2 / 2].
template <class Floats>
BITSPIKE_INLINE Floats exp_polynomial(Floats r) {
    Floats y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    return y * r + 5.0000001201e-1f;
}

// 2^n of whole numbers n.
template <class Floats>
BITSPIKE_INLINE Floats power_of_two(Floats n) {
    return (Floats)((__builtin_convertvector(n, decltype(n > n)) + 127) << 23);
}

// To the nearest whole number, ties to even; |x| < 2^22.
template <class Floats>
BITSPIKE_INLINE Floats nearest(Floats x) {
    const float magic = 12582912.0f;  // 1.5 * 2^23
    return (x + magic) - magic;
}

// |x| <= 87.
template <class Floats>
BITSPIKE_INLINE Floats exp(Floats x) {
    const Floats n = nearest(x * 1.44269504f);
    const Floats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    return ((exp_polynomial(r) * (r * r) + r) + 1.0f) * power_of_two(n);
}

}  // namespace
}  // namespace bitspike::elementary
