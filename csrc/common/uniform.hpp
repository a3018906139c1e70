// Uniform numbers of the counter (ops/counter.py), a vector at a time, for kernel files.
#pragma once
#include <cstdint>
#include <cstring>

#include "common/random.hpp"
#include "common/vector.hpp"

namespace bitspike::random {
namespace {

using namespace vector;

// Words pair, pair + 1, .. of the counter: each holds two numbers of 32 bits, the low half first.
BITSPIKE_INLINE Words words(std::uint64_t key, std::uint64_t pair) {
    Words lane;
    for (int k = 0; k < kLanes / 2; ++k) lane[k] = k * kStep;
    return mix(lane + (key + (pair + 1) * kStep));
}

// Uniform numbers index, index + 1, ..
BITSPIKE_INLINE Floats uniform(std::uint64_t key, std::uint64_t index) {
    Unsigned h = (Unsigned)words(key, index / 2);
    if (index % 2) {
        alignas(64) std::uint32_t both[2 * kLanes];
        const Unsigned next = (Unsigned)words(key, index / 2 + kLanes / 2);
        std::memcpy(both, &h, sizeof h);
        std::memcpy(both + kLanes, &next, sizeof next);
        h = *reinterpret_cast<const UnsignedAt*>(both + 1);
    }
    const Floats u = (__builtin_convertvector((Ints)(h >> 8), Floats) + 0.5f) * 5.9604644775390625e-8f;
    return at_most(at_least(u, 1e-6f), static_cast<float>(1 - 1e-6));
}

}  // namespace
}  // namespace bitspike::random
