#include "s4nn_kernel.hpp"

namespace bitspike::s4nn {
extern const Kernels avx512_kernels = {accumulate, update, shrink};
}
