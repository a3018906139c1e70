#include "common/parallel.hpp"
#include "s4nn/stepper.hpp"

namespace bitspike::s4nn {
namespace {

void write_times(const Sample& sample, const std::vector<Layer>& layers, std::size_t row, int n_steps,
                 const std::vector<int16_t*>& times_out) {
    for (std::size_t l = 0; l < times_out.size(); ++l)
        for (int j = 0; j < layers[l].n_out; ++j) {
            const float t = sample.layers[l].time[static_cast<std::size_t>(j)];
            times_out[l][row * static_cast<std::size_t>(layers[l].n_out) + static_cast<std::size_t>(j)] =
                static_cast<int16_t>(t == never ? static_cast<float>(n_steps) : t);
        }
}

void add_result(const Sample& sample, Result& result) {
    result.loss += sample.loss;
    result.n_correct += sample.decision == sample.label;
    result.n_error += sample.error;
    for (std::size_t l = 0; l < sample.layers.size(); ++l)
        result.fired[l] += static_cast<int64_t>(sample.layers[l].spikes.index.size());
    if (sample.layers.size() > 1) result.fired[sample.layers.size() - 2] += static_cast<int64_t>(sample.extra.size());
}

void count_fired(const Sample& sample, const std::vector<Layer>& layers, int32_t* fired) {
    int offset = 0;
    for (std::size_t l = 0; l + 1 < layers.size(); offset += layers[l++].n_out)
        for (const int32_t j : sample.layers[l].spikes.index) ++fired[offset + j];
    for (const int32_t j : sample.extra) ++fired[j];
}

void saturate(int32_t* fired, std::size_t n, int32_t quota) {
    for (std::size_t j = 0; j < n; ++j) fired[j] = std::min(fired[j], quota);
}

}  // namespace

Result step(const int16_t* inputs, const int64_t* labels, std::size_t n, const std::vector<Layer>& layers, double* alpha,
            int32_t* fired, int32_t quota, const std::vector<int16_t*>& times_out, const Settings& s,
            const Kernels& kernels) {
    const auto n_in = static_cast<std::size_t>(layers[0].n_in);
    std::size_t n_hidden = 0;
    for (std::size_t l = 0; l + 1 < layers.size(); ++l) n_hidden += static_cast<std::size_t>(layers[l].n_out);
    Stepper stepper(layers, alpha, fired, quota, s, kernels);
    Result result;
    result.fired.assign(layers.size(), 0);
    std::vector<float> amount, signs;

    if (s.online) {
        Sample sample(layers);
        for (std::size_t row = 0; row < n; ++row) {
            stepper.forward(inputs + row * n_in, static_cast<int>(labels[row]), sample);
            write_times(sample, layers, row, s.n_steps, times_out);
            add_result(sample, result);
            if (fired != nullptr) {
                count_fired(sample, layers, fired);
                saturate(fired, n_hidden, quota);
            }
            stepper.learn(sample, amount, signs);
        }
        stepper.apply_scales();
        return result;
    }

    // A batch: every sample forward and its deltas at the present weights; then the updates, in sample order.
    const auto parts = static_cast<std::size_t>(parts_of(n, s.threads));
    std::vector<std::vector<Sample>> wrong(parts);
    std::vector<Result> results(parts, result);
    std::vector<std::vector<int32_t>> counts(parts, std::vector<int32_t>(n_hidden, 0));
    std::vector<std::vector<double>> losses(parts);
    std::size_t widest = 0;
    for (const Layer& layer : layers) widest = std::max(widest, padded(layer.n_out));
    std::vector<std::vector<float>> amounts(parts, std::vector<float>(widest));  // there before a weight moves
    over(n, s.threads, [&](int part, std::size_t begin, std::size_t end) {
        const auto p = static_cast<std::size_t>(part);
        Sample sample(layers);
        for (std::size_t row = begin; row < end; ++row) {
            stepper.forward(inputs + row * n_in, static_cast<int>(labels[row]), sample);
            write_times(sample, layers, row, s.n_steps, times_out);
            add_result(sample, results[p]);
            losses[p].push_back(sample.loss);
            if (fired != nullptr) count_fired(sample, layers, counts[p].data());
            if (!sample.error) continue;
            for (int l = static_cast<int>(layers.size()) - 1; l > 0; --l) stepper.delta_below(sample, l);
            wrong[p].push_back(sample);
        }
    });
    for (std::size_t p = 0; p < results.size(); ++p) {
        for (const double loss : losses[p]) result.loss += loss;
        result.n_correct += results[p].n_correct;
        result.n_error += results[p].n_error;
        for (std::size_t l = 0; l < layers.size(); ++l) result.fired[l] += results[p].fired[l];
        for (std::size_t j = 0; fired != nullptr && j < n_hidden; ++j) fired[j] += counts[p][j];
    }
    if (fired != nullptr) saturate(fired, n_hidden, quota);
    for (std::size_t l = 0; s.binary && l < layers.size(); ++l) {
        double sum = 0;
        for (const auto& samples : wrong)
            for (const auto& sample : samples) sum += stepper.mean(sample, static_cast<int>(l), sample.layers[l].count);
        alpha[l] -= s.mu * sum;
    }
    for (int l = 0; l < static_cast<int>(layers.size()); ++l) {
        const Layer& layer = layers[static_cast<std::size_t>(l)];
        float* target = layer.grad != nullptr ? layer.grad : layer.w;
        const double rate = layer.grad != nullptr ? -1 : layer.eta;
        const int slices = static_cast<int>(padded(layer.n_out)) / lanes;
        const bool decays = layer.grad == nullptr && s.decay > 0;
        over(static_cast<std::size_t>(slices), static_cast<int>(parts), [&](int part, std::size_t begin, std::size_t end) {
            std::vector<float>& mine = amounts[static_cast<std::size_t>(part)];
            for (auto& samples : wrong)
                for (auto& sample : samples)
                    stepper.update(sample, l, static_cast<int>(begin) * lanes, static_cast<int>(end) * lanes, rate,
                                   std::numeric_limits<double>::infinity(), target, nullptr, mine);
        });
        if (decays)
            over(static_cast<std::size_t>(layer.n_in), static_cast<int>(parts), [&](int, std::size_t begin, std::size_t end) {
                const auto stride = static_cast<std::size_t>(layer.n_out);
                stepper.decay(l, n, begin * stride, end * stride);
            });
    }
    return result;
}

}  // namespace bitspike::s4nn
