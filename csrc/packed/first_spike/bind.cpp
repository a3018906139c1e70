// The first-spike engine: prepares a packed network for the kernel, for Python.
#include "packed/first_spike/kernels.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "common/cpu.hpp"
#include "packed/run.hpp"

namespace bitspike::packed::first_spike {
namespace {

template <class T>
using Values = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;

class PackedEngine {
  public:
    PackedEngine(int n_steps, int delay, const std::string& isa) {
        if (n_steps < 1 || n_steps > 32766) throw std::invalid_argument("n_steps must lie between 1 and 32766");
        net_.n_steps = n_steps;
        net_.delay = delay;
        kernels_ = &BITSPIKE_PICK(kernels, isa);
#if defined(BITSPIKE_X86) && defined(__GNUC__)
        net_.counts_bits = __builtin_cpu_supports("avx512vpopcntdq");
#endif
    }

    // signs (n_in, ceil(n_out / 8)), fires_at (n_out): the neuron fires when U >= fires_at, thresholds (n_out).
    void add_binary(Values<std::uint8_t> signs, Values<std::int32_t> fires_at, Values<float> thresholds, bool is_output) {
        const std::size_t n_out = fires_at.size(), bytes = (n_out + 7) / 8;
        if (signs.ndim() != 2 || signs.shape(1) != bytes) throw std::invalid_argument("signs has a wrong shape");
        const std::size_t n_in = signs.shape(0);
        Layer& y = add(n_in, n_out, thresholds);
        const std::size_t stride = static_cast<std::size_t>(y.stride), lanes = 64 * stride;
        y.kind = is_output && n_out <= 16 && n_in <= 32766 ? Kind::narrow_output : Kind::binary;
        if (y.kind == Kind::narrow_output) {
            auto* rows = blocks_.take<std::int16_t>(n_in * 16);
            auto* from = blocks_.take<std::int16_t>(16);
            for (std::size_t i = 0; i < n_in; ++i)
                for (std::size_t j = 0; j < n_out; ++j)
                    rows[16 * i + j] = signs.data()[i * bytes + j / 8] >> (j % 8) & 1 ? 1 : -1;
            auto* columns = blocks_.take<std::uint64_t>(round_up(n_in, 64) / 64 * 16);
            for (std::size_t i = 0; i < n_in; ++i)
                for (std::size_t j = 0; j < n_out; ++j)
                    if (rows[16 * i + j] > 0) columns[i / 64 * 16 + j] |= 1ull << (i % 64);
            y.columns = columns;
            for (std::size_t j = 0; j < n_out; ++j)
                from[j] = static_cast<std::int16_t>(std::clamp<int>(fires_at.data()[j], -32768, 32767));
            y.rows16 = rows;
            y.fires_at16 = from;
        } else {
            auto* rows = blocks_.take<std::uint64_t>((n_in + 1) * stride);
            for (std::size_t i = 0; i < n_in; ++i)
                for (std::size_t k = 0; k < bytes; ++k) {
                    const std::uint64_t eight = signs.data()[i * bytes + k];
                    rows[i * stride + k / 8] |= eight << (8 * (k % 8));
                }
            auto* whole = blocks_.take<std::int32_t>(lanes);
            y.signs = rows;
            y.fires_at = whole;
            for (int odd = 0; odd < 2; ++odd) {
                auto* half = blocks_.take<std::int8_t>(lanes);
                y.half[odd] = half;
                for (std::size_t j = 0; j < n_out; ++j) {
                    const std::int64_t f = whole[j] = fires_at.data()[j];
                    half[j] = static_cast<std::int8_t>(std::clamp<std::int64_t>((f + odd + 1) >> 1, -127, 127));
                }
            }
        }
        for (std::size_t j = 0; j < n_out; ++j) net_.fires_unprompted |= fires_at.data()[j] <= 0;
    }

    void add_real(Values<float> weights, Values<float> thresholds) {
        const std::size_t n_out = thresholds.size();
        if (weights.ndim() != 2 || weights.shape(1) != n_out) throw std::invalid_argument("weights has a wrong shape");
        const std::size_t n_in = weights.shape(0), stride = round_up(n_out, 16);
        Layer& y = add(n_in, n_out, thresholds);
        y.kind = Kind::real;
        y.real_stride = static_cast<int>(stride);
        auto* rows = blocks_.take<float>(n_in * stride);
        for (std::size_t i = 0; i < n_in; ++i)
            std::memcpy(rows + i * stride, weights.data() + i * n_out, n_out * sizeof(float));
        y.weights = rows;
        for (std::size_t j = 0; j < n_out; ++j) net_.fires_unprompted |= thresholds.data()[j] < 0;
    }

    // Both runs return -1, or the first sample with a spike time outside 0..n_steps; None is a result left out.
    std::int64_t run_times(Values<std::int16_t> times, int threads, Result<std::int64_t> labels,
                           Result<std::int64_t> decision_time, Result<bool> silent, Result<bool> tied, Result<float> potentials,
                           Result<std::int64_t> n_spikes, Result<std::int64_t> n_synops) const {
        const std::size_t n = samples(times);
        return go(Inputs{nullptr, nullptr, times.data()}, n, threads,
                  outputs(n, net_.n_classes, labels, decision_time, silent, tied, potentials, n_spikes, n_synops));
    }

