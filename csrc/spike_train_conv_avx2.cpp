#if defined(__x86_64__) || defined(_M_X64)
#include "spike_train_conv.hpp"
#include "spike_train_vector.hpp"

namespace bitspike::spike_train_conv {
namespace {
#include "spike_train_conv.inl"
#include "spike_train_pool.inl"

const Kernels table = {conv_forward, conv_backward, conv_tpsp, pool_forward, pool_backward, pool_tpsp};
}  // namespace

const Kernels& kernels_avx2() { return table; }

}  // namespace bitspike::spike_train_conv
#endif
