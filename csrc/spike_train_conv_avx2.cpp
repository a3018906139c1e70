#include <algorithm>
#include <cstring>

#include "spike_train_conv.hpp"
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>

namespace bitspike::spike_train_conv {
namespace {
#include "spike_train_conv.inl"
}  // namespace

const Kernels& kernels_avx2() { return table; }

}  // namespace bitspike::spike_train_conv
#endif