    std::int64_t run_images(Values<std::uint8_t> images, int threads, Result<std::int64_t> labels,
                            Result<std::int64_t> decision_time, Result<bool> silent, Result<bool> tied, Result<float> potentials,
                            Result<std::int64_t> n_spikes, Result<std::int64_t> n_synops) const {
        const std::size_t n = samples(images);
        if (!levels_) throw std::invalid_argument("set_levels has not been called");
        return go(Inputs{images.data(), levels_.get(), nullptr}, n, threads,
                  outputs(n, net_.n_classes, labels, decision_time, silent, tied, potentials, n_spikes, n_synops));
    }

    // table (256): the step in which a pixel value spikes; never rises with the value.
    void set_levels(Values<std::int16_t> table) {
        if (table.size() != 256) throw std::invalid_argument("the table of steps needs 256 entries");
        auto levels = std::make_unique<Levels>();
        levels->n = 0;
        levels->dimmest = 256;
        int last = -1;
        for (int value = 255; value >= 0; --value) {
            const int step = table.data()[value];
            if (step < 0 || step > net_.n_steps || step < last)
                throw std::invalid_argument("the table of steps must fall with the pixel value, within 0..n_steps");
            if (step == net_.n_steps) break;
            if (step != last) {
                levels->time[levels->n] = step;
                levels->highest[levels->n++] = static_cast<std::uint8_t>(value);
            }
            levels->lowest[levels->n - 1] = static_cast<std::uint8_t>(value);
            levels->rank[value] = static_cast<std::uint8_t>(levels->n - 1);
            levels->dimmest = value;
            last = step;
        }
        levels_ = std::move(levels);
    }

  private:
    Layer& add(std::size_t n_in, std::size_t n_out, Values<float>& thresholds) {
        if (net_.n_layers == max_layers) throw std::invalid_argument("more than 64 layers");
        if (n_in < 1 || n_out < 1 || n_in >= 1u << 24 || n_out >= 1u << 24 || thresholds.size() != n_out)
            throw std::invalid_argument("a layer has impossible widths");
        if (net_.n_layers && static_cast<std::size_t>(net_.n_classes) != n_in)
            throw std::invalid_argument("a layer does not fit the one before");
        Layer& y = layers_[net_.n_layers++];
        y.n_in = static_cast<int>(n_in);
        y.n_out = net_.n_classes = static_cast<int>(n_out);
        y.words = static_cast<int>(round_up(n_out, 64) / 64);
        y.stride = static_cast<int>(round_up(n_out, 512) / 64);
        auto* all = blocks_.take<std::uint64_t>(static_cast<std::size_t>(y.stride));
        for (std::size_t j = 0; j < n_out; ++j) all[j / 64] |= 1ull << (j % 64);
        y.all = all;
        auto* theta = blocks_.take<float>(round_up(n_out, 64));
        std::memcpy(theta, thresholds.data(), n_out * sizeof(float));
        y.thresholds = theta;
        if (net_.n_layers == 1) net_.n_in = y.n_in;
        net_.layers = layers_;
        return y;
    }

    template <class T>
    std::size_t samples(const Values<T>& x) const {
        if (!net_.n_layers || x.ndim() != 2 || x.shape(1) != static_cast<std::size_t>(net_.n_in))
            throw std::invalid_argument("inputs have a wrong shape");
        return x.shape(0);
    }

    std::int64_t go(const Inputs& in, std::size_t n, int threads, const Outputs& out) const {
        std::optional<nb::gil_scoped_release> released;
        if (n > 4) released.emplace();
        // A thread that wakes for fewer than 64 samples costs more than it brings.
        return over_samples(*kernels_, net_, in, out, n, 64, threads);
    }

    Layer layers_[max_layers]{};
    Network net_{};
    const Kernels* kernels_ = nullptr;
    std::unique_ptr<Levels> levels_;
    Blocks blocks_;
};

}  // namespace
}  // namespace bitspike::packed::first_spike

void bind_packed_first_spike(nanobind::module_& m) {
    namespace nb = nanobind;
    using namespace nb::literals;
    using bitspike::packed::first_spike::PackedEngine;
    const auto none = nb::none();
    nb::class_<PackedEngine>(m, "PackedEngine")
        .def(nb::init<int, int, const std::string&>(), "n_steps"_a, "delay"_a, "isa"_a)
        .def("add_binary", &PackedEngine::add_binary, "signs"_a, "fires_at"_a, "thresholds"_a, "is_output"_a)
        .def("add_real", &PackedEngine::add_real, "weights"_a, "thresholds"_a)
        .def("set_levels", &PackedEngine::set_levels, "table"_a)
        .def("run_times", &PackedEngine::run_times, "times"_a, "threads"_a, "labels"_a = none, "decision_time"_a = none,
             "silent"_a = none, "tied"_a = none, "potentials"_a = none, "n_spikes"_a = none, "n_synops"_a = none)
        .def("run_images", &PackedEngine::run_images, "images"_a, "threads"_a, "labels"_a = none,
             "decision_time"_a = none, "silent"_a = none, "tied"_a = none, "potentials"_a = none, "n_spikes"_a = none,
             "n_synops"_a = none);
}
