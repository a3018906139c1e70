// Python's door to the online step of a layer: checks, threads, and the memory between the kernels.
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "array.hpp"
#include "cpu.hpp"
#include "spike_train_neuron.hpp"
#include "srm.hpp"

namespace bitspike::srm {
namespace {

using spike_train::scratch;

constexpr double kSparse = 0.1;  // share of errors that are not 0 below which they are taken one by one; measured

template <class T, int Dims>
using InOut = nb::ndarray<T, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;
using Matrix = InOut<float, 2>;
using Vector = InOut<float, 1>;
template <class T>
using Maybe = std::optional<T>;

const Kernels& choose(const std::string& isa) { return BITSPIKE_PICK(isa_named(isa), kernels)(); }

template <class Body>
void over(std::size_t items, int threads, const Body& body) {
    const int parts = static_cast<int>(std::min<std::size_t>(std::max(1, threads), items));
    parallel(parts, [&](int part) {
        std::size_t begin, end;
        share(items, part, parts, begin, end);
        if (begin < end) body(part, begin, end);
    });
}

template <class Array>
auto* data(const Maybe<Array>& a) { return a ? a->data() : nullptr; }

std::size_t padded(std::size_t n) { return (n + kPad - 1) / kPad * kPad; }

// A tensor that is learned: latents, prior (or a number), moments; all of one size.
template <class Array>
struct Tensors {
    Array latent;
    Maybe<Array> prior, mean, square;
};
template <class Array>
Learned learned(const Tensors<Array>& t, float prior_value, const float* factor, bool adam) {
    const auto fits = [&](const Maybe<Array>& a) { return !a || a->size() == t.latent.size(); };
    require(fits(t.prior) && fits(t.mean) && fits(t.square), "prior and moments must have the shape of the latents");
    require(!adam || (t.mean && t.square), "Adam wants the running means of all latents");
    return {t.latent.data(), data(t.prior), prior_value, data(t.mean), data(t.square), factor};
}
using WeightTuple = std::tuple<Matrix, Maybe<Matrix>, Maybe<Matrix>, Maybe<Matrix>>;
using BiasTuple = std::tuple<Vector, Maybe<Vector>, Maybe<Vector>, Maybe<Vector>>;
template <class Tuple>
auto tensors(const Tuple& t) {
    return Tensors<std::tuple_element_t<0, Tuple>>{std::get<0>(t), std::get<1>(t), std::get<2>(t), std::get<3>(t)};
}

// alpha, beta, gamma, scale, readout_scale, box
using NeuronNumbers = std::array<double, 6>;
// lr, lr rho, 1 - b1, b2, 1 - b2, rate, root, eps, clip (infinity: none), prior, prior of the biases
using RuleNumbers = std::array<double, 11>;

Neuron neuron_of(const NeuronNumbers& n) {
    const auto f = [&](int k) { return static_cast<float>(n[k]); };
    return {f(0), f(1), f(2), f(3), f(4), f(5)};
}
Rule rule_of(const RuleNumbers& n, bool adam) {
    const auto f = [&](int k) { return static_cast<float>(n[k]); };
    return {adam, n[1] != 0, n[8] < std::numeric_limits<double>::infinity(), f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8)};
}
Draw draw_of(int kind, std::uint64_t key, double tau, double s_max) {
    require(kind >= 0 && kind <= 3, "kind: 0 real, 1 straight-through, 2 hard, 3 relaxed");
    return {static_cast<Kind>(kind), key, static_cast<float>(tau), static_cast<float>(s_max)};
}

// The readout, one row of signs per class.
Readout readout_of(const In<std::int8_t, 2>& signs, const In<std::int8_t, 1>& bias, const Neuron& c, int batch) {
    const std::size_t n_out = signs.shape(0), n = signs.shape(1), stride = padded(n_out);
    require(n >= 1 && bias.shape(0) == n, "readout (n_out, n_readouts) and its biases (n_readouts) do not fit");
    float* across = scratch<float, struct OfSigns>(n * stride + n);
    for (std::size_t k = 0; k < n; ++k) {
        float* row = across + k * stride;
        for (std::size_t j = 0; j < n_out; ++j) row[j] = signs.data()[j * n + k];
        std::fill(row + n_out, row + stride, 0.0f);
        across[n * stride + k] = bias.data()[k];
    }
    return {across, stride, across + n * stride, static_cast<int>(n_out), static_cast<int>(n), batch, c.readout_scale, c.box};
}

nb::tuple dense(Matrix p, Matrix q, Matrix r, In<float, 2> before, nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu> x,
                const WeightTuple& weight_tensors, const Maybe<BiasTuple>& bias_tensors, In<std::int8_t, 2> signs,
                In<std::int8_t, 1> signs_bias, const Maybe<In<std::int64_t, 1>>& classes, const Maybe<In<float, 2>>& targets,
                const NeuronNumbers& neuron_numbers, const RuleNumbers& rule_numbers, int kind, double tau, double s_max, bool adam,
                std::uint64_t key, int threads, const std::string& isa) {
    const Kernels& kernels = choose(isa);
    const auto weight = tensors(weight_tensors);
    const std::size_t batch = p.shape(0), n_in = p.shape(1), n_out = r.shape(1);
    const auto is = [](const auto& a, std::size_t rows, std::size_t columns) {
        return a.shape(0) == rows && a.shape(1) == columns;
    };
    require(batch >= 1 && n_in >= 1 && n_out >= 1, "state: there must be a sample, an input and a neuron");
    require(batch * n_in < (1u << 31) && batch * n_out < (1u << 31) && n_in * n_out < (1u << 31), "layer: too large");
    require(is(q, batch, n_in) && is(r, batch, n_out) && is(before, batch, n_out), "state: P, Q, R and S do not fit");
    require(is(x, batch, n_in), "x must be (batch, n_in)");
    require(x.dtype() == nb::dtype<std::uint8_t>() || x.dtype() == nb::dtype<float>(), "x must be uint8 or float32");
    require(is(weight.latent, n_in, n_out), "latents must be (n_in, n_out)");
    require(signs.shape(0) == n_out, "readout must be (n_out, n_readouts)");
    require(!classes || classes->shape(0) == batch, "target: one class per sample");
    require(!targets || is(*targets, batch, signs.shape(1)), "target must be (batch, n_readouts)");
    if (classes)
        for (std::size_t s = 0; s < batch; ++s)
            require(classes->data()[s] >= 0 && classes->data()[s] < static_cast<std::int64_t>(signs.shape(1)),
                    "target: a class is not among the readouts");
    const bool learns = classes || targets;
    const Neuron c = neuron_of(neuron_numbers);
    const Rule rule = rule_of(rule_numbers, adam);
    const Draw draw = draw_of(kind, key, tau, s_max);
    const bool relaxed = draw.kind == Kind::relaxed && learns;
    float* factor = relaxed ? scratch<float, struct OfFactor>(n_in * n_out) : nullptr;
    const Learned moved = learned(weight, static_cast<float>(rule_numbers[9]), factor, adam);
    float *bias = nullptr, *bias_factor = nullptr;
    Learned moved_bias{};
    if (bias_tensors) {
        const auto tensor = tensors(*bias_tensors);
        require(tensor.latent.shape(0) == n_out, "bias latents must be (n_out)");
        bias = scratch<float, struct OfBias>(2 * padded(n_out));
        bias_factor = relaxed ? bias + padded(n_out) : nullptr;
        moved_bias = learned(tensor, static_cast<float>(rule_numbers[10]), bias_factor, adam);
    }
    Out<float> spikes = make<float>({batch, n_out}), read = make<float>({batch, signs.shape(1)}), losses = make<float>({batch});
    float *spikes_to = spikes.data(), *read_to = read.data(), *losses_to = losses.data();
    nb::gil_scoped_release release;

    const std::size_t seen_size = padded(n_in), stride = padded(n_out);
    const int parts = static_cast<int>(std::min<std::size_t>(std::max(1, threads), batch));
    std::uint32_t* seen = scratch<std::uint32_t, struct OfSeen>(seen_size * parts);
    std::fill(seen, seen + seen_size * parts, 0u);
    const bool bytes = x.dtype() == nb::dtype<std::uint8_t>();
    const auto* from = static_cast<const std::uint8_t*>(x.data());
    over(batch, threads, [&](int part, std::size_t begin, std::size_t end) {
        for (std::size_t s = begin; s < end; ++s)
            kernels.traces(c, p.data() + s * n_in, q.data() + s * n_in, from + s * n_in * (bytes ? 1 : sizeof(float)), bytes, n_in,
                           seen + part * seen_size);
    });
    std::int32_t* taken = scratch<std::int32_t, struct OfTaken>(n_in + 1);
    int n_taken = 0;
    for (std::size_t i = 0; i < n_in; ++i) {
        for (int part = 1; part < parts; ++part) seen[i] |= seen[part * seen_size + i];
        taken[n_taken] = static_cast<std::int32_t>(i);
        n_taken += seen[i] != 0;
    }

    if (bias) {
        Draw own = draw;
        own.key = key + 1;
        kernels.sample(own, moved_bias.latent, n_out, bias, bias_factor);
    }
    const float** rows = scratch<const float*, struct OfRows>(batch);
    for (std::size_t s = 0; s < batch; ++s) rows[s] = p.data() + s * n_in;
    float* u = scratch<float, struct OfPotentials>(batch * stride);
    const Forward pass{rows, taken, taken, n_taken, static_cast<int>(batch), static_cast<int>(n_out), moved.latent, draw, factor,
                       bias, c, r.data(), before.data(), spikes_to, u, stride};
    over((n_out + kTile - 1) / kTile, threads, [&](int, std::size_t begin, std::size_t end) {
        for (std::size_t tile = begin; tile < end; ++tile) kernels.forward(pass, static_cast<int>(tile));
    });

    const Readout readout = readout_of(signs, signs_bias, c, static_cast<int>(batch));
    const std::size_t n_readouts = signs.shape(1), error_stride = batch * kTile;
    float* errors = scratch<float, struct OfErrors>(learns ? batch * stride : 0);
    float* slopes = scratch<float, struct OfSlopes>(batch * padded(n_readouts));
    std::int64_t* begins = scratch<std::int64_t, struct OfBegins>(batch + 1);
    over(batch, threads, [&](int, std::size_t begin, std::size_t end) {
        for (std::size_t s = begin; s < end; ++s) {
            const Goal goal{classes ? classes->data() + s : nullptr, targets ? targets->data() + s * n_readouts : nullptr};
            begins[s + 1] = kernels.read(readout, spikes_to + s * n_out, u + s * stride, goal, read_to + s * n_readouts,
                                         slopes + s * padded(n_readouts), losses_to + s, errors + s * kTile, error_stride);
        }
    });

    if (learns) {
        begins[0] = 0;
        for (std::size_t s = 0; s < batch; ++s) begins[s + 1] += begins[s];
        const std::size_t n_events = begins[batch];
        const bool sparse = n_events < kSparse * static_cast<double>(batch * n_out);
        Event* events = nullptr;
        if (sparse) {
            events = scratch<Event, struct OfEvents>(n_events);
            for (std::size_t s = 0; s < batch; ++s)
                kernels.list(errors + s * kTile, error_stride, static_cast<int>(n_out), events + begins[s]);
        }
        std::int32_t *at = scratch<std::int32_t, struct OfPlaces>(batch + n_in), *inputs = at + batch;
        for (std::size_t s = 0; s < batch; ++s) at[s] = static_cast<std::int32_t>(s * n_in);
        for (std::size_t i = 0; i < n_in; ++i) inputs[i] = static_cast<std::int32_t>(i);
        const Learn pass_back{p.data(), at, inputs, errors, events, begins, seen, static_cast<int>(batch), static_cast<int>(n_in),
                              static_cast<int>(n_out), c.scale, moved, rule};
        const std::size_t panel_inputs = sparse ? kernels.lanes : kTile;
        over((n_in + panel_inputs - 1) / panel_inputs, threads, [&](int, std::size_t begin, std::size_t end) {
            float* g = scratch<float, struct OfGradient>(2 * stride * kTile);
            const auto learn = sparse ? kernels.learn_events : kernels.learn_dense;
            for (std::size_t panel = begin; panel < end; ++panel) learn(pass_back, panel, g);
        });
        if (bias) {
            float* g = scratch<float, struct OfBiasGradient>(stride);
            std::fill(g, g + stride, 0.0f);
            for (std::size_t tile = 0; tile < stride / kTile; ++tile)
                for (std::size_t s = 0; s < batch; ++s)
                    for (int k = 0; k < kTile; ++k) g[tile * kTile + k] += errors[tile * error_stride + s * kTile + k];
            kernels.move(rule, moved_bias, g, c.scale, n_out);
        }
    }
    nb::gil_scoped_acquire acquire;
    return nb::make_tuple(spikes, read, losses);
}

}  // namespace
}  // namespace bitspike::srm

void bind_srm(nanobind::module_& m) {
    using namespace nanobind::literals;
    namespace nb = nanobind;
    m.def("srm_dense", &bitspike::srm::dense, nb::arg("p").noconvert(), nb::arg("q").noconvert(), nb::arg("r").noconvert(),
          "before"_a, "x"_a, "weight"_a, "bias"_a.none(), "readout"_a, "readout_bias"_a, "classes"_a.none(), "targets"_a.none(),
          "neuron"_a, "rule"_a, "kind"_a, "tau"_a, "s_max"_a, "adam"_a, "key"_a, "threads"_a, "isa"_a,
          "One online step of a dense layer; P, Q, R and the latents change in place. Spikes, readouts, losses.");
}
