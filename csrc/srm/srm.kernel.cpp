// The table of all kernels of the online step.
#include "srm/draw.hpp"
#include "srm/forward.hpp"
#include "srm/learn.hpp"

namespace bitspike::srm {
namespace {

const Kernels table = {kLanes, traces, sample, forward, read, list, learn_events, learn_dense, move};

}  // namespace

const Kernels& BITSPIKE_VARIANT(kernels)() { return table; }

}  // namespace bitspike::srm
