// The engine of BiSNN: prepares a packed network for the kernel, for Python.
#include "packed/srm/kernels.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <limits>
#include <string>

#include "common/cpu.hpp"
#include "packed/run.hpp"
#include "packed/trains/build.hpp"

namespace bitspike::packed::srm {
namespace {

using namespace trains;

class SRMEngine {
  public:
    SRMEngine(int n_steps, int burn_in, float alpha, float beta, float gamma, const std::string& isa) {
        require(n_steps >= 2 && n_steps <= 32767, "n_steps must lie between 2 and 32767");
        require(burn_in >= 0 && burn_in < n_steps, "burn_in must lie between 0 and n_steps - 1");
        net_.n_steps = n_steps;
        net_.burn_in = burn_in;
        net_.alpha = alpha;
        net_.beta = beta;
        net_.gamma = gamma;
        kernels_ = &BITSPIKE_PICK(kernels, isa);
    }

    SRMEngine(const SRMEngine&) = delete;

    // signs (n_in, ceil(n_out / 8)), bias (n_out).
    void add_signs(In<std::uint8_t, 2> signs, In<std::int32_t, 1> fan_out, int n_out, In<float, 1> bias, float scale) {
        add(builder_.signs(signs, listed(fan_out), n_out), bias, scale, 1);
    }

    // weights (size, size, channels, filters), bias (filters).
    void add_rows(In<float, 4> weights, In<std::int32_t, 1> fan_out, const Geometry& geometry, In<float, 1> bias, float scale,
                  int pool) {
        add(builder_.rows(weights, listed(fan_out), geometry), bias, scale, pool);
    }

    // signs (n_out of the last layer, ceil(n_readouts / 8)), offset (n_readouts); nothing can be added after.
    void set_readout(In<std::uint8_t, 2> signs, int n_readouts, In<float, 1> offset, float scale) {
        require(net_.n_layers > 0 && !net_.n_readouts, "one readout follows at least one layer");
        require(static_cast<int>(signs.shape(0)) == n_out_, "the readout does not fit the last layer");
        require(n_readouts >= 1 && offset.size() == static_cast<std::size_t>(n_readouts), "offset: wrong shape");
        net_.readout = builder_.signs(signs, std::vector<std::int32_t>(signs.shape(0), n_readouts), n_readouts);
        float* padded = builder_.take<float>(static_cast<std::size_t>(net_.readout.lanes));
        std::memcpy(padded, offset.data(), offset.size() * sizeof(float));
        net_.offset = padded;
        net_.readout_scale = scale;
        net_.n_readouts = n_readouts;
    }

    std::int64_t run_drawn(In<std::uint8_t, 2> images, In<std::int32_t, 2> limits, int threads, Result<float> probabilities,
                           Result<float> over_time, Result<std::int64_t> n_spikes, Result<std::int64_t> n_synops) const {
        check_inputs(images.shape(1) * limits.shape(0));
        Inputs in{};
        const std::size_t n = drawn(in, images, limits);
        return go(in, n, threads, probabilities, over_time, n_spikes, n_synops);
    }

    // Returns -1, or the first recording with a spike outside the window or twice.
    std::int64_t run_lists(In<std::int16_t, 1> steps, In<std::int32_t, 1> channels, In<std::int64_t, 1> offsets, int threads,
                           Result<float> probabilities, Result<float> over_time, Result<std::int64_t> n_spikes,
                           Result<std::int64_t> n_synops) const {
        check_inputs(static_cast<std::size_t>(net_.n_in));
        Inputs in{};
        const std::size_t n = lists(in, steps, channels, offsets);
        return go(in, n, threads, probabilities, over_time, n_spikes, n_synops);
    }

