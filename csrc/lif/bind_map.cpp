// Spike trains on maps for Python: lays the taps out, shares the samples among threads.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>


#include "lif/map_kernels.hpp"
#include "lif/spikes.hpp"

namespace bitspike::lif::map {

namespace {

constexpr int kLanes = 16;

using Words = In<std::int64_t, 3>;
using Scale = std::optional<In<float, 2>>;
using Weight = std::optional<In<float, 4>>;
// height, width, channels, n_filters, size, padding, stride, out_height, out_width
using Geometry = std::tuple<int, int, int, int, int, int, int, int, int>;

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
    map.in_words = words_of(map.n_in);
    map.out_words = words_of(map.n_out);
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

Memory memory_of(const Map& map, int refractory) {
    const std::size_t state = 7 * static_cast<std::size_t>(map.positions) * map.row, steps = map.n_steps;
    return {scratch<float, struct OfMaps>(std::max(state, 64 * steps)),
            scratch<std::uint64_t, struct OfMaps>(std::max<std::size_t>(map.out_words, steps + refractory))};
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

// The weights in the kernels' order, in memory that the calling thread keeps; null for pooling.
const float* lay_out(const Map& map, const Weight& weight) {
    if (!weight) return nullptr;
    const int size = map.size;
    require(weight->shape(0) == std::size_t(size) && weight->shape(1) == std::size_t(size) &&
                weight->shape(2) == std::size_t(map.channels) && weight->shape(3) == std::size_t(map.n_filters),
            "the weights do not fit the convolution");
    float* taps = scratch<float, struct OfTaps>(map.n_taps);
    std::memset(taps, 0, map.n_taps * sizeof(float));
    over_taps(map, [&](std::size_t from, std::size_t to) {
        std::memcpy(taps + to, weight->data() + from, map.n_filters * sizeof(float));
    });
    return taps;
}

nb::tuple forward(Words bits, Weight weight, const Geometry& geometry, const LifTuple& lif_constants, int threads,
                  const std::string& isa) {
    const Kernels& kernels = BITSPIKE_PICK(kernels, isa);
    const Layer map = describe(geometry, static_cast<int>(bits.shape(1)), weight.has_value());
    const SpikeBits in(bits, map.n_in);
    const Lif lif = lif_of(lif_constants);
    const std::size_t batch = in.batch, n = map.n_out, words = map.out_words;
    auto spikes = make<std::int64_t>({batch, std::size_t(map.n_steps), words});
    auto counts = make<float>({batch, n}), tpsp = make<float>({batch, n}), membrane = make<float>({batch, n});
    {
        nb::gil_scoped_release release;
        const float* const taps = lay_out(map, weight);
        over(batch, threads, [&](std::size_t begin, std::size_t end) {
            const Memory memory = memory_of(map, lif.refractory);
            for (std::size_t b = begin; b < end; ++b) {
                const Outcome out{reinterpret_cast<std::uint64_t*>(spikes.data()) + b * map.n_steps * words, counts.data() + b * n,
                                  tpsp.data() + b * n, membrane.data() + b * n};
                if (taps)
                    kernels.conv_forward(map, lif, taps, in.sample(b), out, memory);
                else
                    kernels.pool_forward(map, lif, in.sample(b), out, memory);
            }
        });
    }
    return nb::make_tuple(spikes, counts, tpsp, membrane);
}

void require_like(const SpikeBits& in, const SpikeBits& out) {
    require(in.batch == out.batch && in.n_steps == out.n_steps, "input and output spikes differ in samples or steps");
}

// Samples are summed block by block, then the blocks in order: a sum does not depend on the number of threads.
constexpr std::size_t kBlocks = 16;

nb::tuple backward(Words in_bits, Weight weight, Words out_bits, const Geometry& geometry, const BackTuple& adjoint, int bin,
                   Scale weight_scale, Scale error_scale, int threads, const std::string& isa) {
    const Kernels& kernels = BITSPIKE_PICK(kernels, isa);
    const Layer map = describe(geometry, static_cast<int>(in_bits.shape(1)), weight.has_value());
    const SpikeBits in(in_bits, map.n_in), out(out_bits, map.n_out);
    require_like(in, out);
    const std::size_t batch = in.batch, n_in = map.n_in, n_out = map.n_out, size = map.size;
    for (const Scale* scale : {&weight_scale, &error_scale})
        require(!*scale || ((*scale)->shape(0) == batch && (*scale)->shape(1) == n_out), "a scale is not (batch, n_out)");
    require(weight ? weight_scale || error_scale : error_scale && !weight_scale, "a convolution needs a scale, pooling that of errors");
    const Back back = back_of(adjoint);
    auto error = make<float>({error_scale ? batch : 0, n_in});
    auto d_weight = make<float>({weight_scale ? size : 0, size, std::size_t(map.channels), std::size_t(map.n_filters)});
    {
        nb::gil_scoped_release release;
        const float* const taps = lay_out(map, weight);
        const std::size_t blocks = std::min(batch, kBlocks);
        float* const d_taps = weight_scale ? scratch<float, struct OfGradients>((blocks + 1) * map.n_taps) : nullptr;
        over(blocks, threads, [&](std::size_t first, std::size_t last) {
            const Memory memory = memory_of(map, back.refractory);
            for (std::size_t block = first; block < last; ++block) {
                float* const sum = d_taps ? d_taps + block * map.n_taps : nullptr;
                if (sum) std::memset(sum, 0, map.n_taps * sizeof(float));
                std::size_t begin, end;
                share(batch, static_cast<int>(block), static_cast<int>(blocks), begin, end);
                for (std::size_t b = begin; b < end; ++b) {
                    const Sample sample{in.sample(b), out.sample(b), weight_scale ? weight_scale->data() + b * n_out : nullptr,
                                        error_scale ? error_scale->data() + b * n_out : nullptr,
                                        error_scale ? error.data() + b * n_in : nullptr};
                    if (sample.error) std::memset(sample.error, 0, n_in * sizeof(float));
                    if (taps)
                        kernels.conv_backward(map, back, bin, taps, sample, sum, memory);
                    else
                        kernels.pool_backward(map, back, bin, sample, memory);
                }
            }
        });
        if (d_taps) {
            float* const total = d_taps + blocks * map.n_taps;
            std::memset(total, 0, map.n_taps * sizeof(float));
            for (std::size_t block = 0; block < blocks; ++block)
                for (std::size_t i = 0; i < map.n_taps; ++i) total[i] += d_taps[block * map.n_taps + i];
            over_taps(map, [&](std::size_t to, std::size_t from) {
                std::memcpy(d_weight.data() + to, total + from, map.n_filters * sizeof(float));
            });
        }
    }
    return nb::make_tuple(d_weight, error);
}

Out<float> tpsp(Words in_bits, Weight weight, Words out_bits, const Geometry& geometry, const BackTuple& adjoint, int threads,
                const std::string& isa) {
    const Kernels& kernels = BITSPIKE_PICK(kernels, isa);
    const Layer map = describe(geometry, static_cast<int>(in_bits.shape(1)), weight.has_value());
    const SpikeBits in(in_bits, map.n_in), out(out_bits, map.n_out);
    require_like(in, out);
    const Back back = back_of(adjoint);
    const std::size_t batch = in.batch, n = map.n_out;
    auto a = make<float>({batch, n});
    {
        nb::gil_scoped_release release;
        const float* const taps = lay_out(map, weight);
        over(batch, threads, [&](std::size_t begin, std::size_t end) {
            const Memory memory = memory_of(map, back.refractory);
            for (std::size_t b = begin; b < end; ++b) {
                const Sample sample{in.sample(b), out.sample(b), nullptr, nullptr, nullptr};
                if (taps)
                    kernels.conv_tpsp(map, back, taps, sample, a.data() + b * n, memory);
                else
                    kernels.pool_tpsp(map, back, sample, a.data() + b * n, memory);
            }
        });
    }
    return a;
}

}  // namespace
}  // namespace bitspike::lif::map

void bind_lif_map(nanobind::module_& m) {
    namespace maps = bitspike::lif::map;
    using namespace nanobind::literals;
    m.def("spike_train_map_forward", &maps::forward, "spikes"_a, "weight"_a.none(), "geometry"_a, "neuron"_a, "threads"_a, "isa"_a);
    m.def("spike_train_map_backward", &maps::backward, "spikes"_a, "weight"_a.none(), "out"_a, "geometry"_a, "adjoint"_a, "bin"_a,
          "weight_scale"_a.none(), "error_scale"_a.none(), "threads"_a, "isa"_a);
    m.def("spike_train_map_tpsp", &maps::tpsp, "spikes"_a, "weight"_a.none(), "out"_a, "geometry"_a, "adjoint"_a, "threads"_a, "isa"_a);
}
