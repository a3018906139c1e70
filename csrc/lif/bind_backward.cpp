// Spike trains for Python, backward: the adjoint, weight gradient, error, T-PSP.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include "lif/spikes.hpp"

namespace bitspike::lif {
namespace {

using Maybe = std::optional<In<float, 2>>;

constexpr int kChunk = 16;  // samples summed in one go where a layer is a single tile

// The spikes of every sample by input, in memory that the calling thread keeps.
std::vector<ByInput> by_inputs(const SpikeBits& x, int bin, const Kernels& kernels, int threads) {
    std::vector<std::size_t> begins = list_begins(x, kernels, threads);
    std::vector<ByInput> lists(x.batch);
    Entry* entries = scratch<Entry, struct OfEntries>(begins[x.batch]);
    const std::size_t n = x.n;
    std::int32_t* index = scratch<std::int32_t, struct OfIndex>(3 * n * x.batch);
    over(x.batch, threads, [&](std::size_t begin, std::size_t end) {
        std::uint64_t* columns = scratch<std::uint64_t, struct OfColumns>(64 * static_cast<std::size_t>(words_of(x.n_steps)));
        for (std::size_t b = begin; b < end; ++b) {
            std::int32_t *inputs = index + 3 * n * b, *starts = inputs + n, *ends = starts + n;
            Entry* to = entries + begins[b];
            const int n_active = kernels.by_input(x.sample(b), x.n, x.n_steps, x.words, bin, columns, to, inputs, starts, ends);
            lists[b] = {to, inputs, starts, ends, n_active};
        }
    });
    return lists;
}

// The neurons that fired in each sample: bits (batch, words).
std::vector<std::uint64_t> that_fired(const SpikeBits& out, int threads) {
    std::vector<std::uint64_t> any(static_cast<std::size_t>(out.batch) * out.words, 0);
    over(out.batch, threads, [&](std::size_t begin, std::size_t end) {
        for (std::size_t b = begin; b < end; ++b)
            for (int t = 0; t < out.n_steps; ++t)
                for (int w = 0; w < out.words; ++w)
                    any[b * out.words + w] |= out.sample(b)[static_cast<std::size_t>(t) * out.words + w];
    });
    return any;
}

// Neurons of a tile, and their spikes and clamps as bits (n_steps, words).
class TileNeurons {
  public:
    int n, words;
    const std::int32_t* lanes = nullptr;  // their numbers within the tile; null: all of it
    std::uint64_t *fired, *held;

    // All neurons first..first + width - 1 of a sample, or, where they are few, those that `keep` marks.
    TileNeurons(const SpikeBits& out, std::size_t b, int first, int width, const std::uint64_t* keep, int n_kept, const Back& back,
                const Kernels& kernels)
        : n(keep && 2 * n_kept < width ? n_kept : width), words(words_of(n)) {
        const std::uint64_t* bits = out.sample(b) + first / 64;
        const std::size_t size = static_cast<std::size_t>(out.n_steps) * words;
        fired = scratch<std::uint64_t, struct OfFired>(size);
        held = scratch<std::uint64_t, struct OfHeld>(size);
        if (n < width) {
            std::int32_t *numbers = scratch<std::int32_t, struct OfLanes>(kTileLanes), *to = numbers;
            for (int w = 0; w < words_of(width); ++w)
                for (std::uint64_t left = keep[w]; left; left &= left - 1) *to++ = w * 64 + __builtin_ctzll(left);
            lanes = numbers;
            kernels.squeeze(bits, out.words, keep, words_of(width), out.n_steps, fired, words);
        } else {
            for (int t = 0; t < out.n_steps; ++t)
                std::memcpy(fired + static_cast<std::size_t>(t) * words, bits + static_cast<std::size_t>(t) * out.words, words * 8);
        }
        std::fill(held, held + size, 0);
        for (int d = 1; d <= back.refractory && d < out.n_steps; ++d) {
            const std::size_t shift = static_cast<std::size_t>(d) * words;
            for (std::size_t i = shift; i < size; ++i) held[i] |= fired[i - shift];
        }
    }
    int vectors() const { return (n + 15) / 16; }
};

// Words of neurons of a tile: its gradient stays in the second cache.
int tile_words(int n_in, int n_out) {
    const int fits = static_cast<int>(640 * 1024 / (static_cast<std::size_t>(n_in) * 64 * sizeof(float)));
    return std::max(1, std::min({kTileLanes / 64, fits, words_of(n_out)}));
}

// The columns of a tile from an array (n), in the order of its active neurons, 0 beyond them.
void take(const float* from, const TileNeurons& active, float* to) {
    for (int i = 0; i < active.n; ++i) to[i] = from[active.lanes ? active.lanes[i] : i];
    std::fill(to + active.n, to + active.vectors() * 16, 0.0f);
}

struct Sums {
    const SpikeBits &x, &out;
    const std::vector<ByInput>& inputs;
    const std::vector<std::uint64_t>& any;
    const Kernels& kernels;
    Back back;
    int bin;
    const float *weight, *weight_scale, *error_scale;  // null: not wanted
    float* tpsp;                                       // (batch, n_out), or null

