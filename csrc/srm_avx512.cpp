#include <algorithm>

#include "srm.hpp"
#include "srm_vector.hpp"
#if defined(__x86_64__) || defined(_M_X64)

namespace bitspike::srm {
namespace {
#include "srm_draw.inl"
#include "srm_forward.inl"
#include "srm_learn.inl"

const Kernels table = {kLanes, traces, sample, forward, read, list, learn_events, learn_dense, move};
}  // namespace

const Kernels& kernels_avx512() { return table; }

}  // namespace bitspike::srm
#endif
