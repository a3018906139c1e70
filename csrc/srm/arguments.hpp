// What Python gives to the online step: arrays and numbers, checked and made into what the kernels take.
#pragma once
#include <nanobind/nanobind.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string>
#include <tuple>

#include "common/array.hpp"
#include "common/memory.hpp"
#include "srm/kernels.hpp"

namespace bitspike::srm {

using Input = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Matrix = InOut<float, 2>;
using Vector = InOut<float, 1>;
template <class T>
using Maybe = std::optional<T>;

template <class Array>
auto* data(const Maybe<Array>& a) { return a ? a->data() : nullptr; }

inline std::size_t padded(std::size_t n) { return round_up(n, kPad); }

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
    require(!adam || (t.mean && t.square), "Adam needs the running means of all latents");
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

inline Neuron neuron_of(const NeuronNumbers& n) {
    const auto f = [&](int k) { return static_cast<float>(n[k]); };
    return {f(0), f(1), f(2), f(3), f(4), f(5)};
}
inline Rule rule_of(const RuleNumbers& n, bool adam) {
    const auto f = [&](int k) { return static_cast<float>(n[k]); };
    return {adam, n[1] != 0, n[8] < std::numeric_limits<double>::infinity(), f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8)};
}
inline Draw draw_of(int kind, std::uint64_t key, double tau, double s_max) {
    require(kind >= 0 && kind <= 3, "kind: 0 real, 1 straight-through, 2 hard, 3 relaxed");
    return {static_cast<Kind>(kind), key, static_cast<float>(tau), static_cast<float>(s_max)};
}

// The readout, one row of signs per class.
inline Readout readout_of(const In<std::int8_t, 2>& signs, const In<std::int8_t, 1>& bias, const Neuron& c, int batch) {
    const std::size_t n_out = signs.shape(0), n = signs.shape(1), stride = padded(n_out);
    float* across = scratch<float, struct OfSigns>(n * stride + n);
    for (std::size_t k = 0; k < n; ++k) {
        float* row = across + k * stride;
        for (std::size_t j = 0; j < n_out; ++j) row[j] = signs.data()[j * n + k];
        std::fill(row + n_out, row + stride, 0.0f);
        across[n * stride + k] = bias.data()[k];
    }
    return {across, stride, across + n * stride, static_cast<int>(n_out), static_cast<int>(n), batch, c.readout_scale, c.box};
}

}  // namespace bitspike::srm
