#include <nanobind/nanobind.h>

namespace nb = nanobind;

void bind_first_spike(nb::module_&) {}
