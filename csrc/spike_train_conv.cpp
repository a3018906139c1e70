// Python's door to the kernels of spike trains on maps: lays the taps out, shares the samples among threads.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "array.hpp"
#include "spike_train_conv.hpp"

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace bitspike::spike_train_conv {

float* Scratch::zeros(std::size_t n) {
    if (n > size_) {
        data_.reset();
        data_.reset(static_cast<float*>(::operator new(n * sizeof(float), std::align_val_t{64})));
        size_ = n;
    }
    std::memset(data_.get(), 0, n * sizeof(float));
    return data_.get();
}

namespace {

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

void require(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

// Denormals are flushed to zero while it lives: a decaying trace would otherwise slow down a hundredfold.
class FlushDenormals {
  public:
#if defined(__SSE__)
    FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
    ~FlushDenormals() { _mm_setcsr(before_); }

  private:
    unsigned before_;
#endif
};

// First and last + 1 of the `size` places from `first` on that lie in 0..n-1, counted from `first`.
std::pair<int, int> inside(int first, int size, int n) { return {std::max(0, -first), std::min(size, n - first)}; }

Map describe(const Geometry& geometry, int n_steps, bool joined) {
    Map map{};
    int padding;
    std::tie(map.height, map.width, map.channels, map.n_filters, map.size, padding, map.stride, map.out_height, map.out_width) =
        geometry;
    map.groups = (map.n_filters + kLanes - 1) / kLanes;
    map.row = map.groups * kLanes;
    map.n_steps = n_steps;
    map.n_in = map.height * map.width * map.channels;
    map.n_out = map.positions() * map.n_filters;
    map.in_words = (map.n_in + 63) / 64;
    map.out_words = (map.n_out + 63) / 64;
    map.out_stride = static_cast<std::size_t>(map.out_width) * map.row;
    map.tap_stride = static_cast<std::size_t>(map.channels) * map.size * map.row;
    map.n_taps = map.size * map.tap_stride;
    if (!joined) return map;
    require(map.n_taps < INT32_MAX && map.padded() < INT32_MAX, "the convolution is too large");
    for (int y = 0; y < map.height; ++y)
        for (int x = 0; x < map.width; ++x)
            for (int c = 0; c < map.channels; ++c) {
                const int top = y + padding - map.size + 1, left = x + padding - map.size + 1;
                const auto [y0, y1] = inside(top, map.size, map.out_height);
                const auto [x0, x1] = inside(left, map.size, map.out_width);
                if (y1 <= y0 || x1 <= x0) {
                    map.reach.push_back({0, 0, 0, 0});
                    continue;
                }
                map.reach.push_back({((top + y0) * map.out_width + left + x0) * map.row,
                                     ((y0 * map.channels + c) * map.size + x0) * map.row, y1 - y0, (x1 - x0) * map.row});
            }
    return map;
}

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

const float* lay_out(const Map& map, const Weight& weight, Scratch& scratch) {
    if (!weight) return nullptr;
    require(weight->size() == static_cast<std::size_t>(map.size) * map.size * map.channels * map.n_filters,
            "the weights do not fit the convolution");
    float* taps = scratch.zeros(map.n_taps);
    over_taps(map, [&](std::size_t from, std::size_t to) {
        std::memcpy(taps + to, weight->data() + from, map.n_filters * sizeof(float));
    });
    return taps;
}

// body(begin, end) for shares of `items`, on up to `threads` threads.
template <class Body>
void shared(int items, int threads, const Body& body) {
    const int parts = std::max(1, std::min(threads, items));
    parallel(parts, [&](int part) {
        const FlushDenormals flush;
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
    const Map map = describe(geometry, n_steps, weight.has_value());
    require_words(in, batch, n_steps, map.in_words, "the input's words do not fit the map");
    const auto [threshold, epsilon, beta_m, beta_s, rate, refractory] = neuron;
    const Neuron constants{threshold - epsilon, beta_m, beta_s, rate, refractory};
    const std::size_t samples = batch, n = map.n_out, words = static_cast<std::size_t>(n_steps) * map.out_words;
    auto spikes = make<std::int64_t>({samples, std::size_t(n_steps), std::size_t(map.out_words)});
    auto counts = make<float>({samples, n}), tpsp = make<float>({samples, n}), membrane = make<float>({samples, n});
    {
        nb::gil_scoped_release release;
        Scratch laid_out;
        const float* taps = lay_out(map, weight, laid_out);
        shared(batch, threads, [&](std::size_t begin, std::size_t end) {
            Scratch scratch;
            for (std::size_t b = begin; b < end; ++b)
                kernels.forward(map, constants, taps, row(in, b),
                                {reinterpret_cast<std::uint64_t*>(spikes.data()) + b * words, counts.data() + b * n,
                                 tpsp.data() + b * n, membrane.data() + b * n}, scratch);
        });
    }
    return nb::make_tuple(spikes, counts, tpsp, membrane);
}

using AdjointTuple = std::tuple<float, float, float, int, int, int>;

Adjoint constants(const AdjointTuple& how) {
    const auto [decay_m, decay_s, gain, late, refractory, bin] = how;
    return {decay_m, decay_s, gain, late, refractory, bin};
}

// Samples are summed block by block, blocks in order: the sum does not depend on the number of threads.
constexpr int kBlocks = 16;

nb::tuple backward(Words in, Weight weight, Words out, Geometry geometry, AdjointTuple adjoint, std::optional<Rows> weight_scale,
                   std::optional<Rows> error_scale, int threads, const std::string& isa) {
    const Kernels& kernels = choose(isa);
    const int batch = static_cast<int>(in.shape(0)), n_steps = static_cast<int>(in.shape(1));
    const Map map = describe(geometry, n_steps, weight.has_value());
    require_words(in, batch, n_steps, map.in_words, "the input's words do not fit the map");
    require_words(out, batch, n_steps, map.out_words, "the output's words do not fit the map");
    for (const auto* scale : {&weight_scale, &error_scale})
        require(!*scale || (static_cast<int>((*scale)->shape(0)) == batch && static_cast<int>((*scale)->shape(1)) == map.n_out),
                "a scale is not (batch, n_out)");
    require(weight || !weight_scale, "pooling has no weights");
    const Adjoint how = constants(adjoint);
    const std::size_t n_error = error_scale ? static_cast<std::size_t>(batch) * map.n_in : 0;
    auto error = make<float>({error_scale ? std::size_t(batch) : 0, std::size_t(map.n_in)});
    auto d_weight = make<float>({weight_scale ? std::size_t(map.size) : 0, std::size_t(map.size), std::size_t(map.channels),
                                 std::size_t(map.n_filters)});
    {
        nb::gil_scoped_release release;
        if (n_error) std::memset(error.data(), 0, n_error * sizeof(float));
        Scratch laid_out, sums;
        const float* taps = lay_out(map, weight, laid_out);
        const int blocks = std::max(1, std::min(batch, kBlocks));
        float* d_taps = weight_scale ? sums.zeros(blocks * map.n_taps) : nullptr;
        shared(blocks, threads, [&](std::size_t first, std::size_t last) {
            Scratch scratch;
            for (std::size_t block = first; block < last; ++block) {
                std::size_t begin, end;
                share(batch, static_cast<int>(block), blocks, begin, end);
                for (std::size_t b = begin; b < end; ++b)
                    kernels.backward(map, how, taps,
                                     {row(in, b), row(out, b), weight_scale ? weight_scale->data() + b * map.n_out : nullptr,
                                      error_scale ? error_scale->data() + b * map.n_out : nullptr,
                                      error_scale ? error.data() + b * map.n_in : nullptr},
                                     d_taps ? d_taps + block * map.n_taps : nullptr, scratch);
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

Out<float> tpsp(Words in, Weight weight, Words out, Geometry geometry, AdjointTuple adjoint, int threads, const std::string& isa) {
    const Kernels& kernels = choose(isa);
    const int batch = static_cast<int>(in.shape(0)), n_steps = static_cast<int>(in.shape(1));
    const Map map = describe(geometry, n_steps, weight.has_value());
    require_words(in, batch, n_steps, map.in_words, "the input's words do not fit the map");
    require_words(out, batch, n_steps, map.out_words, "the output's words do not fit the map");
    const Adjoint how = constants(adjoint);
    auto a = make<float>({std::size_t(batch), std::size_t(map.n_out)});
    {
        nb::gil_scoped_release release;
        Scratch laid_out;
        const float* taps = lay_out(map, weight, laid_out);
        shared(batch, threads, [&](std::size_t begin, std::size_t end) {
            Scratch scratch;
            for (std::size_t b = begin; b < end; ++b)
                kernels.tpsp(map, how, taps, {row(in, b), row(out, b), nullptr, nullptr, nullptr}, a.data() + b * map.n_out, scratch);
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
    m.def("map_backward", &maps::backward, "spikes"_a, "weight"_a.none(), "out"_a, "geometry"_a, "adjoint"_a,
          "weight_scale"_a.none(), "error_scale"_a.none(), "threads"_a, "isa"_a);
    m.def("map_tpsp", &maps::tpsp, "spikes"_a, "weight"_a.none(), "out"_a, "geometry"_a, "adjoint"_a, "threads"_a, "isa"_a);
}
