// exp and log from additions and multiplications alone, as ops/elementary.py writes it: the same bits, for vectors of any width.
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

// x positive and normal.
template <class Floats>
BITSPIKE_INLINE Floats log(Floats x) {
    using Ints = decltype(x > x);
    const Ints whole = (Ints)x;
    const Floats m = (Floats)((whole & 0x7FFFFF) | 0x3F000000);
    const Ints low = m < 0.707106781f;
    const Floats e = __builtin_convertvector((whole >> 23) - 126, Floats) - (low ? Floats{} + 1.0f : Floats{});
    const Floats f = (low ? m + m : m) - 1.0f, z = f * f;
    Floats y = f * 7.0376836292e-2f + -1.1514610310e-1f;
    y = y * f + 1.1676998740e-1f;
    y = y * f + -1.2420140846e-1f;
    y = y * f + 1.4249322787e-1f;
    y = y * f + -1.6668057665e-1f;
    y = y * f + 2.0000714765e-1f;
    y = y * f + -2.4999993993e-1f;
    y = y * f + 3.3333331174e-1f;
    y = ((y * f) * z + e * -2.12194440e-4f) - z * 0.5f;
    return (f + y) + e * 0.693359375f;
}

}  // namespace
}  // namespace bitspike::elementary
