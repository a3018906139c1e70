// Prepares a packed network for the kernels and binds it to Python.
#include "packed.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu.hpp"

namespace nb = nanobind;

namespace bitspike::packed {
namespace {

template <class T>
using In = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
template <class T>
using Out = std::optional<nb::ndarray<T, nb::c_contig, nb::device::cpu>>;

struct FreeAligned {
    void operator()(char* p) const { ::operator delete[](p, std::align_val_t(64)); }
};
using Block = std::unique_ptr<char[], FreeAligned>;

Block aligned(std::size_t bytes) { return Block(new (std::align_val_t(64)) char[bytes + 64]); }

std::size_t up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

constexpr int max_layers = 64;

class PackedEngine {
  public:
    PackedEngine(int n_steps, int delay, const std::string& isa) {
        if (n_steps < 1 || n_steps > 32766) throw std::invalid_argument("n_steps must lie between 1 and 32766");
        net_.n_steps = n_steps;
        net_.delay = delay;
        run_ = BITSPIKE_PICK(isa_named(isa), run);
#if defined(__x86_64__) && defined(__GNUC__)
        net_.counts_bits = __builtin_cpu_supports("avx512vpopcntdq");
#endif
    }

    // signs (n_in, ceil(n_out / 8)), fires_at (n_out): the neuron fires when U >= fires_at, thresholds (n_out).
    void add_binary(In<std::uint8_t> signs, In<std::int32_t> fires_at, In<float> thresholds, bool is_output) {
        const std::size_t n_out = fires_at.size(), bytes = (n_out + 7) / 8;
        if (signs.ndim() != 2 || signs.shape(1) != bytes) throw std::invalid_argument("signs has a wrong shape");
        const std::size_t n_in = signs.shape(0);
        Layer& y = add(n_in, n_out, thresholds);
        const std::size_t stride = static_cast<std::size_t>(y.stride), lanes = 64 * stride;
        y.kind = is_output && n_out <= 16 && n_in <= 32766 ? Kind::narrow_output : Kind::binary;
        if (y.kind == Kind::narrow_output) {
            auto* rows = take<std::int16_t>(n_in * 16);
            auto* from = take<std::int16_t>(16);
            for (std::size_t i = 0; i < n_in; ++i)
                for (std::size_t j = 0; j < n_out; ++j)
                    rows[16 * i + j] = signs.data()[i * bytes + j / 8] >> (j % 8) & 1 ? 1 : -1;
            auto* columns = take<std::uint64_t>(up(n_in, 64) / 64 * 16);
            for (std::size_t i = 0; i < n_in; ++i)
                for (std::size_t j = 0; j < n_out; ++j)
                    if (rows[16 * i + j] > 0) columns[i / 64 * 16 + j] |= 1ull << (i % 64);
            y.columns = columns;
            for (std::size_t j = 0; j < n_out; ++j)
                from[j] = static_cast<std::int16_t>(std::clamp<int>(fires_at.data()[j], -32768, 32767));
            y.rows16 = rows;
            y.fires_at16 = from;
        } else {
            auto* rows = take<std::uint64_t>((n_in + 1) * stride);
            for (std::size_t i = 0; i < n_in; ++i)
                for (std::size_t k = 0; k < bytes; ++k) {
                    const std::uint64_t eight = signs.data()[i * bytes + k];
                    rows[i * stride + k / 8] |= eight << (8 * (k % 8));
                }
            auto* whole = take<std::int32_t>(lanes);
            y.signs = rows;
            y.fires_at = whole;
            for (int odd = 0; odd < 2; ++odd) {
                auto* half = take<std::int8_t>(lanes);
                y.half[odd] = half;
                for (std::size_t j = 0; j < n_out; ++j) {
                    const std::int64_t f = whole[j] = fires_at.data()[j];
                    half[j] = static_cast<std::int8_t>(std::clamp<std::int64_t>((f + odd + 1) >> 1, -127, 127));
                }
            }
        }
        for (std::size_t j = 0; j < n_out; ++j) net_.fires_unprompted |= fires_at.data()[j] <= 0;
    }

    void add_real(In<float> weights, In<float> thresholds) {
        const std::size_t n_out = thresholds.size();
        if (weights.ndim() != 2 || weights.shape(1) != n_out) throw std::invalid_argument("weights has a wrong shape");
        const std::size_t n_in = weights.shape(0), stride = up(n_out, 16);
        Layer& y = add(n_in, n_out, thresholds);
        y.kind = Kind::real;
        y.real_stride = static_cast<int>(stride);
        auto* rows = take<float>(n_in * stride);
        for (std::size_t i = 0; i < n_in; ++i)
            std::memcpy(rows + i * stride, weights.data() + i * n_out, n_out * sizeof(float));
        y.weights = rows;
        for (std::size_t j = 0; j < n_out; ++j) net_.fires_unprompted |= thresholds.data()[j] < 0;
    }

