// exp of sixteen floats from additions and multiplications alone, as ops/srm/elementary.py writes it: the same bits. Included
// by files compiled once per instruction set: every name has internal linkage.
#pragma once
#include "spike_train_vector.hpp"

namespace bitspike::elementary {
namespace {

using namespace spike_train;

SPIKE_INLINE f16 exp(f16 x) {
    const f16 limit = splat(87.0f), magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to whole numbers, half to even
    x = choose(above(x, limit), limit, x);
    x = choose(above(-limit, x), -limit, x);
    const f16 n = (x * 1.44269504f + magic) - magic;
    const f16 r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    f16 y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    const i16 power = (__builtin_convertvector(n, i16) + 127) << 23;
    return ((y * (r * r) + r) + 1.0f) * (f16)power;
}

}  // namespace
}  // namespace bitspike::elementary
