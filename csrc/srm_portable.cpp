#include <algorithm>

#include "srm.hpp"
#include "srm_vector.hpp"

namespace bitspike::srm {
namespace {
#include "srm_draw.inl"
#include "srm_forward.inl"
#include "srm_learn.inl"

const Kernels table = {kLanes, traces, sample, forward, read, list, learn_events, learn_dense, move};
}  // namespace

const Kernels& kernels_portable() { return table; }

}  // namespace bitspike::srm
