#include <nanobind/nanobind.h>

namespace nb = nanobind;

void bind_packed(nb::module_&) {}
