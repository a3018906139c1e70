// Spike trains for Python, forward: layers of neurons, Poisson trains, lists to bits.
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include "lif/spikes.hpp"

void bind_lif_backward(nanobind::module_& m);
void bind_lif_map(nanobind::module_& m);

namespace bitspike::lif {
namespace {

using Words = Out<std::int64_t>;

Words make_bits(std::size_t batch, std::size_t n_steps, int n) {
    return make<std::int64_t>({batch, n_steps, static_cast<std::size_t>(words_of(n))});
}

// Results of a layer, and the view of a sample's part of them.
struct Layer {
    Lif lif;
    int n_steps, n_out;
    Words bits;
    Out<float> counts, tpsp, membrane;

    Layer(const LifTuple& c, std::size_t batch, int steps, int n)
        : lif(lif_of(c)), n_steps(steps), n_out(n), bits(make_bits(batch, steps, n)), counts(make<float>({batch, std::size_t(n)})),
          tpsp(make<float>({batch, std::size_t(n)})), membrane(make<float>({batch, std::size_t(n)})) {}

    Neurons sample(std::size_t b) {
        const std::size_t words = words_of(n_out), at = b * n_out;
        return {lif, n_steps, n_out, static_cast<int>(words),
                reinterpret_cast<std::uint64_t*>(bits.data()) + b * n_steps * words,
                counts.data() + at, tpsp.data() + at, membrane.data() + at};
    }
    nb::tuple results() { return nb::make_tuple(bits, counts, tpsp, membrane); }
};

// The weights in tiles [tile][n_in][16 * vectors], 0 beyond the layer; the vectors of every tile but the last are `tile` / 16.
struct Rows {
    const float* data;
    int n_in, n_out, tile;

