// The online step of a layer for Python: threads, and the memory between the kernels.
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include "common/cpu.hpp"
#include "common/parallel.hpp"
#include "srm/arguments.hpp"
#include "srm/map.hpp"

namespace bitspike::srm {
namespace {

constexpr double kSparse = 0.1;  // share of errors that are not 0 below which they are taken one by one; measured

nb::tuple step(Matrix p, Matrix q, Matrix r, In<float, 2> before, Input x, const WeightTuple& weight_tensors,
               const Maybe<BiasTuple>& bias_tensors, In<std::int8_t, 2> signs, In<std::int8_t, 1> signs_bias,
               const Maybe<In<std::int64_t, 1>>& classes, const Maybe<In<float, 2>>& targets, const std::array<int, 6>& map_numbers,
               const NeuronNumbers& neuron_numbers, const RuleNumbers& rule_numbers, int kind, double tau, double s_max, bool adam,
               std::uint64_t key, int threads, const std::string& isa) {
    const Kernels& kernels = BITSPIKE_PICK(kernels, isa);
    const auto weight = tensors(weight_tensors);
    const Map map(map_numbers, static_cast<int>(weight.latent.shape(1)));
    const std::size_t batch = p.shape(0), n_in = map.n_in(), n_out = map.n_out(), n_readouts = signs.shape(1);
    const std::size_t fan_in = map.fan_in(), filters = map.filters, n_rows = batch * map.places(), neurons = map.places() * filters;
    const auto is = [](const auto& a, std::size_t rows, std::size_t columns) {
        return a.shape(0) == rows && a.shape(1) == columns;
    };
    constexpr std::size_t most = std::size_t(1) << 31;
    require(batch >= 1 && filters >= 1 && n_readouts >= 1, "there must be a sample, a neuron and a readout");
    require(batch * map.n_padded() < most && batch * neurons < most && fan_in * filters < most, "too large");
    require(is(weight.latent, fan_in, filters), "latents must be (fan-in, n_out)");
    require(is(p, batch, n_in) && is(q, batch, n_in) && is(r, batch, neurons) && is(before, batch, neurons),
            "state: P, Q, R and S do not fit");
    require(is(x, batch, n_in), "x must be (batch, n_in)");
    require(x.dtype() == nb::dtype<std::uint8_t>() || x.dtype() == nb::dtype<float>(), "x must be uint8 or float32");
    require(signs.shape(0) == n_out && signs_bias.shape(0) == n_readouts, "readout must be (n_out, n_readouts)");
    require(!classes || classes->shape(0) == batch, "target: one class per sample");
    require(!targets || is(*targets, batch, n_readouts), "target must be (batch, n_readouts)");
    if (classes)
        for (std::size_t s = 0; s < batch; ++s)
            require(classes->data()[s] >= 0 && classes->data()[s] < static_cast<std::int64_t>(n_readouts),
                    "target: a class is not among the readouts");
    const bool learns = classes || targets, is_dense = map.is_dense(), pools = map.pool > 1;
    const Neuron c = neuron_of(neuron_numbers);
    const Rule rule = rule_of(rule_numbers, adam);
    const Draw draw = draw_of(kind, key, tau, s_max);
    const bool relaxed = draw.kind == Kind::relaxed && learns;
    float* factor = relaxed ? scratch<float, struct OfFactor>(fan_in * filters) : nullptr;
    const Learned moved = learned(weight, static_cast<float>(rule_numbers[9]), factor, adam);
    float *bias = nullptr, *bias_factor = nullptr;
    Learned moved_bias{};
    if (bias_tensors) {
        const auto tensor = tensors(*bias_tensors);
        require(tensor.latent.shape(0) == filters, "bias latents must be (n_out)");
        bias = scratch<float, struct OfBias>(2 * padded(filters));
        bias_factor = relaxed ? bias + padded(filters) : nullptr;
        moved_bias = learned(tensor, static_cast<float>(rule_numbers[10]), bias_factor, adam);
    }
    Out<float> fired = make<float>({batch, neurons}), read = make<float>({batch, n_readouts}), losses = make<float>({batch});
    Out<float> spikes = pools ? make<float>({batch, n_out}) : fired;
    float *fired_to = fired.data(), *spikes_to = spikes.data(), *read_to = read.data(), *losses_to = losses.data();
    std::optional<nb::gil_scoped_release> release(std::in_place);

    // Traces.
    const std::size_t seen_size = padded(n_in);
    const int parts = parts_of(batch, threads);
    std::uint32_t* seen = scratch<std::uint32_t, struct OfSeen>(seen_size * parts);
    std::fill(seen, seen + seen_size * parts, 0u);
    float* around = map.padding ? scratch<float, struct OfPadded>(batch * map.n_padded()) : nullptr;
    if (around) std::fill(around, around + batch * map.n_padded(), 0.0f);
    const bool bytes = x.dtype() == nb::dtype<std::uint8_t>();
    const auto* from = static_cast<const std::uint8_t*>(x.data());
    over(batch, threads, [&](int part, std::size_t begin, std::size_t end) {
        for (std::size_t s = begin; s < end; ++s) {
            float* own = p.data() + s * n_in;
            kernels.traces(c, own, q.data() + s * n_in, from + s * n_in * (bytes ? 1 : sizeof(float)), bytes, n_in,
                           seen + part * seen_size);
            if (around) map.pad(own, around + s * map.n_padded());
        }
    });
    const float* traces = around ? around : p.data();

    // Which inputs count, and where they lie: a dense layer's only if they have a trace.
    std::int32_t* taps = scratch<std::int32_t, struct OfTaps>(3 * fan_in + 1);
    std::int32_t *taken = taps + fan_in, *offsets = taken + fan_in;
    int n_taken = 0;
    for (std::size_t i = 0; i < fan_in; ++i) {
        if (is_dense)
            for (int part = 1; part < parts; ++part) seen[i] |= seen[part * seen_size + i];
        taps[i] = map.tap(i);
        taken[n_taken] = static_cast<std::int32_t>(i);
        offsets[n_taken] = taps[i];
        n_taken += !is_dense || seen[i];
    }
    if (bias) {
        Draw own = draw;
        own.key = key + 1;
        kernels.sample(own, moved_bias.latent, filters, bias, bias_factor);
    }
    std::int32_t* begins_of = scratch<std::int32_t, struct OfRowBegins>(n_rows);
    const float** rows = scratch<const float*, struct OfRows>(n_rows);
    for (std::size_t k = 0; k < n_rows; ++k) {
        begins_of[k] = static_cast<std::int32_t>(k / map.places() * map.n_padded()) + map.place(k % map.places());
        rows[k] = traces + begins_of[k];
    }

    // Neurons: a unit is a tile of them in all rows, or in a block of a convolution's many rows.
    const std::size_t stride = padded(filters), blocks = is_dense ? 1 : parts;
    float* u = scratch<float, struct OfPotentials>(n_rows * stride);
    over((filters + kTile - 1) / kTile * blocks, threads, [&](int, std::size_t begin, std::size_t end) {
        for (std::size_t unit = begin; unit < end; ++unit) {
            const int block = static_cast<int>(unit % blocks);
            std::size_t first, last;
            share(n_rows, block, static_cast<int>(blocks), first, last);
            kernels.forward({rows + first, taken, offsets, n_taken, static_cast<int>(last - first), map.filters, moved.latent, draw,
                             block ? nullptr : factor, bias, c, r.data() + first * filters, before.data() + first * filters,
                             fired_to + first * filters, u + first * stride, stride},
                            static_cast<int>(unit / blocks));
        }
    });

    // Readouts and errors, sample by sample.
    const Readout readout = readout_of(signs, signs_bias, c, static_cast<int>(batch));
    const std::size_t out_stride = readout.stride, error_stride = batch * kTile;
    float* pooled = is_dense ? u : scratch<float, struct OfPooled>(batch * out_stride);
    std::int32_t* winner = is_dense ? nullptr : scratch<std::int32_t, struct OfWinners>(batch * n_out);
    float* errors = scratch<float, struct OfErrors>(learns ? batch * out_stride : 0);
    float* slopes = scratch<float, struct OfSlopes>(batch * padded(n_readouts));
    std::int64_t* begins = scratch<std::int64_t, struct OfBegins>(batch + 1);
    over(batch, threads, [&](int, std::size_t begin, std::size_t end) {
        for (std::size_t s = begin; s < end; ++s) {
            float *own = pooled + s * out_stride, *spike = spikes_to + s * n_out;
            if (!is_dense) {
                map.largest(u + s * map.places() * stride, stride, own, winner + s * n_out);
                std::fill(own + n_out, own + out_stride, 0.0f);
            }
            if (pools)
                for (std::size_t j = 0; j < n_out; ++j) spike[j] = own[j] >= 0;
            const Goal goal{classes ? classes->data() + s : nullptr, targets ? targets->data() + s * n_readouts : nullptr};
            begins[s + 1] = kernels.read(readout, spike, own, goal, read_to + s * n_readouts, slopes + s * padded(n_readouts),
                                         losses_to + s, errors + s * kTile, error_stride);
        }
    });

    if (learns) {
        begins[0] = 0;
        for (std::size_t s = 0; s < batch; ++s) begins[s + 1] += begins[s];
        const bool sparse = is_dense && begins[batch] < kSparse * static_cast<double>(batch * n_out);
        Event* events = nullptr;
        if (sparse || !is_dense) {
            events = scratch<Event, struct OfEvents>(begins[batch]);
            for (std::size_t s = 0; s < batch; ++s)
                kernels.list(errors + s * kTile, error_stride, static_cast<int>(n_out), events + begins[s]);
        }
        Learn pass{traces, begins_of, taps, errors, sparse ? events : nullptr, begins, is_dense ? seen : nullptr,
                   static_cast<int>(batch), static_cast<int>(fan_in), map.filters, c.scale, moved, rule};
        std::optional<PlacedErrors> placed;
        if (!is_dense) {
            placed.emplace(map, batch, events, begins, winner);
            pass.rows = placed->rows.data();
            pass.errors = placed->errors.data();
            pass.n_rows = static_cast<int>(placed->rows.size());
        }
        // All memory is there before a latent moves, so that all of them move or none.
        const std::size_t panel_inputs = sparse ? kernels.lanes : kTile, panels = (fan_in + panel_inputs - 1) / panel_inputs;
        const std::size_t panel_size = 2 * stride * kTile;
        float* gradients = scratch<float, struct OfGradients>(panel_size * parts_of(panels, threads));
        over(panels, threads, [&](int part, std::size_t begin, std::size_t end) {
            const auto learn = sparse ? kernels.learn_events : kernels.learn_dense;
            for (std::size_t panel = begin; panel < end; ++panel) learn(pass, panel, gradients + part * panel_size);
        });
        if (bias) {
            float* g = gradients;
            std::fill(g, g + stride, 0.0f);
            for (std::size_t j = 0; j < stride; j += kTile)
                for (const float *e = pass.errors + j * pass.n_rows, *end = e + std::size_t(pass.n_rows) * kTile; e < end; e += kTile)
                    for (int k = 0; k < kTile; ++k) g[j + k] += e[k];
            kernels.move(rule, moved_bias, g, c.scale, filters);
        }
    }
    release.reset();
    return nb::make_tuple(fired, spikes, read, losses);
}

}  // namespace
}  // namespace bitspike::srm

void bind_srm(nanobind::module_& m) {
    using namespace nanobind::literals;
    namespace nb = nanobind;
    m.def("srm_step", &bitspike::srm::step, nb::arg("p").noconvert(), nb::arg("q").noconvert(), nb::arg("r").noconvert(),
          "before"_a, "x"_a, "weight"_a, "bias"_a.none(), "readout"_a, "readout_bias"_a, "classes"_a.none(), "targets"_a.none(),
          "map"_a, "neuron"_a, "rule"_a, "kind"_a, "tau"_a, "s_max"_a, "adam"_a, "key"_a, "threads"_a, "isa"_a,
          "One online step of a layer; P, Q, R and the latents change in place. Spikes before and after pooling, readouts, losses.");
}
