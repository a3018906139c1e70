// Prepares a packed network of spike trains for the kernels and binds it to Python.
#include "packed_trains.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "array.hpp"
#include "cpu.hpp"

namespace bitspike::packed_trains {
namespace {

template <class T>
using Out = std::optional<nb::ndarray<T, nb::c_contig, nb::device::cpu>>;

struct FreeAligned {
    void operator()(char* p) const { ::operator delete[](p, std::align_val_t(64)); }
};
using Block = std::unique_ptr<char[], FreeAligned>;

constexpr int max_layers = 64;

// height, width, channels, size, padding of a convolution or a pool; a dense layer of floats is 1, 1, n_in, 1, 0.
using Geometry = std::tuple<int, int, int, int, int>;
// beta_m, beta_s, rate, limit, refractory, lateral, threshold, least.
using Constants = std::tuple<float, float, float, float, int, float, float, float>;

class TrainEngine {
  public:
    TrainEngine(int n_steps, const std::string& isa) {
        if (n_steps < 2 || n_steps > 32767) throw std::invalid_argument("n_steps must lie between 2 and 32767");
        net_.n_steps = n_steps;
        run_ = BITSPIKE_PICK(isa_named(isa), run);
    }

    TrainEngine(const TrainEngine&) = delete;

    // signs (n_in, ceil(n_out / 8)).
    void add_signs(In<std::uint8_t, 2> signs, In<std::int32_t, 1> fan_out, int n_out, const Constants& constants) {
        const std::size_t n_in = signs.shape(0), bytes = signs.shape(1);
        if (n_out < 1 || bytes != (static_cast<std::size_t>(n_out) + 7) / 8) throw std::invalid_argument("signs: wrong shape");
        const bool narrow = n_out <= 16 && n_in <= 32767;
        Layer& y = add(n_in, n_out, fan_out, constants, 1, narrow ? 16 : up(n_out, 64));
        y.kind = narrow ? Kind::narrow : Kind::signs;
        if (narrow) {
            auto* rows = take<std::int16_t>(16 * n_in);
            for (std::size_t i = 0; i < n_in; ++i)
                for (int j = 0; j < n_out; ++j)
                    rows[16 * i + j] = signs.data()[i * bytes + j / 8] >> (j % 8) & 1 ? 1 : -1;
            y.narrow = rows;
        } else {
            y.stride = up(n_out, 512) / 64;
            const std::size_t stride = static_cast<std::size_t>(y.stride);
            auto* rows = take<std::uint64_t>((n_in + 1) * stride);
            for (std::size_t i = 0; i < n_in; ++i)
                for (std::size_t k = 0; k < bytes; ++k)
                    rows[i * stride + k / 8] |= static_cast<std::uint64_t>(signs.data()[i * bytes + k]) << (8 * (k % 8));
            y.signs = rows;
        }
    }

    // weights (size, size, channels, filters).
    void add_rows(In<float, 4> weights, In<std::int32_t, 1> fan_out, const Geometry& geometry, const Constants& constants) {
        Layer shape{};
        const int places = place(shape, geometry, 1);
        const std::size_t size = static_cast<std::size_t>(shape.size), channels = static_cast<std::size_t>(shape.channels);
        const std::size_t filters = weights.shape(3), depth = static_cast<std::size_t>(up(static_cast<int>(filters), 16));
        if (weights.shape(0) != size || weights.shape(1) != size || weights.shape(2) != channels)
            throw std::invalid_argument("weights: wrong shape");
        const std::size_t n_in = static_cast<std::size_t>(shape.height) * shape.width * channels;
        Layer& y = add(n_in, static_cast<int>(filters), fan_out, constants, places, static_cast<int>(depth));
        place(y, geometry, 1);
        y.kind = Kind::rows;
        auto* rows = take<float>(channels * size * size * depth);
        for (std::size_t ky = 0; ky < size; ++ky)
            for (std::size_t kx = 0; kx < size; ++kx)
                for (std::size_t c = 0; c < channels; ++c)
                    std::memcpy(rows + ((c * size + ky) * size + size - 1 - kx) * depth,
                                weights.data() + ((ky * size + kx) * channels + c) * filters, filters * sizeof(float));
        y.rows = rows;
    }

