// The table of all kernels of layers of spike trains.
#include "lif/backward.hpp"
#include "lif/events.hpp"
#include "lif/forward.hpp"
#include "lif/poisson.hpp"

namespace bitspike::lif {
namespace {

#if defined(__AVX512F__)
constexpr int kTile = 128;
#else
constexpr int kTile = 64;
#endif

const Kernels table = {kTile,         count,           by_step,       by_input, squeeze, forward_events, forward_constant,
                       forward_dense, forward_lateral, input_current, adjoint,  gather,  poisson,        content_key};

}  // namespace

const Kernels& BITSPIKE_VARIANT(kernels)() { return table; }

}  // namespace bitspike::lif
