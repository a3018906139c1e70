// Spike times as events, step by step.
#pragma once
#include <nanobind/nanobind.h>

#include "common/array.hpp"

namespace bitspike::first_spike {

// times (batch, n) -> events (batch, n), starts (batch, slots + 1), n_active (batch), bins (batch, slots).
nb::tuple sort_times(In<std::int16_t, 2> times, int n_steps, int threads);

// Slots of a hidden layer (batch, n) -> events, starts; slots >= n_active are "never".
nb::tuple sort_slots(In<std::int16_t, 2> slots, In<std::int32_t, 1> n_active, int n_slots, int threads);

}  // namespace bitspike::first_spike