    void add_pool(In<std::int32_t, 1> fan_out, const Geometry& geometry, const Constants& constants) {
        Layer shape{};
        const int places = place(shape, geometry, std::get<3>(geometry));
        const std::size_t n_in = static_cast<std::size_t>(shape.height) * shape.width * shape.channels;
        Layer& y = add(n_in, shape.channels, fan_out, constants, places, up(shape.channels, 16));
        place(y, geometry, shape.size);
        y.kind = Kind::pool;
    }

    std::int64_t run_constant(In<std::uint8_t, 2> images, double scale, int threads, Out<std::int64_t> labels,
                              Out<std::int64_t> decision_time, Out<bool> silent, Out<bool> tied, Out<float> potentials,
                              Out<std::int64_t> n_spikes, Out<std::int64_t> n_synops) const {
        check_inputs(images.shape(1));
        Inputs in{};
        in.images = images.data();
        in.n_pixels = net_.n_in;
        in.scale = scale;
        const std::size_t n = images.shape(0);
        return go(in, n, threads, outputs(n, net_.n_classes, labels, decision_time, silent, tied, potentials, n_spikes, n_synops));
    }

    std::int64_t run_drawn(In<std::uint8_t, 2> images, In<std::int32_t, 2> limits, int threads, Out<std::int64_t> labels,
                           Out<std::int64_t> decision_time, Out<bool> silent, Out<bool> tied, Out<float> potentials,
                           Out<std::int64_t> n_spikes, Out<std::int64_t> n_synops) const {
        check_inputs(images.shape(1) * limits.shape(0));
        if (limits.shape(1) != 256) throw std::invalid_argument("limits: wrong shape");
        Inputs in{};
        in.images = images.data();
        in.n_pixels = static_cast<int>(images.shape(1));
        in.limits = limits.data();
        in.sides = static_cast<int>(limits.shape(0));
        const std::size_t n = images.shape(0);
        return go(in, n, threads, outputs(n, net_.n_classes, labels, decision_time, silent, tied, potentials, n_spikes, n_synops));
    }

    // Returns -1, or the first recording with a spike outside the window or twice.
    std::int64_t run_lists(In<std::int16_t, 1> steps, In<std::int32_t, 1> channels, In<std::int64_t, 1> offsets, int threads,
                           Out<std::int64_t> labels, Out<std::int64_t> decision_time, Out<bool> silent, Out<bool> tied,
                           Out<float> potentials, Out<std::int64_t> n_spikes, Out<std::int64_t> n_synops) const {
        check_inputs(static_cast<std::size_t>(net_.n_in));
        const std::size_t n = offsets.size() ? offsets.size() - 1 : 0;
        const std::int64_t* at = offsets.data();
        bool rising = offsets.size() > 0 && at[0] == 0 && at[n] == static_cast<std::int64_t>(steps.size());
        for (std::size_t k = 0; rising && k < n; ++k) rising = at[k] <= at[k + 1];
        if (!rising || steps.size() != channels.size()) throw std::invalid_argument("offsets do not fit the spikes");
        Inputs in{};
        in.steps = steps.data();
        in.channels = channels.data();
        in.offsets = at;
        return go(in, n, threads, outputs(n, net_.n_classes, labels, decision_time, silent, tied, potentials, n_spikes, n_synops));
    }

  private:
    static int up(int n, int to) { return (n + to - 1) / to * to; }

    // Returns the number of places of the layer's output.
    static int place(Layer& y, const Geometry& geometry, int stride) {
        std::tie(y.height, y.width, y.channels, y.size, y.padding) = geometry;
        const std::int64_t most = 1 << 24;
        if (std::min({y.height, y.width, y.channels, y.size}) < 1 || y.padding < 0 || y.size > 1 << 12 ||
            y.padding > 1 << 12 || static_cast<std::int64_t>(y.height) * y.width >= most ||
            static_cast<std::int64_t>(y.height) * y.width * y.channels >= most)
            throw std::invalid_argument("a map has an impossible size");
        y.out_height = (y.height + 2 * y.padding - y.size) / stride + 1;
        y.out_width = (y.width + 2 * y.padding - y.size) / stride + 1;
        const std::int64_t places = static_cast<std::int64_t>(y.out_height) * y.out_width;
        if (y.height + 2 * y.padding < y.size || y.width + 2 * y.padding < y.size || places >= most)
            throw std::invalid_argument("a window does not fit its map");
        return static_cast<int>(places);
    }