    // Both runs return -1, or the first sample with a spike time outside 0..n_steps; None is a result left out.
    std::int64_t run_times(In<std::int16_t> times, int threads, Out<std::int64_t> labels,
                           Out<std::int64_t> decision_time, Out<bool> silent, Out<bool> tied, Out<float> potentials,
                           Out<std::int64_t> n_spikes, Out<std::int64_t> n_synops) const {
        const std::size_t n = samples(times);
        return go(Inputs{nullptr, nullptr, times.data()}, n, threads,
                  outputs(n, net_.n_classes, labels, decision_time, silent, tied, potentials, n_spikes, n_synops));
    }

    std::int64_t run_images(In<std::uint8_t> images, int threads, Out<std::int64_t> labels,
                            Out<std::int64_t> decision_time, Out<bool> silent, Out<bool> tied, Out<float> potentials,
                            Out<std::int64_t> n_spikes, Out<std::int64_t> n_synops) const {
        const std::size_t n = samples(images);
        if (!levels_) throw std::invalid_argument("set_levels has not been called");
        return go(Inputs{images.data(), levels_.get(), nullptr}, n, threads,
                  outputs(n, net_.n_classes, labels, decision_time, silent, tied, potentials, n_spikes, n_synops));
    }

    // table (256): the step in which a pixel value spikes; never rises with the value.
    void set_levels(In<std::int16_t> table) {
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
    Layer& add(std::size_t n_in, std::size_t n_out, In<float>& thresholds) {
        if (net_.n_layers == max_layers) throw std::invalid_argument("more than 64 layers");
        if (n_in < 1 || n_out < 1 || n_in >= 1u << 24 || n_out >= 1u << 24 || thresholds.size() != n_out)
            throw std::invalid_argument("a layer has impossible widths");
        if (net_.n_layers && static_cast<std::size_t>(net_.n_classes) != n_in)
            throw std::invalid_argument("a layer does not fit the one before");
        Layer& y = layers_[net_.n_layers++];
        y.n_in = static_cast<int>(n_in);
        y.n_out = net_.n_classes = static_cast<int>(n_out);
        y.words = static_cast<int>(up(n_out, 64) / 64);
        y.stride = static_cast<int>(up(n_out, 512) / 64);
        auto* all = take<std::uint64_t>(static_cast<std::size_t>(y.stride));
        for (std::size_t j = 0; j < n_out; ++j) all[j / 64] |= 1ull << (j % 64);
        y.all = all;
        auto* theta = take<float>(up(n_out, 64));
        std::memcpy(theta, thresholds.data(), n_out * sizeof(float));
        y.thresholds = theta;
        if (net_.n_layers == 1) net_.n_in = y.n_in;
        net_.layers = layers_;
        return y;
    }

    template <class T>
    T* take(std::size_t n) {
        blocks_.push_back(aligned(n * sizeof(T)));
        std::memset(blocks_.back().get(), 0, n * sizeof(T) + 64);
        return reinterpret_cast<T*>(blocks_.back().get());
    }

    template <class T>
    std::size_t samples(const In<T>& x) const {
        if (!net_.n_layers || x.ndim() != 2 || x.shape(1) != static_cast<std::size_t>(net_.n_in))
            throw std::invalid_argument("inputs have a wrong shape");
        return x.shape(0);
    }

    std::int64_t go(const Inputs& in, std::size_t n, int threads, const Outputs& out) const {
        // A thread that wakes for fewer than 64 samples costs more than it brings.
        const int parts = std::max(1, std::min(threads, static_cast<int>(std::min<std::size_t>(n / 64, 1024))));
        const std::size_t bytes = scratch_bytes(net_, in);
        if (parts == 1) {
            Block scratch = aligned(bytes);
            std::optional<nb::gil_scoped_release> released;
            if (n > 4) released.emplace();
            return run_(net_, in, out, 0, n, scratch.get());
        }
        nb::gil_scoped_release released;
        std::vector<std::int64_t> bad(static_cast<std::size_t>(parts), -1);
        std::vector<Block> scratch;
        for (int part = 0; part < parts; ++part) scratch.push_back(aligned(bytes));
        parallel(parts, [&](int part) {
            std::size_t begin, end;
            share(n, part, parts, begin, end);
            const auto p = static_cast<std::size_t>(part);
            bad[p] = run_(net_, in, out, begin, end, scratch[p].get());
        });
        for (std::int64_t sample : bad)
            if (sample >= 0) return sample;
        return -1;
    }

    Layer layers_[max_layers]{};
    Network net_{};
    Run run_ = nullptr;
    std::unique_ptr<Levels> levels_;
    std::vector<Block> blocks_;
};

}  // namespace
}  // namespace bitspike::packed

void bind_packed(nb::module_& m) {
    using namespace nb::literals;
    using bitspike::packed::PackedEngine;
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
