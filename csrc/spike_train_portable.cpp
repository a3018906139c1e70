#include <algorithm>

#include "spike_train_kernels.hpp"
#include "spike_train_vector.hpp"

namespace bitspike::spike_train {
namespace {
#include "spike_train_events.inl"
#include "spike_train_forward.inl"
#include "spike_train_backward.inl"
#include "spike_train_coder.inl"

const Kernels table = {64, count, by_step, by_input, squeeze, forward_events, forward_constant, forward_dense, forward_lateral, input_current,
                       adjoint, gather,         poisson,          content_key};
}  // namespace

const Kernels& kernels_portable() { return table; }

}  // namespace bitspike::spike_train