    // One sample of a tile: adds to d_weight (n_in, d_stride), writes error (n_in), tpsp.
    void operator()(std::size_t b, int first, int width, float* d_weight, std::size_t d_stride, float* error) const {
        const std::size_t at = b * out.n + first;
        if (error) std::fill(error, error + x.n, 0.0f);
        if (tpsp) std::fill(tpsp + at, tpsp + at + width, 0.0f);
        // Neurons without a spike, or whose scales are 0, add nothing.
        std::uint64_t keep[kTileLanes / 64] = {};
        for (int i = 0; i < width; ++i) {
            const bool wanted = tpsp || (weight_scale && weight_scale[at + i] != 0.0f) || (error_scale && error_scale[at + i] != 0.0f);
            keep[i / 64] |= static_cast<std::uint64_t>(wanted) << (i % 64);
        }
        int n_kept = 0;
        for (int w = 0; w < words_of(width); ++w) {
            keep[w] &= any[b * out.words + first / 64 + w];
            n_kept += __builtin_popcountll(keep[w]);
        }
        if (n_kept == 0) return;
        const TileNeurons active(out, b, first, width, keep, n_kept, back, kernels);
        const int vectors = active.vectors(), places = (x.n_steps + bin - 1) / bin;
        float* rows = scratch<float, struct OfAdjoint>(static_cast<std::size_t>(places) * vectors * 16);
        kernels.adjoint({back, x.n_steps, active.words, vectors, active.fired, active.held}, bin, true, rows);
        alignas(64) float d_scale[kTileLanes], e_scale[kTileLanes], a[kTileLanes] = {};
        if (weight_scale) take(weight_scale + at, active, d_scale);
        if (error_scale) take(error_scale + at, active, e_scale);
        kernels.gather(inputs[b], {rows, vectors, active.n, active.lanes, bin > 1, weight ? weight + first : nullptr,
                                           static_cast<std::size_t>(out.n), d_scale, weight_scale ? d_weight : nullptr, d_stride,
                                           e_scale, error, tpsp ? a : nullptr});
        if (tpsp)
            for (int i = 0; i < active.n; ++i) tpsp[at + (active.lanes ? active.lanes[i] : i)] = a[i];
    }
};

// d_weight (n_in, n_out) or None, error (batch, n_in) or None, tpsp (batch, n_out) or None.
nb::tuple backward(In<std::int64_t, 3> in_bits, In<std::int64_t, 3> out_bits, int n_in, int n_out, Maybe weight, Maybe weight_scale,
                   Maybe error_scale, bool want_tpsp, const BackTuple& constants, int bin, int threads, const std::string& isa) {
    const Kernels& kernels = BITSPIKE_PICK(kernels, isa);
    const SpikeBits x(in_bits, n_in), out(out_bits, n_out);
    require(x.batch == out.batch && x.n_steps == out.n_steps, "spikes in and out differ in batch or steps");
    const auto fits = [](const Maybe& a, int rows, int columns) {
        return !a || (static_cast<int>(a->shape(0)) == rows && static_cast<int>(a->shape(1)) == columns);
    };
    require(fits(weight, n_in, n_out) && fits(weight_scale, x.batch, n_out) && fits(error_scale, x.batch, n_out),
            "weight or scales do not fit the spikes");
    require(weight || (!error_scale && !want_tpsp), "error and tpsp need the weight");
    require(bin >= 1, "a bin has 1 step or more");
    const std::size_t batch = x.batch;
    auto d_weight = make<float>({weight_scale ? std::size_t(n_in) : 0, std::size_t(n_out)});
    auto error = make<float>({error_scale ? batch : 0, std::size_t(n_in)});
    auto tpsp = make<float>({want_tpsp ? batch : 0, std::size_t(n_out)});
    {
        nb::gil_scoped_release release;
        const std::vector<ByInput> inputs = by_inputs(x, bin, kernels, threads);
        const std::vector<std::uint64_t> any = that_fired(out, threads);
        const Sums sums = {x, out, inputs, any, kernels, back_of(constants), bin, weight ? weight->data() : nullptr,
                           weight_scale ? weight_scale->data() : nullptr, error_scale ? error_scale->data() : nullptr,
                           want_tpsp ? tpsp.data() : nullptr};
        const int width = tile_words(n_in, n_out) * 64, tiles = (n_out + width - 1) / width;
        // A single tile is split by samples, always alike, so that the sum has one order whatever the number of threads.
        const std::size_t chunks = tiles == 1 ? (batch + kChunk - 1) / kChunk : 1;
        const std::size_t per_chunk = tiles == 1 ? kChunk : batch, padded = (std::min(width, n_out) + 15) / 16 * 16;
        const std::size_t part = static_cast<std::size_t>(n_in) * padded;
        float* parts = weight_scale && tiles == 1 ? scratch<float, struct OfParts>(chunks * part) : nullptr;
        float* errors = error_scale ? scratch<float, struct OfErrors>(static_cast<std::size_t>(tiles) * batch * n_in) : nullptr;
        over(tiles * chunks, threads, [&](std::size_t begin, std::size_t end) {
            for (std::size_t unit = begin; unit < end; ++unit) {
                const std::size_t tile = unit / chunks, chunk = unit % chunks;
                const int first = static_cast<int>(tile) * width, lanes = std::min(width, n_out - first);
                float* sum = nullptr;
                if (weight_scale) {
                    sum = parts ? parts + chunk * part : scratch<float, struct OfTile>(part);
                    std::fill(sum, sum + part, 0.0f);
                }
                for (std::size_t b = chunk * per_chunk; b < std::min(batch, (chunk + 1) * per_chunk); ++b)
                    sums(b, first, lanes, sum, padded, errors ? errors + (tile * batch + b) * n_in : nullptr);
                if (!weight_scale || parts) continue;
                for (std::size_t i = 0; i < static_cast<std::size_t>(n_in); ++i)
                    std::memcpy(d_weight.data() + i * n_out + first, sum + i * padded, lanes * sizeof(float));
            }
        });
        if (weight_scale && tiles == 1)
            for (std::size_t i = 0; i < static_cast<std::size_t>(n_in); ++i)
                for (int k = 0; k < n_out; ++k) {
                    float total = 0.0f;
                    for (std::size_t c = 0; c < chunks; ++c) total += parts[c * part + i * padded + k];
                    d_weight.data()[i * n_out + k] = total;
                }
        if (error_scale)
            over(batch * n_in, threads, [&](std::size_t begin, std::size_t end) {
                std::memcpy(error.data() + begin, errors + begin, (end - begin) * sizeof(float));
                for (int tile = 1; tile < tiles; ++tile)
                    for (std::size_t i = begin; i < end; ++i) error.data()[i] += errors[tile * batch * n_in + i];
            });
    }
    return nb::make_tuple(weight_scale ? nb::cast(d_weight) : nb::none(), error_scale ? nb::cast(error) : nb::none(),
                          want_tpsp ? nb::cast(tpsp) : nb::none());
}

// R, sums or means over bins, (batch, bins, n).
Out<float> adjoint(In<std::int64_t, 3> bits, int n, const BackTuple& constants, int bin, bool mean, int threads, const std::string& isa) {
    const Kernels& kernels = BITSPIKE_PICK(kernels, isa);
    const SpikeBits out(bits, n);
    require(bin >= 1, "a bin has 1 step or more");
    const Back back = back_of(constants);
    const int places = (out.n_steps + bin - 1) / bin, tiles = (n + kTileLanes - 1) / kTileLanes;
    auto result = make<float>({std::size_t(out.batch), std::size_t(places), std::size_t(n)});
    {
        nb::gil_scoped_release release;
        over(static_cast<std::size_t>(out.batch) * tiles, threads, [&](std::size_t begin, std::size_t end) {
            for (std::size_t unit = begin; unit < end; ++unit) {
                const std::size_t b = unit / tiles;
                const int first = static_cast<int>(unit % tiles) * kTileLanes, width = std::min(kTileLanes, n - first);
                const TileNeurons active(out, b, first, width, nullptr, width, back, kernels);
                const int vectors = active.vectors();
                float* rows = scratch<float, struct OfAdjoint>(static_cast<std::size_t>(places) * vectors * 16);
                kernels.adjoint({back, out.n_steps, active.words, vectors, active.fired, active.held}, bin, mean, rows);
                for (int p = 0; p < places; ++p)
                    std::memcpy(result.data() + (b * places + p) * n + first, rows + static_cast<std::size_t>(p) * vectors * 16,
                                width * sizeof(float));
            }
        });
    }
    return result;
}

}  // namespace
}  // namespace bitspike::lif

void bind_lif_backward(nanobind::module_& m) {
    using namespace bitspike::lif;
    using namespace nanobind::literals;
    m.def("spike_train_backward", &backward, "x"_a, "out"_a, "n_in"_a, "n_out"_a, "weight"_a.none(), "weight_scale"_a.none(),
          "error_scale"_a.none(), "tpsp"_a, "constants"_a, "bin"_a, "threads"_a, "isa"_a);
    m.def("spike_train_adjoint", &adjoint);
}
