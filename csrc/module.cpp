#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "common/cpu.hpp"

namespace nb = nanobind;

void bind_cochlea(nb::module_& m);
void bind_event_camera(nb::module_& m);
void bind_first_spike(nb::module_& m);
void bind_glm(nb::module_& m);
void bind_glm_online(nb::module_& m);
void bind_lif(nb::module_& m);
void bind_s4nn(nb::module_& m);
void bind_srm(nb::module_& m);
void bind_packed_first_spike(nb::module_& m);
void bind_packed_glm(nb::module_& m);
void bind_packed_lif(nb::module_& m);
void bind_packed_srm(nb::module_& m);

NB_MODULE(_native, m) {
    m.doc() = "Native kernels of bitspike.";
    m.def("instruction_sets", [] {
        std::vector<std::string> names;
        for (int isa = 0; isa <= static_cast<int>(bitspike::best_isa()); ++isa)
            names.emplace_back(bitspike::isa_name(static_cast<bitspike::Isa>(isa)));
        return names;
    }, "The instruction sets that this machine can run, best last.");
    bind_cochlea(m);
    bind_event_camera(m);
    bind_first_spike(m);
    bind_glm(m);
    bind_glm_online(m);
    bind_lif(m);
    bind_s4nn(m);
    bind_srm(m);
    bind_packed_first_spike(m);
    bind_packed_glm(m);
    bind_packed_lif(m);
    bind_packed_srm(m);
}
