// Python's door to the kernels of spike trains on maps: lays the taps out, shares the samples among threads.
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
#include "spike_train_conv.hpp"

namespace bitspike::spike_train_conv {

namespace {

constexpr int kLanes = 16;

using Words = In<std::int64_t, 3>;
using Rows = In<float, 2>;
using Weight = std::optional<In<float, 4>>;
// height, width, channels, n_filters, size, padding, stride, out_height, out_width
using Geometry = std::tuple<int, int, int, int, int, int, int, int, int>;

const Kernels& choose(const std::string& isa) {
    const Isa best = best_isa();
#if defined(__x86_64__) || defined(_M_X64)
    if (isa == "avx512" && best >= Isa::avx512) return kernels_avx512();
    if (isa == "avx2" && best >= Isa::avx2) return kernels_avx2();
    if (isa == "best") {
        if (best >= Isa::avx512) return kernels_avx512();
        if (best >= Isa::avx2) return kernels_avx2();
    }
#endif
    if (isa == "portable" || isa == "best") return kernels_portable();
    throw std::invalid_argument("instruction set '" + isa + "' is not available; this machine's best is " + isa_name(best));
}

struct Free {
    void operator()(float* p) const { ::operator delete(p, std::align_val_t{64}); }
};
using Floats = std::unique_ptr<float, Free>;

// On a border of cache lines.
Floats zeros(std::size_t n) {
    Floats data(static_cast<float*>(::operator new(n * sizeof(float), std::align_val_t{64})));
    std::memset(data.get(), 0, n * sizeof(float));
    return data;
}

void require(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

// First and last + 1 of the `size` places from `first` on that lie in 0..n-1, counted from `first`.
std::pair<int, int> inside(int first, int size, int n) { return {std::max(0, -first), std::min(size, n - first)}; }

struct Layer : Map {
    std::vector<Reach> places;
};

Layer describe(const Geometry& geometry, int n_steps, bool joined) {
    Layer map{};
    int padding;
    std::tie(map.height, map.width, map.channels, map.n_filters, map.size, padding, map.stride, map.out_height, map.out_width) =
        geometry;
    map.positions = map.out_height * map.out_width;
    map.groups = (map.n_filters + kLanes - 1) / kLanes;
    map.row = map.groups * kLanes;
    map.n_steps = n_steps;
    map.n_in = map.height * map.width * map.channels;
    map.n_out = map.positions * map.n_filters;
    map.in_words = (map.n_in + 63) / 64;
    map.out_words = (map.n_out + 63) / 64;
    if (!joined) return map;
    map.out_stride = static_cast<std::size_t>(map.out_width) * map.row;
    map.tap_stride = static_cast<std::size_t>(map.channels) * map.size * map.row;
    map.n_taps = map.size * map.tap_stride;
    require(map.n_taps < INT32_MAX && map.positions * map.out_stride < INT32_MAX,
            "the convolution is too large");
    for (int y = 0; y < map.height; ++y)
        for (int x = 0; x < map.width; ++x)
            for (int c = 0; c < map.channels; ++c) {
                const int top = y + padding - map.size + 1, left = x + padding - map.size + 1;
                const auto [y0, y1] = inside(top, map.size, map.out_height);
                const auto [x0, x1] = inside(left, map.size, map.out_width);
                Reach reach{};
                if (y1 > y0 && x1 > x0)
                    reach = {((top + y0) * map.out_width + left + x0) * map.row,
                             ((y0 * map.channels + c) * map.size + x0) * map.row, y1 - y0, (x1 - x0) * map.row};
                map.places.push_back(reach);
            }
    map.reach = map.places.data();
    return map;
}

// What one thread works in.
class Workspace {
  public:
    Workspace(const Map& map, int refractory)
        : words_(std::max<std::size_t>(map.out_words, map.n_steps + refractory)),
          floats_(zeros(std::max<std::size_t>(7 * static_cast<std::size_t>(map.positions) * map.row, 64 * std::size_t(map.n_steps)))) {}
    Memory memory() { return {floats_.get(), words_.data()}; }

  private:
    std::vector<std::uint64_t> words_;
    Floats floats_;
};

// Where filter 0 of a tap of the weights (size, size, channels, n_filters) lies in the kernels' order.
std::size_t place(const Map& map, int ky, int kx, int c) {
    return (map.size - 1 - ky) * map.tap_stride + (static_cast<std::size_t>(c) * map.size + map.size - 1 - kx) * map.row;
}

template <class Body>
void over_taps(const Map& map, const Body& body) {
    std::size_t row = 0;
    for (int ky = 0; ky < map.size; ++ky)
        for (int kx = 0; kx < map.size; ++kx)
            for (int c = 0; c < map.channels; ++c, row += map.n_filters) body(row, place(map, ky, kx, c));
}

Floats lay_out(const Map& map, const Weight& weight) {
    if (!weight) return nullptr;
    require(weight->size() == static_cast<std::size_t>(map.size) * map.size * map.channels * map.n_filters,
            "the weights do not fit the convolution");
    Floats taps = zeros(map.n_taps);
    over_taps(map, [&](std::size_t from, std::size_t to) {
        std::memcpy(taps.get() + to, weight->data() + from, map.n_filters * sizeof(float));
    });
    return taps;
}

// body(begin, end) for shares of `items`, on up to `threads` threads.
template <class Body>
void shared(int items, int threads, const Body& body) {
    const int parts = std::max(1, std::min(threads, items));
    parallel(parts, [&](int part) {
        const spike_train::FlushDenormals flush;
        std::size_t begin, end;
        share(items, part, parts, begin, end);
        body(begin, end);
    });
}

const std::uint64_t* row(const Words& words, std::size_t b) {
    return reinterpret_cast<const std::uint64_t*>(words.data()) + b * words.shape(1) * words.shape(2);
}

void require_words(const Words& words, int batch, int n_steps, int n_words, const char* message) {
    require(static_cast<int>(words.shape(0)) == batch && static_cast<int>(words.shape(1)) == n_steps &&
                static_cast<int>(words.shape(2)) == n_words, message);
}

nb::tuple forward(Words in, Weight weight, Geometry geometry, std::tuple<float, float, float, float, float, int> neuron,
                  int threads, const std::string& isa) {
    const Kernels& kernels = choose(isa);
    const int batch = static_cast<int>(in.shape(0)), n_steps = static_cast<int>(in.shape(1));
    const Layer map = describe(geometry, n_steps, weight.has_value());
    require_words(in, batch, n_steps, map.in_words, "the input's words do not fit the map");
    const auto& [threshold, epsilon, beta_m, beta_s, rate, refractory] = neuron;
    const Lif lif{beta_m, beta_s, rate, threshold - epsilon, refractory, 0.0f};
    const std::size_t samples = batch, n = map.n_out, words = static_cast<std::size_t>(n_steps) * map.out_words;
    auto spikes = make<std::int64_t>({samples, std::size_t(n_steps), std::size_t(map.out_words)});
    auto counts = make<float>({samples, n}), tpsp = make<float>({samples, n}), membrane = make<float>({samples, n});
    {
        nb::gil_scoped_release release;
        const Floats taps = lay_out(map, weight);
        shared(batch, threads, [&](std::size_t begin, std::size_t end) {
            Workspace work(map, refractory);
            for (std::size_t b = begin; b < end; ++b) {
                const Outcome out{reinterpret_cast<std::uint64_t*>(spikes.data()) + b * words, counts.data() + b * n,
                                  tpsp.data() + b * n, membrane.data() + b * n};
                if (taps)
                    kernels.conv_forward(map, lif, taps.get(), row(in, b), out, work.memory());
                else
                    kernels.pool_forward(map, lif, row(in, b), out, work.memory());
            }
        });
    }
    return nb::make_tuple(spikes, counts, tpsp, membrane);
}

using Adjoint = std::tuple<float, float, float, int, int>;

Back constants(const Adjoint& adjoint) {
    const auto [decay_m, decay_s, gain, late, refractory] = adjoint;
    return {decay_m, decay_s, gain, late, refractory};
}

// Samples are summed block by block, blocks in order: the sum does not depend on the number of threads.
constexpr int kBlocks = 16;

nb::tuple backward(Words in, Weight weight, Words out, Geometry geometry, Adjoint adjoint, int bin,
                   std::optional<Rows> weight_scale, std::optional<Rows> error_scale, int threads, const std::string& isa) {
    const Kernels& kernels = choose(isa);
    const int batch = static_cast<int>(in.shape(0)), n_steps = static_cast<int>(in.shape(1));
    const Layer map = describe(geometry, n_steps, weight.has_value());
    require_words(in, batch, n_steps, map.in_words, "the input's words do not fit the map");
    require_words(out, batch, n_steps, map.out_words, "the output's words do not fit the map");
    for (const auto* scale : {&weight_scale, &error_scale})
        require(!*scale || (static_cast<int>((*scale)->shape(0)) == batch && static_cast<int>((*scale)->shape(1)) == map.n_out),
                "a scale is not (batch, n_out)");
    require(weight ? weight_scale || error_scale : !weight_scale && error_scale, "nothing to compute, or pooling with weights");
    const Back back = constants(adjoint);
    const std::size_t n_error = error_scale ? static_cast<std::size_t>(batch) * map.n_in : 0;
    auto error = make<float>({error_scale ? std::size_t(batch) : 0, std::size_t(map.n_in)});
    auto d_weight = make<float>({weight_scale ? std::size_t(map.size) : 0, std::size_t(map.size), std::size_t(map.channels),
                                 std::size_t(map.n_filters)});
    {
        nb::gil_scoped_release release;
        if (n_error) std::memset(error.data(), 0, n_error * sizeof(float));
        const Floats taps = lay_out(map, weight);
        const int blocks = std::max(1, std::min(batch, kBlocks));
        const Floats sums = weight_scale ? zeros(blocks * map.n_taps) : nullptr;
        float* const d_taps = sums.get();
        shared(blocks, threads, [&](std::size_t first, std::size_t last) {
            Workspace work(map, back.refractory);
            for (std::size_t block = first; block < last; ++block) {
                std::size_t begin, end;
                share(batch, static_cast<int>(block), blocks, begin, end);
                for (std::size_t b = begin; b < end; ++b) {
                    const Sample sample{row(in, b), row(out, b), weight_scale ? weight_scale->data() + b * map.n_out : nullptr,
                                        error_scale ? error_scale->data() + b * map.n_out : nullptr,
                                        error_scale ? error.data() + b * map.n_in : nullptr};
                    if (taps)
                        kernels.conv_backward(map, back, bin, taps.get(), sample, d_taps ? d_taps + block * map.n_taps : nullptr,
                                              work.memory());
                    else
                        kernels.pool_backward(map, back, bin, sample, work.memory());
                }
            }
        });
        if (d_taps) {
            for (int block = 1; block < blocks; ++block)
                for (std::size_t i = 0; i < map.n_taps; ++i) d_taps[i] += d_taps[block * map.n_taps + i];
            over_taps(map, [&](std::size_t to, std::size_t from) {
                std::memcpy(d_weight.data() + to, d_taps + from, map.n_filters * sizeof(float));
            });
        }
    }
    return nb::make_tuple(d_weight, error);
}

Out<float> tpsp(Words in, Weight weight, Words out, Geometry geometry, Adjoint adjoint, int threads, const std::string& isa) {
    const Kernels& kernels = choose(isa);
    const int batch = static_cast<int>(in.shape(0)), n_steps = static_cast<int>(in.shape(1));
    const Layer map = describe(geometry, n_steps, weight.has_value());
    require_words(in, batch, n_steps, map.in_words, "the input's words do not fit the map");
    require_words(out, batch, n_steps, map.out_words, "the output's words do not fit the map");
    const Back back = constants(adjoint);
    auto a = make<float>({std::size_t(batch), std::size_t(map.n_out)});
    {
        nb::gil_scoped_release release;
        const Floats taps = lay_out(map, weight);
        shared(batch, threads, [&](std::size_t begin, std::size_t end) {
            Workspace work(map, back.refractory);
            for (std::size_t b = begin; b < end; ++b) {
                const Sample sample{row(in, b), row(out, b), nullptr, nullptr, nullptr};
                if (taps)
                    kernels.conv_tpsp(map, back, taps.get(), sample, a.data() + b * map.n_out, work.memory());
                else
                    kernels.pool_tpsp(map, back, sample, a.data() + b * map.n_out, work.memory());
            }
        });
    }
    return a;
}

}  // namespace
}  // namespace bitspike::spike_train_conv

void bind_spike_train_conv(nanobind::module_& m) {
    namespace maps = bitspike::spike_train_conv;
    using namespace nanobind::literals;
    m.def("map_forward", &maps::forward, "spikes"_a, "weight"_a.none(), "geometry"_a, "neuron"_a, "threads"_a, "isa"_a);
    m.def("map_backward", &maps::backward, "spikes"_a, "weight"_a.none(), "out"_a, "geometry"_a, "adjoint"_a, "bin"_a,
          "weight_scale"_a.none(), "error_scale"_a.none(), "threads"_a, "isa"_a);
    m.def("map_tpsp", &maps::tpsp, "spikes"_a, "weight"_a.none(), "out"_a, "geometry"_a, "adjoint"_a, "threads"_a, "isa"_a);
}