    Rows(const In<float, 2>& weight, int tile_width, int threads)
        : n_in(static_cast<int>(weight.shape(0))), n_out(static_cast<int>(weight.shape(1))), tile(tile_width) {
        float* to = scratch<float, struct OfRows>(static_cast<std::size_t>(n_in) * (n_out + tile));
        data = to;
        over(static_cast<std::size_t>(tiles()) * n_in, threads, [&](std::size_t begin, std::size_t end) {
            for (std::size_t unit = begin; unit < end; ++unit) {
                const int which = static_cast<int>(unit / n_in), width = vectors(which) * 16;
                const std::size_t i = unit % n_in, first = static_cast<std::size_t>(which) * tile;
                const std::size_t lanes = std::min<std::size_t>(width, n_out - first);
                float* row = to + first * n_in + i * width;
                std::memcpy(row, weight.data() + i * n_out + first, lanes * sizeof(float));
                std::fill(row + lanes, row + width, 0.0f);
            }
        });
    }
    int tiles() const { return (n_out + tile - 1) / tile; }
    int vectors(int which) const {
        const int needed = (std::min(tile, n_out - which * tile) + 15) / 16;
        return needed > 4 ? tile / 16 : needed;
    }
    const float* of(int which) const { return data + static_cast<std::size_t>(which) * tile * n_in; }
};

nb::tuple forward_spikes(In<std::int64_t, 3> bits, In<float, 2> weight, const LifTuple& lif, int threads, const std::string& isa) {
    const Kernels& kernels = BITSPIKE_PICK(kernels, isa);
    const SpikeBits x(bits, static_cast<int>(weight.shape(0)));
    Layer layer(lif, x.batch, x.n_steps, static_cast<int>(weight.shape(1)));
    {
        nb::gil_scoped_release release;
        const StepLists lists(x, kernels, threads);
        if (layer.lif.lateral > 0) {
            const Rows rows(weight, (layer.n_out + 15) / 16 * 16, threads);
            over(x.batch, threads, [&](std::size_t begin, std::size_t end) {
                float* current = scratch<float, struct OfCurrent>(static_cast<std::size_t>(x.n_steps) * rows.tile);
                float* state = scratch<float, struct OfState>(2 * static_cast<std::size_t>(rows.tile));
                for (std::size_t b = begin; b < end; ++b) {
                    kernels.current(lists[b], rows.data, rows.tile / 16, x.n_steps, current);
                    kernels.forward_lateral(current, rows.tile, layer.sample(b), state);
                }
            });
        } else {
            const Rows rows(weight, kernels.tile, threads);
            over(static_cast<std::size_t>(rows.tiles()) * x.batch, threads, [&](std::size_t begin, std::size_t end) {
                for (std::size_t unit = begin; unit < end; ++unit) {
                    const int which = static_cast<int>(unit / x.batch);
                    const std::size_t b = unit % x.batch;
                    kernels.forward_events(lists[b], rows.of(which), rows.vectors(which), layer.sample(b), which * rows.tile);
                }
            });
        }
    }
    return layer.results();
}

// From a current (n) of each sample, the same in all steps where `step` is 0, else (n_steps, n).
nb::tuple from_current(const float* current, std::size_t batch, int n_steps, int n, std::size_t step, const LifTuple& lif,
                       int threads, const std::string& isa) {
    const Kernels& kernels = BITSPIKE_PICK(kernels, isa);
    require(n_steps >= 1 && n >= 1, "current: there must be a step and a neuron");
    Layer layer(lif, batch, n_steps, n);
    {
        nb::gil_scoped_release release;
        const std::size_t size = step ? step * n_steps : n;
        const auto kernel = step ? kernels.forward_dense : kernels.forward_constant;
        over(batch, threads, [&](std::size_t begin, std::size_t end) {
            float* state = scratch<float, struct OfState>(2 * (static_cast<std::size_t>(n) + 16));
            for (std::size_t b = begin; b < end; ++b) {
                const Neurons neurons = layer.sample(b);
                if (layer.lif.lateral > 0) {
                    kernels.forward_lateral(current + b * size, step, neurons, state);
                    continue;
                }
                for (int first = 0; first < n; first += 64) kernel(current + b * size, neurons, first);
            }
        });
    }
    return layer.results();
}

nb::tuple forward_constant(In<float, 2> current, int n_steps, const LifTuple& lif, int threads, const std::string& isa) {
    return from_current(current.data(), current.shape(0), n_steps, static_cast<int>(current.shape(1)), 0, lif, threads, isa);
}

nb::tuple scan(In<float, 3> current, const LifTuple& lif, int threads, const std::string& isa) {
    const int n = static_cast<int>(current.shape(2));
    return from_current(current.data(), current.shape(0), static_cast<int>(current.shape(1)), n, n, lif, threads, isa);
}

std::size_t n_spikes(In<std::int64_t, 3> bits, const std::string& isa) {
    return BITSPIKE_PICK(kernels, isa).count(reinterpret_cast<const std::uint64_t*>(bits.data()), bits.size());
}

Words poisson(In<std::uint8_t, 2> images, In<std::uint64_t, 1> keys, In<std::int32_t, 2> limits, int n_steps, int threads,
              const std::string& isa) {
    const Kernels& kernels = BITSPIKE_PICK(kernels, isa);
    const std::size_t n = images.shape(0);
    const int n_pixels = static_cast<int>(images.shape(1)), sides = static_cast<int>(limits.shape(0));
    require(keys.shape(0) == n, "images and keys differ in number");
    require(limits.shape(1) == 256 && n_steps >= 1, "limits must be (sides, 256), steps 1 or more");
    const int words = words_of(sides * n_pixels);
    Words bits = make_bits(n, n_steps, sides * n_pixels);
    {
        nb::gil_scoped_release release;
        over(n, threads, [&](std::size_t begin, std::size_t end) {
            for (std::size_t b = begin; b < end; ++b)
                kernels.poisson(images.data() + b * n_pixels, n_pixels, keys.data()[b], limits.data(), sides, n_steps, words,
                                reinterpret_cast<std::uint64_t*>(bits.data()) + b * n_steps * words);
        });
    }
    return bits;
}

Out<std::uint64_t> content_keys(In<std::uint8_t, 2> images, int threads, const std::string& isa) {
    const Kernels& kernels = BITSPIKE_PICK(kernels, isa);
    auto keys = make<std::uint64_t>({images.shape(0)});
    over(images.shape(0), threads, [&](std::size_t begin, std::size_t end) {
        for (std::size_t b = begin; b < end; ++b)
            keys.data()[b] = kernels.content_key(images.data() + b * images.shape(1), static_cast<int>(images.shape(1)));
    });
    return keys;
}

// Spikes of recording k at offsets[k]..offsets[k + 1], in any order, to bits.
Words list_words(In<std::int16_t, 1> steps, In<std::int32_t, 1> channels, In<std::int64_t, 1> offsets, int n_steps, int n_channels,
                 int threads) {
    require(offsets.shape(0) >= 1 && steps.shape(0) == channels.shape(0), "steps, channels and offsets do not fit");
    const std::size_t n = offsets.shape(0) - 1, words = words_of(n_channels), size = n_steps * words;
    Words bits = make_bits(n, n_steps, n_channels);
    bool good = true;
    for (std::size_t b = 0; b < n; ++b) good &= offsets.data()[b] >= 0 && offsets.data()[b] <= offsets.data()[b + 1];
    require(good && offsets.data()[n] <= static_cast<std::int64_t>(steps.shape(0)), "offsets must rise to the number of spikes");
    for (std::size_t e = 0; e < steps.shape(0); ++e)
        good &= static_cast<unsigned>(steps.data()[e]) < static_cast<unsigned>(n_steps) &&
                static_cast<unsigned>(channels.data()[e]) < static_cast<unsigned>(n_channels);
    require(good, "a step or a channel is out of range");
    over(n, threads, [&](std::size_t begin, std::size_t end) {
        for (std::size_t b = begin; b < end; ++b) {
            std::int64_t* to = bits.data() + b * size;
            std::fill(to, to + size, 0);
            for (std::int64_t e = offsets.data()[b]; e < offsets.data()[b + 1]; ++e) {
                const std::int32_t c = channels.data()[e];
                std::int64_t& word = to[steps.data()[e] * words + c / 64];
                word = static_cast<std::int64_t>(static_cast<std::uint64_t>(word) | 1ull << (c % 64));
            }
        }
    });
    return bits;
}

}  // namespace
}  // namespace bitspike::lif

void bind_lif(nanobind::module_& m) {
    using namespace bitspike::lif;
    m.def("spike_train_forward", &forward_spikes);
    m.def("spike_train_constant", &forward_constant);
    m.def("spike_train_scan", &scan);
    m.def("spike_train_count", &n_spikes);
    m.def("spike_train_poisson", &poisson);
    m.def("spike_train_content_keys", &content_keys);
    m.def("spike_train_list_words", &list_words);
    bind_lif_backward(m);
    bind_lif_map(m);
}