  private:
    void add(const Synapses& synapses, const In<float, 1>& bias, float scale, int pool) {
        require(net_.n_layers < max_layers, "more than 64 layers");
        require(!net_.n_readouts, "a layer after the readout");
        require(!net_.n_layers || n_out_ == synapses.n_in, "a layer does not fit the one before");
        const int depth = synapses.depth, places = synapses.lanes / depth, filters = synapses.n_out / places;
        require(bias.size() == static_cast<std::size_t>(filters), "bias: wrong shape");
        require(pool == 1 || (pool > 1 && pool <= std::min(synapses.out_height, synapses.out_width)), "pool does not fit");
        Layer& y = layers_[net_.n_layers];
        y.synapses = synapses;
        y.scale = scale;
        const std::size_t lanes = static_cast<std::size_t>(synapses.lanes);
        float* biases = builder_.take<float>(lanes);
        for (std::size_t k = 0; k < lanes; ++k) {
            const int filter = static_cast<int>(k) % depth;
            biases[k] = filter < filters ? bias.data()[filter] : -std::numeric_limits<float>::infinity();
        }
        y.bias = biases;
        y.n_out = synapses.n_out;
        y.pools = nullptr;
        if (pool > 1) {
            const int height = synapses.out_height / pool, width = synapses.out_width / pool;
            auto* pools = builder_.take<std::int32_t>(lanes);
            for (int place = 0; place < places; ++place)
                for (int k = 0; k < depth; ++k) {
                    const int row = place / synapses.out_width / pool, column = place % synapses.out_width / pool;
                    const bool inside = row < height && column < width && k < filters;
                    pools[static_cast<std::size_t>(place) * depth + k] = inside ? (row * width + column) * filters + k : -1;
                }
            y.pools = pools;
            y.n_out = height * width * filters;
        }
        if (net_.n_layers == 0) net_.n_in = synapses.n_in;
        n_out_ = y.n_out;
        ++net_.n_layers;
        net_.layers = layers_;
    }

    void check_inputs(std::size_t width) const {
        require(net_.n_readouts > 0, "the network has no readout yet");
        require(width == static_cast<std::size_t>(net_.n_in), "inputs have a wrong shape");
    }

    std::int64_t go(const Inputs& in, std::size_t n, int threads, const Result<float>& probabilities,
                    const Result<float>& over_time, const Result<std::int64_t>& n_spikes,
                    const Result<std::int64_t>& n_synops) const {
        const std::size_t k = static_cast<std::size_t>(net_.n_readouts);
        const std::size_t n_times = static_cast<std::size_t>(net_.n_steps - net_.burn_in);
        const Outputs out{data_of(probabilities, n * k), data_of(over_time, n * n_times * k), data_of(n_spikes, n),
                          data_of(n_synops, n)};
        nb::gil_scoped_release released;
        return over_samples(*kernels_, net_, in, out, n, 2, threads);
    }

    Layer layers_[max_layers]{};
    Network net_{};
    int n_out_ = 0;
    const Kernels* kernels_ = nullptr;
    Builder builder_;
};

}  // namespace
}  // namespace bitspike::packed::srm

void bind_packed_srm(nanobind::module_& m) {
    namespace nb = nanobind;
    using namespace nb::literals;
    using bitspike::packed::srm::SRMEngine;
    const auto none = nb::none();
    nb::class_<SRMEngine>(m, "SRMEngine")
        .def(nb::init<int, int, float, float, float, const std::string&>(), "n_steps"_a, "burn_in"_a, "alpha"_a, "beta"_a,
             "gamma"_a, "isa"_a)
        .def("add_signs", &SRMEngine::add_signs, "signs"_a, "fan_out"_a, "n_out"_a, "bias"_a, "scale"_a)
        .def("add_rows", &SRMEngine::add_rows, "weights"_a, "fan_out"_a, "geometry"_a, "bias"_a, "scale"_a, "pool"_a)
        .def("set_readout", &SRMEngine::set_readout, "signs"_a, "n_readouts"_a, "offset"_a, "scale"_a)
        .def("run_drawn", &SRMEngine::run_drawn, "images"_a, "limits"_a, "threads"_a, "probabilities"_a = none,
             "over_time"_a = none, "n_spikes"_a = none, "n_synops"_a = none)
        .def("run_lists", &SRMEngine::run_lists, "steps"_a, "channels"_a, "offsets"_a, "threads"_a,
             "probabilities"_a = none, "over_time"_a = none, "n_spikes"_a = none, "n_synops"_a = none);
}
