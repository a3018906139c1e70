// The tables of all kernels of circuits that fire by chance.
#include "glm/learn.hpp"
#include "glm/online.hpp"

namespace bitspike::glm {
namespace {

const Kernels table = {learn_bytes, learn, scatter};
const OnlineKernels online_table = {online_bytes, run_online};

}  // namespace

const Kernels& BITSPIKE_VARIANT(kernels)() { return table; }
const OnlineKernels& BITSPIKE_VARIANT(online_kernels)() { return online_table; }

}  // namespace bitspike::glm
