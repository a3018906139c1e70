#include "s4nn_kernel.hpp"

namespace bitspike::s4nn {
extern const Kernels portable_kernels = {accumulate, update, shrink};
}
