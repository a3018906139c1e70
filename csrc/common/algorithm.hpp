// The few algorithms that kernel files need, with internal linkage (see isa.hpp).
#pragma once
#include <cstddef>

#include "common/isa.hpp"

namespace bitspike {
namespace {

template <class T>
constexpr T min(T a, T b) { return b < a ? b : a; }
template <class T>
constexpr T max(T a, T b) { return a < b ? b : a; }
template <class T>
BITSPIKE_INLINE void fill(T* begin, T* end, T value) {
    for (; begin < end; ++begin) *begin = value;
}

}  // namespace
}  // namespace bitspike