    Layer& add(std::size_t n_in, int filters, In<std::int32_t, 1>& fan_out, const Constants& constants, int places, int depth) {
        const std::int64_t n_out = static_cast<std::int64_t>(places) * filters, lanes = static_cast<std::int64_t>(places) * depth;
        if (net_.n_layers == max_layers) throw std::invalid_argument("more than 64 layers");
        if (n_in < 1 || n_out < 1 || n_in >= 1u << 24 || n_out >= 1 << 24 || lanes >= 1 << 28)
            throw std::invalid_argument("a layer has impossible widths");
        if (fan_out.size() != n_in) throw std::invalid_argument("fan_out: wrong shape");
        if (net_.n_layers && static_cast<std::size_t>(net_.n_classes) != n_in)
            throw std::invalid_argument("a layer does not fit the one before");
        Layer& y = layers_[net_.n_layers];
        y = Layer{};
        auto& [beta_m, beta_s, rate, limit, refractory, lateral, threshold, least] = constants;
        if (refractory < 0 || refractory > 63) throw std::invalid_argument("refractory must lie between 0 and 63");
        y.lif = {beta_m, beta_s, rate, limit, refractory, lateral};
        y.threshold = threshold;
        y.least = least;
        y.n_in = static_cast<int>(n_in);
        y.n_out = static_cast<int>(n_out);
        y.depth = depth;
        y.lanes = static_cast<int>(lanes);
        auto* ids = take<std::uint32_t>(static_cast<std::size_t>(lanes));
        for (int p = 0; p < places; ++p)
            for (int k = 0; k < filters; ++k) ids[static_cast<std::size_t>(p) * depth + k] = static_cast<std::uint32_t>(p * filters + k);
        y.ids = ids;
        auto* fan = take<std::int32_t>(n_in);
        std::memcpy(fan, fan_out.data(), n_in * sizeof(std::int32_t));
        y.fan_out = fan;
        if (net_.n_layers == 0) net_.n_in = y.n_in;
        net_.n_classes = y.n_out;
        ++net_.n_layers;
        net_.layers = layers_;
        return y;
    }

    template <class T>
    T* take(std::size_t n) {
        blocks_.push_back(Block(new (std::align_val_t(64)) char[n * sizeof(T) + 64]));
        std::memset(blocks_.back().get(), 0, n * sizeof(T) + 64);
        return reinterpret_cast<T*>(blocks_.back().get());
    }

    void check_inputs(std::size_t width) const {
        if (!net_.n_layers || width != static_cast<std::size_t>(net_.n_in))
            throw std::invalid_argument("inputs have a wrong shape");
    }

    std::int64_t go(const Inputs& in, std::size_t n, int threads, const Outputs& out) const {
        struct Kept;
        const int parts = std::max(1, std::min(threads, static_cast<int>(std::min<std::size_t>(n / 2, 1024))));
        const std::size_t bytes = scratch_bytes(net_, in);
        nb::gil_scoped_release released;
        std::vector<std::int64_t> bad(static_cast<std::size_t>(parts), -1);
        parallel(parts, [&](int part) {
            std::size_t begin, end;
            share(n, part, parts, begin, end);
            bad[static_cast<std::size_t>(part)] =
                run_(net_, in, out, begin, end, spike_train::scratch<char, Kept>(bytes));
        });
        for (std::int64_t sample : bad)
            if (sample >= 0) return sample;
        return -1;
    }

    Layer layers_[max_layers]{};
    Network net_{};
    Run run_ = nullptr;
    std::vector<Block> blocks_;
};

}  // namespace
}  // namespace bitspike::packed_trains

void bind_packed_trains(nanobind::module_& m) {
    namespace nb = nanobind;
    using namespace nb::literals;
    using bitspike::packed_trains::TrainEngine;
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
