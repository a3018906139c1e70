// The first-spike kernels for Python: lays weights out in tiles, shares the work.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "common/array.hpp"
#include "common/cpu.hpp"
#include "common/parallel.hpp"
#include "first_spike/kernels.hpp"
#include "first_spike/sort.hpp"

namespace bitspike::first_spike {
namespace {

// Runs one task per tile on up to `threads` threads.
template <class Body>
void over_tiles(int tiles, int threads, const Body& body) {
    over(tiles, threads, [&](int, std::size_t begin, std::size_t end) {
        for (std::size_t tile = begin; tile < end; ++tile) body(static_cast<int>(tile));
    });
}

int tiles_of(int n, int width) { return (n + width - 1) / width; }

Spikes view(const In<std::int32_t, 2>& events, const In<std::int32_t, 2>& starts, const In<std::int32_t, 1>& n_active) {
    require(events.shape(0) == starts.shape(0) && starts.shape(0) == n_active.shape(0), "events, starts, n_active differ in batch");
    return {events.data(), starts.data(), n_active.data(), static_cast<int>(starts.shape(0)),
            static_cast<int>(starts.shape(1)) - 1, static_cast<int>(events.shape(1))};
}

// The layer's thresholds padded with +infinity (a padding neuron never fires) and its weights in tiles.
struct Prepared {
    Layer layer;
    std::vector<float> thresholds, rows;
    std::vector<std::uint64_t> words;

    Prepared(const In<float, 2>& weight, const In<float, 1>& threshold, int tile, bool binary, const Kernels& kernels, int threads) {
        const int n_in = static_cast<int>(weight.shape(0)), n_out = static_cast<int>(weight.shape(1)), tiles = tiles_of(n_out, tile);
        require(static_cast<int>(threshold.shape(0)) == n_out, "one threshold per neuron is needed");
        thresholds.assign(static_cast<std::size_t>(tiles) * tile, 3.0e38f);
        std::copy(threshold.data(), threshold.data() + n_out, thresholds.begin());
        if (binary) {
            require(n_in <= 32766, "a binary layer takes at most 32766 inputs");
            words.resize(static_cast<std::size_t>(tiles) * n_in);
            over_tiles(tiles, threads, [&](int t) { kernels.pack_words(weight.data(), n_in, n_out, words.data(), t); });
        } else {
            rows.resize(static_cast<std::size_t>(tiles) * n_in * tile);
            over_tiles(tiles, threads, [&](int t) {
                const int lanes = std::min(tile, n_out - t * tile);
                for (int i = 0; i < n_in; ++i)
                    std::memcpy(&rows[(static_cast<std::size_t>(t) * n_in + i) * tile],
                                weight.data() + static_cast<std::size_t>(i) * n_out + t * tile, lanes * sizeof(float));
            });
        }
        layer = {n_out, tiles * tile, thresholds.data(), words.data(), rows.data()};
    }
};

template <class Maximum>
nb::tuple forward(const Spikes& x, const Prepared& p, int threads, void (*kernel)(const Spikes&, const Layer&, Maximum*, std::int16_t*, int)) {
    auto maxima = make<Maximum>({std::size_t(x.batch), std::size_t(x.slots), std::size_t(p.layer.n_padded)});
    auto crossing = make<std::int16_t>({std::size_t(x.batch), std::size_t(p.layer.n_out)});
    over_tiles(tiles_of(p.layer.n_out, kTile), threads,
               [&](int tile) { kernel(x, p.layer, maxima.data(), crossing.data(), tile); });
    return nb::make_tuple(maxima, crossing);
}

nb::tuple layer_forward(In<std::int32_t, 2> events, In<std::int32_t, 2> starts, In<std::int32_t, 1> n_active, In<float, 2> weight,
                        In<float, 1> threshold, bool binary, int threads, const std::string& isa) {
    const Kernels& kernels = BITSPIKE_PICK(kernels, isa);
    const Spikes x = view(events, starts, n_active);
    require(static_cast<int>(weight.shape(0)) == x.n_in, "weight rows and inputs differ");
    const Prepared p(weight, threshold, kTile, binary, kernels, threads);
    return binary ? forward<std::int16_t>(x, p, threads, kernels.forward_binary)
                  : forward<float>(x, p, threads, kernels.forward_real);
}

// What `ByInput` points to.
struct Gathered {
    std::vector<std::int32_t> samples, used, starts, places;
    std::size_t n_live = 0;

