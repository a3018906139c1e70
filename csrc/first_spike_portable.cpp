#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "first_spike_kernels.hpp"


namespace bitspike::first_spike {
namespace {
#include "first_spike_tiles.inl"
}  // namespace

const Kernels& kernels_portable() { return table; }

}  // namespace bitspike::first_spike

