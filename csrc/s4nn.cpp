#include <nanobind/nanobind.h>

namespace nb = nanobind;

void bind_s4nn(nb::module_&) {}
