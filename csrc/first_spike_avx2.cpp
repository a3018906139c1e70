#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "first_spike_kernels.hpp"
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>

namespace bitspike::first_spike {
namespace {
#include "first_spike_tiles.inl"
}  // namespace

const Kernels& kernels_avx2() { return table; }

}  // namespace bitspike::first_spike
#endif
