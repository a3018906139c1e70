#include <algorithm>

#include "spike_train_kernels.hpp"
#include "spike_train_vector.hpp"
#if defined(__x86_64__) || defined(_M_X64)

namespace bitspike::spike_train {
namespace {
#include "spike_train_events.inl"
#include "spike_train_forward.inl"
#include "spike_train_backward.inl"
#include "spike_train_coder.inl"

const Kernels table = {64, count, by_step, by_input, squeeze, forward_events, forward_constant, forward_dense, forward_lateral, input_current,
                       adjoint, gather,         poisson,          content_key};
}  // namespace

const Kernels& kernels_avx2() { return table; }

}  // namespace bitspike::spike_train
#endif
