// The table of all kernels of circuits that fire by chance.
#include "glm/learn.hpp"

namespace bitspike::glm {
namespace {

const Kernels table = {learn_bytes, learn, scatter};

}  // namespace

const Kernels& BITSPIKE_VARIANT(kernels)() { return table; }

}  // namespace bitspike::glm
