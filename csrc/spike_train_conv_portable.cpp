#include <algorithm>
#include <cstring>

#include "spike_train_conv.hpp"

namespace bitspike::spike_train_conv {
namespace {
#include "spike_train_conv.inl"
}  // namespace

const Kernels& kernels_portable() { return table; }

}  // namespace bitspike::spike_train_conv
