// The counter of ops/counter.py: word k of a key is mix(key + (k + 1) * kStep). Whole numbers or vectors of them.
#pragma once
#include <cstdint>

#include "common/isa.hpp"

namespace bitspike::random {
namespace {

constexpr std::uint64_t kStep = 0x9E3779B97F4A7C15ull;

template <class Word>
BITSPIKE_INLINE Word mix(Word z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

}  // namespace
}  // namespace bitspike::random
