#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <limits>
#include <optional>
#include <string>
#include <tuple>

#include "common/array.hpp"
#include "common/cpu.hpp"
#include "s4nn/step.hpp"

namespace bitspike::s4nn {
namespace {

using Inputs = In<int16_t, 2>;

std::tuple<double, int64_t, int64_t, std::vector<int64_t>> call_step(
    const Inputs& inputs, const In<int64_t, 1>& labels, const std::vector<InOut<float, 2>>& weights,
    const std::vector<InOut<float, 2>>& grads, const std::vector<double>& thresholds, const std::vector<double>& eta,
    const InOut<double, 1>& alpha, const std::optional<InOut<int32_t, 1>>& fired, int quota,
    const std::vector<InOut<int16_t, 2>>& times, int n_steps, int delay, int gamma, double decay, double mu,
    std::optional<double> clip, bool binary, bool normalise, bool post, bool early_target, bool online, bool early_stop,
    int threads, const std::string& isa) {
    const std::size_t depth = weights.size(), n = inputs.shape(0);
    require(depth >= 1 && thresholds.size() == depth && eta.size() == depth && alpha.shape(0) == depth,
            "weights, thresholds, eta and alpha need one entry per layer");
    require(grads.empty() || (grads.size() == depth && !online), "grads needs one array per layer, and a batch");
    require(times.empty() || times.size() == depth, "times needs one array per layer");
    require(labels.shape(0) == n, "inputs and labels differ in length");
    require(n_steps >= 1 && n_steps <= 32766 && (delay == 0 || delay == 1), "n_steps or delay out of range");
    std::vector<Layer> layers;
    std::vector<int16_t*> times_out;
    std::size_t before = inputs.shape(1), hidden = 0;
    for (std::size_t l = 0; l < depth; ++l) {
        const std::size_t width = weights[l].shape(1);
        require(weights[l].shape(0) == before && before >= 1 && width >= 1, "the layers' shapes do not follow each other");
        require(grads.empty() || (grads[l].shape(0) == before && grads[l].shape(1) == width), "grads differ in shape");
        require(times.empty() || (times[l].shape(0) == n && times[l].shape(1) == width), "times differ in shape");
        layers.push_back({weights[l].data(), grads.empty() ? nullptr : grads[l].data(), static_cast<int>(before),
                          static_cast<int>(width), thresholds[l], eta[l]});
        if (!times.empty()) times_out.push_back(times[l].data());
        hidden += l + 1 < depth ? width : 0;
        before = width;
    }
    require(!fired || fired->shape(0) == hidden, "fired needs one count per hidden neuron");
    for (std::size_t row = 0; row < n; ++row)
        require(labels.data()[row] >= 0 && labels.data()[row] < static_cast<int64_t>(before), "a label is out of range");
    const Settings settings{n_steps, delay, gamma, decay, mu,
                            clip ? static_cast<float>(*clip) : std::numeric_limits<float>::infinity(),
                            binary, normalise, post, early_target, online, early_stop, threads};
    const Kernels& kernels = BITSPIKE_PICK(kernels, isa);
    nb::gil_scoped_release release;
    const auto result = step(inputs.data(), labels.data(), n, layers, alpha.data(), fired ? fired->data() : nullptr, quota,
                             times_out, settings, kernels);
    return {result.loss, result.n_correct, result.n_error, result.fired};
}

void call_layer_times(const Inputs& inputs, const In<float, 2>& weight, const In<float, 1>& threshold,
                 int n_steps, int delay, int threads, const std::string& isa, const InOut<int16_t, 2>& times) {
    const std::size_t n = inputs.shape(0), n_in = inputs.shape(1), n_out = weight.shape(1);
    require(weight.shape(0) == n_in && threshold.shape(0) == n_out, "inputs, weight and threshold differ in shape");
    require(times.shape(0) == n && times.shape(1) == n_out, "times differ in shape");
    require(n_steps >= 1 && n_steps <= 32766 && (delay == 0 || delay == 1), "n_steps or delay out of range");
    const Kernels& chosen = BITSPIKE_PICK(kernels, isa);
    nb::gil_scoped_release release;
    layer_times(inputs.data(), n, weight.data(), static_cast<int>(n_in), static_cast<int>(n_out), threshold.data(),
                n_steps, delay, threads, chosen, times.data());
}

void call_layer_backward(const Inputs& inputs, const Inputs& times, const In<float, 2>& delta,
                    const In<float, 2>& weight, int n_steps, int delay, int threads, const std::string& isa,
                    const std::optional<InOut<float, 2>>& grad, const std::optional<InOut<float, 2>>& below) {
    const std::size_t n = inputs.shape(0), n_in = inputs.shape(1), n_out = weight.shape(1);
    require(weight.shape(0) == n_in, "inputs and weight differ in shape");
    require(times.shape(0) == n && times.shape(1) == n_out, "times differ in shape");
    require(delta.shape(0) == n && delta.shape(1) == n_out, "delta differs in shape");
    require(!grad || (grad->shape(0) == n_in && grad->shape(1) == n_out), "grad differs in shape");
    require(!below || (below->shape(0) == n && below->shape(1) == n_in), "below differs in shape");
    const Kernels& chosen = BITSPIKE_PICK(kernels, isa);
    nb::gil_scoped_release release;
    layer_backward(inputs.data(), times.data(), delta.data(), n, weight.data(), static_cast<int>(n_in),
                   static_cast<int>(n_out), n_steps, delay, threads, chosen, grad ? grad->data() : nullptr,
                   below ? below->data() : nullptr);
}

}  // namespace
}  // namespace bitspike::s4nn

void bind_s4nn(nanobind::module_& m) {
    namespace nb = nanobind;
    using namespace nb::literals;
    // What is written to is taken as it is: a converted copy would swallow the result.
    m.def("s4nn_step", &bitspike::s4nn::call_step, "inputs"_a, "labels"_a, "weights"_a.noconvert(), "grads"_a.noconvert(), "thresholds"_a, "eta"_a,
          "alpha"_a.noconvert(), "fired"_a.noconvert().none(), "quota"_a, "times"_a.noconvert(), nb::kw_only(), "n_steps"_a, "delay"_a, "gamma"_a, "decay"_a, "mu"_a,
          "clip"_a.none(), "binary"_a, "normalise"_a, "post"_a, "early_target"_a, "online"_a, "early_stop"_a, "threads"_a,
          "isa"_a, "One S4NN or BS4NN training step, in place; returns (loss, n_correct, n_error, fired per layer).");
    m.def("s4nn_layer_times", &bitspike::s4nn::call_layer_times, "inputs"_a, "weight"_a, "threshold"_a, "n_steps"_a, "delay"_a, "threads"_a,
          "isa"_a, "times"_a.noconvert(), "First-spike times of one layer, written to `times`.");
    m.def("s4nn_layer_backward", &bitspike::s4nn::call_layer_backward, "inputs"_a, "times"_a, "delta"_a, "weight"_a, "n_steps"_a, "delay"_a,
          "threads"_a, "isa"_a, "grad"_a.noconvert().none(), "below"_a.noconvert().none(),
          "Adds the weight gradient of one layer to `grad`, writes the delta of its inputs to `below`.");
}