    ByInput view() const { return {samples.data(), used.data(), starts.data(), places.data(), n_live}; }
};

// Which samples have a gradient, up to which slot, and their events by input.
Gathered sort_by_input(const Spikes& x, const float* values, std::size_t width) {
    Gathered out;
    for (int b = 0; b < x.batch; ++b) {
        int used = x.n_active[b];
        const float* row = values + static_cast<std::size_t>(b) * x.slots * width;
        while (used > 0 && std::all_of(row + (used - 1) * width, row + used * width, [](float g) { return g == 0.0f; })) --used;
        if (used == 0) continue;
        out.samples.push_back(b);
        out.used.push_back(used);
    }
    out.n_live = out.samples.size();
    out.starts.assign(static_cast<std::size_t>(x.n_in) + 1, 0);
    const auto each = [&](auto&& visit) {
        for (std::size_t live = 0; live < out.n_live; ++live) {
            const std::int32_t* start = x.starts + static_cast<std::size_t>(out.samples[live]) * (x.slots + 1);
            for (int a = 0; a < out.used[live]; ++a)
                for (std::int32_t e = start[a]; e < start[a + 1]; ++e) visit(x.events[e], static_cast<std::int32_t>(live * x.slots + a));
        }
    };
    each([&](std::int32_t i, std::int32_t) { ++out.starts[i + 1]; });
    for (int i = 0; i < x.n_in; ++i) out.starts[i + 1] += out.starts[i];
    out.places.resize(out.starts[x.n_in]);
    std::vector<std::int32_t> cursor(out.starts.begin(), out.starts.end() - 1);
    each([&](std::int32_t i, std::int32_t place) { out.places[cursor[i]++] = place; });
    return out;
}

template <class Maximum>
nb::tuple layer_backward(In<std::int32_t, 2> events, In<std::int32_t, 2> starts, In<std::int32_t, 1> n_active,
                         In<Maximum, 3> maxima, In<float, 1> threshold, In<float, 3> gradient, std::optional<In<float, 2>> next,
                         std::optional<In<bool, 2>> keep, float width, bool want_potential, int threads, const std::string& isa) {
    const Kernels& kernels = BITSPIKE_PICK(kernels, isa);
    const Spikes x = view(events, starts, n_active);
    const int n_out = static_cast<int>(threshold.shape(0)), tiles = tiles_of(n_out, kTile);
    const int n_next = next ? static_cast<int>(next->shape(1)) : 0;
    require(static_cast<int>(maxima.shape(0)) == x.batch && static_cast<int>(maxima.shape(1)) == x.slots &&
                static_cast<int>(maxima.shape(2)) == tiles * kTile && static_cast<int>(gradient.shape(0)) == x.batch &&
                static_cast<int>(gradient.shape(1)) == x.slots && static_cast<int>(gradient.shape(2)) == (next ? n_next : n_out) &&
                (!next || static_cast<int>(next->shape(0)) == n_out) &&
                (!keep || (static_cast<int>(keep->shape(0)) == x.batch && static_cast<int>(keep->shape(1)) == n_out)),
            "shapes of maxima, gradient, threshold, keep and the layer above do not fit");
    std::vector<float> thresholds(static_cast<std::size_t>(tiles) * kTile, 3.0e38f);
    std::copy(threshold.data(), threshold.data() + n_out, thresholds.begin());
    const Layer layer = {n_out, tiles * kTile, thresholds.data(), nullptr, nullptr};
    const Gradient source = {gradient.data(), next ? next->data() : nullptr, n_next, keep ? keep->data() : nullptr};
    const Gathered gathered = sort_by_input(x, gradient.data(), gradient.shape(2));
    const ByInput by_input = gathered.view();
    auto d_weight = make<float>({std::size_t(x.n_in), std::size_t(n_out)});
    auto d_threshold = make<float>({std::size_t(n_out)});
    auto d_potential = make<float>({want_potential ? std::size_t(x.batch) : 0, std::size_t(x.slots), std::size_t(n_out)});
    float* potential = want_potential ? d_potential.data() : nullptr;
    if (potential) std::memset(potential, 0, d_potential.size() * sizeof(float));
    over_tiles(tiles, threads, [&](int tile) {
        if constexpr (sizeof(Maximum) == 2)
            kernels.backward_binary(x, layer, maxima.data(), source, by_input, width, d_weight.data(), d_threshold.data(), potential, tile);
        else
            kernels.backward_real(x, layer, maxima.data(), source, by_input, width, d_weight.data(), d_threshold.data(), potential, tile);
    });
    return nb::make_tuple(d_weight, d_threshold, d_potential);
}

Out<float> readout_forward(In<std::int32_t, 2> events, In<std::int32_t, 2> starts, In<std::int32_t, 1> n_active,
                           In<float, 2> weight, In<float, 1> threshold, int threads, const std::string& isa) {
    const Kernels& kernels = BITSPIKE_PICK(kernels, isa);
    const Spikes x = view(events, starts, n_active);
    require(static_cast<int>(weight.shape(0)) == x.n_in, "weight rows and inputs differ");
    const Prepared p(weight, threshold, kReadout, false, kernels, 1);
    auto margins = make<float>({std::size_t(x.batch), std::size_t(x.slots), std::size_t(p.layer.n_out)});
    over_tiles(tiles_of(p.layer.n_out, kReadout), threads, [&](int tile) { kernels.readout(x, p.layer, margins.data(), tile); });
    return margins;
}

nb::tuple readout_backward(In<std::int32_t, 2> events, In<std::int32_t, 2> starts, In<std::int32_t, 1> n_active,
                           In<float, 3> gradient, int threads, const std::string& isa) {
    const Kernels& kernels = BITSPIKE_PICK(kernels, isa);
    const Spikes x = view(events, starts, n_active);
    const int n_out = static_cast<int>(gradient.shape(2)), tiles = tiles_of(n_out, kReadout);
    require(static_cast<int>(gradient.shape(0)) == x.batch && static_cast<int>(gradient.shape(1)) == x.slots, "gradient does not fit");
    const Layer layer = {n_out, tiles * kReadout, nullptr, nullptr, nullptr};
    auto d_weight = make<float>({std::size_t(x.n_in), std::size_t(n_out)});
    auto d_threshold = make<float>({std::size_t(n_out)});
    over_tiles(tiles, threads, [&](int tile) {
        kernels.readout_backward(x, layer, gradient.data(), d_weight.data(), d_threshold.data(), tile);
    });
    return nb::make_tuple(d_weight, d_threshold);
}

nb::tuple race_loss(In<float, 3> margins, In<std::int32_t, 1> n_active, In<std::int64_t, 1> labels, float tau_c, float tau_h,
                    float beta, float skip, int threads, const std::string& isa) {
    const Kernels& kernels = BITSPIKE_PICK(kernels, isa);
    const std::size_t batch = margins.shape(0), slots = margins.shape(1), n_out = margins.shape(2);
    require(n_active.shape(0) == batch && labels.shape(0) == batch, "margins, n_active and labels differ in batch");
    for (std::size_t b = 0; b < batch; ++b)
        require(labels.data()[b] >= 0 && labels.data()[b] < static_cast<std::int64_t>(n_out), "a label is out of range");
    auto loss = make<float>({batch});
    auto gradient = make<float>({batch, slots, n_out});
    over(batch, threads, [&](int, std::size_t begin, std::size_t end) {
        for (std::size_t b = begin; b < end; ++b)
            loss.data()[b] = kernels.race(margins.data() + b * slots * n_out, n_active.data()[b], static_cast<int>(slots),
                                          static_cast<int>(n_out), static_cast<int>(labels.data()[b]), tau_c, tau_h, beta, skip,
                                          gradient.data() + b * slots * n_out);
    });
    return nb::make_tuple(loss, gradient);
}

// The honest decision per sample: the largest margin in the first slot where any is above 0, else in the last slot.
Out<std::int64_t> decided(In<float, 3> margins, In<std::int32_t, 1> n_active) {
    const std::size_t batch = margins.shape(0), slots = margins.shape(1), n_out = margins.shape(2);
    require(n_active.shape(0) == batch, "margins and n_active differ in batch");
    auto labels = make<std::int64_t>({batch});
    for (std::size_t b = 0; b < batch; ++b) {
        const int last = std::min<int>(n_active.data()[b], static_cast<int>(slots)) - 1;
        for (int a = 0; a <= last; ++a) {
            const float* m = margins.data() + (b * slots + a) * n_out;
            const float* top = std::max_element(m, m + n_out);
            labels.data()[b] = top - m;
            if (*top > 0.0f) break;
        }
    }
    return labels;
}

}  // namespace
}  // namespace bitspike::first_spike

void bind_first_spike(nanobind::module_& m) {
    namespace fs = bitspike::first_spike;
    m.def("sort_times", &fs::sort_times);
    m.def("sort_slots", &fs::sort_slots);
    m.def("layer_forward", &fs::layer_forward);
    using namespace nanobind::literals;
    m.def("layer_backward_binary", &fs::layer_backward<std::int16_t>, "events"_a, "starts"_a, "n_active"_a, "maxima"_a, "threshold"_a,
          "gradient"_a, "next"_a.none(), "keep"_a.none(), "width"_a, "want_potential"_a, "threads"_a, "isa"_a);
    m.def("layer_backward_real", &fs::layer_backward<float>, "events"_a, "starts"_a, "n_active"_a, "maxima"_a, "threshold"_a,
          "gradient"_a, "next"_a.none(), "keep"_a.none(), "width"_a, "want_potential"_a, "threads"_a, "isa"_a);
    m.def("readout_forward", &fs::readout_forward);
    m.def("readout_backward", &fs::readout_backward);
    m.def("race_loss", &fs::race_loss);
    m.def("decided", &fs::decided);
}
