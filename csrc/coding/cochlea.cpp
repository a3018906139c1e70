// The cochlea for Python: checks and threads.
#include "coding/cochlea.hpp"

#include <nanobind/nanobind.h>

#include <algorithm>

#include "common/array.hpp"
#include "common/cpu.hpp"
#include "common/parallel.hpp"

namespace bitspike::cochlea {
namespace {

Out<float> nerve(In<double, 2> sounds, In<double, 2> sections, In<float, 1> charge, In<float, 1> spread, float limit,
                 float keep, float scale, int front, int decimation, int delay, int threads) {
    const std::size_t n = sounds.shape(0), samples = sounds.shape(1), n_sections = sections.shape(0);
    if (sections.shape(1) != 6 || charge.shape(0) != kStages || spread.shape(0) != kStages || front < 1 ||
        static_cast<std::size_t>(front) >= n_sections || delay < 0 || decimation <= delay)
        throw nb::value_error("sections (n, 6), four stages, front below n, decimation above delay");
    const std::size_t channels = n_sections - front, frames = samples / decimation;
    Out<float> result = make<float>({n, frames, channels});
    const Ear ear{sections.data(), static_cast<int>(n_sections), front, decimation, delay,
                  charge.data(), spread.data(), limit, keep, scale};
    const std::size_t groups = (n + kLanes - 1) / kLanes;
    float* to = result.data();
    const double* from = sounds.data();
    const Hear hear = BITSPIKE_PICK(hear, "best");
    nb::gil_scoped_release release;
    over(groups, threads, [&](int, std::size_t begin, std::size_t end) {
        for (std::size_t g = begin; g < end; ++g) {
            const double* rows[kLanes];
            float* out[kLanes];
            const int lanes = static_cast<int>(std::min<std::size_t>(kLanes, n - g * kLanes));
            for (int l = 0; l < lanes; ++l) {
                rows[l] = from + (g * kLanes + l) * samples;
                out[l] = to + (g * kLanes + l) * frames * channels;
            }
            hear(ear, rows, lanes, samples, out);
        }
    });
    return result;
}

}  // namespace
}  // namespace bitspike::cochlea

void bind_cochlea(nanobind::module_& m) {
    using namespace nanobind::literals;
    m.def("cochlea_nerve", &bitspike::cochlea::nerve, "sounds"_a, "sections"_a, "charge"_a, "spread"_a, "limit"_a,
          "keep"_a, "scale"_a, "front"_a, "decimation"_a, "delay"_a, "threads"_a,
          "Frames (sounds, frames, channels) of Lyon's ear.");
}
