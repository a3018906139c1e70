// The engine of leaky integrate-and-fire neurons: prepares a packed network for the kernel, for Python.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <stdexcept>
#include <string>
#include <tuple>

#include "common/cpu.hpp"
#include "packed/lif/kernels.hpp"
#include "packed/run.hpp"
#include "packed/trains/build.hpp"

namespace bitspike::packed::lif {
namespace {

using namespace trains;

// beta_m, beta_s, rate, limit, refractory, lateral, threshold, least.
using Constants = std::tuple<float, float, float, float, int, float, float, float>;

class TrainEngine {
  public:
    TrainEngine(int n_steps, const std::string& isa) {
        if (n_steps < 2 || n_steps > 32767) throw std::invalid_argument("n_steps must lie between 2 and 32767");
        net_.n_steps = n_steps;
        kernels_ = &BITSPIKE_PICK(kernels, isa);
    }

    TrainEngine(const TrainEngine&) = delete;

    void add_signs(In<std::uint8_t, 2> signs, In<std::int32_t, 1> fan_out, int n_out, const Constants& constants) {
        add(builder_.signs(signs, listed(fan_out), n_out), constants);
    }

    void add_rows(In<float, 4> weights, In<std::int32_t, 1> fan_out, const Geometry& geometry, const Constants& constants) {
        add(builder_.rows(weights, listed(fan_out), geometry), constants);
    }

    void add_pool(In<std::int32_t, 1> fan_out, const Geometry& geometry, const Constants& constants) {
        add(builder_.pool(listed(fan_out), geometry), constants);
    }

    std::int64_t run_constant(In<std::uint8_t, 2> images, double scale, int threads, Result<std::int64_t> labels,
                              Result<std::int64_t> decision_time, Result<bool> silent, Result<bool> tied, Result<float> potentials,
                              Result<std::int64_t> n_spikes, Result<std::int64_t> n_synops) const {
        check_inputs(images.shape(1));
        Inputs in{};
        in.images = images.data();
        in.n_pixels = net_.n_in;
        in.scale = scale;
        const std::size_t n = images.shape(0);
        return go(in, n, threads,
                  outputs(n, net_.n_classes, labels, decision_time, silent, tied, potentials, n_spikes, n_synops));
    }

    std::int64_t run_drawn(In<std::uint8_t, 2> images, In<std::int32_t, 2> limits, int threads, Result<std::int64_t> labels,
                           Result<std::int64_t> decision_time, Result<bool> silent, Result<bool> tied, Result<float> potentials,
                           Result<std::int64_t> n_spikes, Result<std::int64_t> n_synops) const {
        check_inputs(images.shape(1) * limits.shape(0));
        Inputs in{};
        const std::size_t n = drawn(in, images, limits);
        return go(in, n, threads,
                  outputs(n, net_.n_classes, labels, decision_time, silent, tied, potentials, n_spikes, n_synops));
    }

    // Returns -1, or the first recording with a spike outside the window or twice.
    std::int64_t run_lists(In<std::int16_t, 1> steps, In<std::int32_t, 1> channels, In<std::int64_t, 1> offsets, int threads,
                           Result<std::int64_t> labels, Result<std::int64_t> decision_time, Result<bool> silent, Result<bool> tied,
                           Result<float> potentials, Result<std::int64_t> n_spikes, Result<std::int64_t> n_synops) const {
        check_inputs(static_cast<std::size_t>(net_.n_in));
        Inputs in{};
        const std::size_t n = lists(in, steps, channels, offsets);
        return go(in, n, threads,
                  outputs(n, net_.n_classes, labels, decision_time, silent, tied, potentials, n_spikes, n_synops));
    }

  private:
    void add(const Synapses& synapses, const Constants& constants) {
        if (net_.n_layers == max_layers) throw std::invalid_argument("more than 64 layers");
        if (net_.n_layers && net_.n_classes != synapses.n_in) throw std::invalid_argument("a layer does not fit the one before");
        auto& [beta_m, beta_s, rate, limit, refractory, lateral, threshold, least] = constants;
        if (refractory < 0 || refractory > 63) throw std::invalid_argument("refractory must lie between 0 and 63");
        Layer& y = layers_[net_.n_layers];
        static_cast<Synapses&>(y) = synapses;
        y.lif = {beta_m, beta_s, rate, limit, refractory, lateral};
        y.threshold = threshold;
        y.least = least;
        if (net_.n_layers == 0) net_.n_in = y.n_in;
        net_.n_classes = y.n_out;
        ++net_.n_layers;
        net_.layers = layers_;
    }

    void check_inputs(std::size_t width) const {
        if (!net_.n_layers || width != static_cast<std::size_t>(net_.n_in))
            throw std::invalid_argument("inputs have a wrong shape");
    }

    std::int64_t go(const Inputs& in, std::size_t n, int threads, const Outputs& out) const {
        nb::gil_scoped_release released;
        return over_samples(*kernels_, net_, in, out, n, 2, threads);
    }

    Layer layers_[max_layers]{};
    Network net_{};
    const Kernels* kernels_ = nullptr;
    Builder builder_;
};

}  // namespace
}  // namespace bitspike::packed::lif

void bind_packed_lif(nanobind::module_& m) {
    namespace nb = nanobind;
    using namespace nb::literals;
    using bitspike::packed::lif::TrainEngine;
    const auto none = nb::none();
    nb::class_<TrainEngine>(m, "TrainEngine")
        .def(nb::init<int, const std::string&>(), "n_steps"_a, "isa"_a)
        .def("add_signs", &TrainEngine::add_signs, "signs"_a, "fan_out"_a, "n_out"_a, "constants"_a)
        .def("add_rows", &TrainEngine::add_rows, "weights"_a, "fan_out"_a, "geometry"_a, "constants"_a)
        .def("add_pool", &TrainEngine::add_pool, "fan_out"_a, "geometry"_a, "constants"_a)
        .def("run_constant", &TrainEngine::run_constant, "images"_a, "scale"_a, "threads"_a, "labels"_a = none,
             "decision_time"_a = none, "silent"_a = none, "tied"_a = none, "potentials"_a = none, "n_spikes"_a = none,
             "n_synops"_a = none)
        .def("run_drawn", &TrainEngine::run_drawn, "images"_a, "limits"_a, "threads"_a, "labels"_a = none,
             "decision_time"_a = none, "silent"_a = none, "tied"_a = none, "potentials"_a = none, "n_spikes"_a = none,
             "n_synops"_a = none)
        .def("run_lists", &TrainEngine::run_lists, "steps"_a, "channels"_a, "offsets"_a, "threads"_a, "labels"_a = none,
             "decision_time"_a = none, "silent"_a = none, "tied"_a = none, "potentials"_a = none, "n_spikes"_a = none,
             "n_synops"_a = none);
}
