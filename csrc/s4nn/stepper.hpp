// One sample's way through the network and back; used by step.cpp alone.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include "s4nn/events.hpp"

namespace bitspike::s4nn {

struct LayerState {
    std::vector<float> potential, level, time, count;  // count: U at the crossing, or after all spikes (binary)
    std::vector<double> delta;
    Spikes spikes;
};

// One sample on its way through the network, and back.
struct Sample {
    Spikes inputs;
    std::vector<LayerState> layers;
    std::vector<uint64_t> keys, other;
    std::vector<int32_t> crossed, extra;  // extra: last hidden neurons seen to fire after the early stop
    std::vector<double> margin;
    int label = 0, tau = 0, decision = 0;
    double loss = 0;
    bool error = false;

    explicit Sample(const std::vector<Layer>& shape) : layers(shape.size()) {
        std::size_t widest = 0;
        for (std::size_t l = 0; l < shape.size(); ++l) {
            const std::size_t n = padded(shape[l].n_out);
            for (auto* values : {&layers[l].potential, &layers[l].level, &layers[l].time, &layers[l].count})
                values->resize(n);
            layers[l].delta.resize(n);
            widest = std::max(widest, n);
        }
        crossed.resize(widest);
    }
};

class Stepper {
  public:
    Stepper(const std::vector<Layer>& layers, double* alpha, const int32_t* fired, int32_t quota, const Settings& settings,
            const Kernels& kernels)
        : layers_(layers), alpha_(alpha), fired_(fired), quota_(quota), s_(settings), k_(kernels),
          scale_(layers.size(), 1.0) {}

    void forward(const int16_t* inputs, int label, Sample& sample) const {
        const int last = static_cast<int>(layers_.size()) - 1;
        start(inputs, label, sample);
        const Spikes& in = sample.inputs;
        const int n_in = static_cast<int>(in.index.size());
        for (int begin = 0, end; begin < n_in; begin = end) {
            const int now = in.time[at(begin)];
            for (end = begin + 1; end < n_in && in.time[at(end)] == now;) ++end;
            const int32_t* rows = &in.index[at(begin)];
            int n_rows = end - begin;
            for (int l = 0; l <= last && n_rows > 0; ++l) {
                LayerState& state = sample.layers[at(l)];
                const Layer& layer = layers_[at(l)];
                n_rows = k_.accumulate(layer.w, layer.n_out, s_.binary, rows, n_rows, 0, layer.n_out,
                                       state.potential.data(), state.level.data(), sample.crossed.data());
                const int emitted = now + (l + 1) * s_.delay;
                if (emitted >= s_.n_steps) break;  // too late to be emitted
                for (int k = 0; k < n_rows; ++k) {
                    const int32_t j = sample.crossed[at(k)];
                    state.time[at(j)] = static_cast<float>(emitted);
                    state.count[at(j)] = state.potential[at(j)];
                    state.spikes.index.push_back(j);
                    state.spikes.time.push_back(emitted);
                }
                rows = state.spikes.index.data() + state.spikes.index.size() - n_rows;
                if (l == last && n_rows > 0 && sample.tau == s_.n_steps) {
                    sample.tau = emitted;
                    keep_margins(sample);
                }
            }
            if (s_.early_stop && end < n_in && decided(sample, in.time[at(end)]) && follow_uncounted(sample, end)) break;
        }
        if (sample.tau == s_.n_steps) keep_margins(sample);
        finish(sample);
    }

    // Equations 10 and 12 for layer l - 1, from the deltas of layer l and its present weights.
    void delta_below(Sample& sample, int l) const {
        const Layer& layer = layers_[at(l)];
        const LayerState& above = sample.layers[at(l)];
        LayerState& below = sample.layers[at(l - 1)];
        std::fill(below.delta.begin(), below.delta.end(), 0.0);
        std::vector<int32_t> live;
        for (int j = 0; j < layer.n_out; ++j)
            if (above.delta[at(j)] != 0) live.push_back(j);
        for (std::size_t k = 0; k < below.spikes.index.size(); ++k) {
            const int32_t i = below.spikes.index[k];
            const float* row = layer.w + static_cast<std::size_t>(i) * at(layer.n_out);
            const float earliest = static_cast<float>(below.spikes.time[k] + s_.delay);
            double sum = 0;
            for (const int32_t j : live)
                if (above.time[at(j)] >= earliest) sum += above.delta[at(j)] * row[j];
            below.delta[at(i)] = sum * scale_[at(l)];
        }
        normalise(below.delta);
    }

    // Equations 13 and 15 for the columns [begin, end) of layer l; returns nothing but the change.
    void update(Sample& sample, int l, int begin, int end, double step, double bound, float* target,
                float* signs, std::vector<float>& amount) const {
        const LayerState& state = sample.layers[at(l)];
        float latest = never;
        amount.assign(state.time.size(), 0.f);
        for (int j = begin; j < std::min(end, layers_[at(l)].n_out); ++j) {
            if (state.delta[at(j)] == 0) continue;
            amount[at(j)] = static_cast<float>(step * state.delta[at(j)]);
            latest = std::max(latest, state.time[at(j)]);
        }
        const Spikes& rows = l == 0 ? sample.inputs : sample.layers[at(l - 1)].spikes;
        const auto in_time = std::upper_bound(rows.time.begin(), rows.time.end(), static_cast<int>(latest) - s_.delay);
        const int n_rows = static_cast<int>(in_time - rows.time.begin());
        if (latest == never || n_rows == 0) return;
        k_.update(target, layers_[at(l)].n_out, rows.index.data(), rows.time.data(), n_rows, s_.delay, begin,
                  std::min(end, layers_[at(l)].n_out), amount.data(), state.time.data(), static_cast<float>(bound), signs);
    }

    // One online sample after its forward pass: section 6.2. Decay is kept as a scale of the whole layer, w = scale * u.
    void learn(Sample& sample, std::vector<float>& amount, std::vector<float>& signs) {
        for (int l = static_cast<int>(layers_.size()) - 1; l >= 0; --l) {
            const Layer& layer = layers_[at(l)];
            const double kept = scale_[at(l)] * (1 - layer.eta * s_.decay);
            if (sample.error) {
                if (!s_.post && l > 0) delta_below(sample, l);
                if (s_.binary) signs.assign(padded(layer.n_out), 0.f);
                update(sample, l, 0, layer.n_out, layer.eta / scale_[at(l)], s_.clip / kept, layer.w,
                       s_.binary ? signs.data() : nullptr, amount);
                if (s_.binary) alpha_[l] -= s_.mu * mean(sample, l, signs);
            }
            scale_[at(l)] = kept;
            if (sample.error && s_.post && l > 0) delta_below(sample, l);
        }
    }

    // mean over all synapses of d_j M_ij sgn(w_ij), equation 17; count_j = sum_i M_ij sgn(w_ij).
    double mean(const Sample& sample, int l, const std::vector<float>& count) const {
        double sum = 0;
        for (int j = 0; j < layers_[at(l)].n_out; ++j) sum += sample.layers[at(l)].delta[at(j)] * count[at(j)];
        return sum / (static_cast<double>(layers_[at(l)].n_in) * layers_[at(l)].n_out);
    }

    void apply_scales() {
        for (std::size_t l = 0; l < layers_.size(); ++l)
            if (scale_[l] != 1)
                k_.shrink(layers_[l].w, at(layers_[l].n_in) * at(layers_[l].n_out), static_cast<float>(1 - scale_[l]));
    }

    void decay(int l, std::size_t n, std::size_t begin, std::size_t end) const {
        const double loss = -std::expm1(static_cast<double>(n) * std::log1p(-layers_[at(l)].eta * s_.decay));
        k_.shrink(layers_[at(l)].w + begin, end - begin, static_cast<float>(loss));
    }

  private:
    static std::size_t at(int i) { return static_cast<std::size_t>(i); }

    double threshold(int l) const { return s_.binary ? layers_[at(l)].theta / alpha_[l] : layers_[at(l)].theta; }

    void start(const int16_t* inputs, int label, Sample& sample) const {
        sample.label = label;
        sample.tau = s_.n_steps;
        sample.extra.clear();
        sort_inputs(inputs, layers_[0].n_in, s_.n_steps, sample.keys, sample.other, sample.inputs);
        for (int l = 0; l < static_cast<int>(layers_.size()); ++l) {
            LayerState& state = sample.layers[at(l)];
            // U is an integer, so U > theta / alpha is U > floor(theta / alpha), exact in float.
            const double level = s_.binary ? std::floor(threshold(l)) : threshold(l) / scale_[at(l)];
            std::fill(state.potential.begin(), state.potential.end(), 0.f);
            std::fill(state.time.begin(), state.time.end(), never);
            std::fill(state.level.begin(), state.level.begin() + layers_[at(l)].n_out, static_cast<float>(level));
            std::fill(state.level.begin() + layers_[at(l)].n_out, state.level.end(), std::numeric_limits<float>::infinity());
            state.spikes.clear();
        }
    }

    void keep_margins(Sample& sample) const {
        const int last = static_cast<int>(layers_.size()) - 1;
        const double scale = s_.binary ? 1.0 : scale_[at(last)], theta = threshold(last);
        sample.margin.resize(at(layers_[at(last)].n_out));
        for (std::size_t j = 0; j < sample.margin.size(); ++j)
            sample.margin[j] = sample.layers[at(last)].potential[j] * scale - theta;
    }

    // Whatever crosses from step `next` on can no longer change an error: tau and t_y are known, all else is late enough.
    bool decided(const Sample& sample, int next) const {
        return sample.tau < s_.n_steps && sample.layers.back().time[at(sample.label)] != never &&
               next + static_cast<int>(layers_.size()) * s_.delay >= sample.tau + s_.gamma;
    }

    // The dead-neuron count wants every hidden neuron's fate: follow, without the output, the columns of those that have
    // not fired here nor often enough before. False: a deeper network with such neurons must be followed in full.
    bool follow_uncounted(Sample& sample, int begin) const {
        if (fired_ == nullptr) return true;
        int offset = 0;
        for (int l = 0; l + 1 < static_cast<int>(layers_.size()); offset += layers_[at(l++)].n_out) {
            LayerState& state = sample.layers[at(l)];
            for (int c = 0; c < layers_[at(l)].n_out; c += lanes) {
                const int stop = std::min(c + lanes, layers_[at(l)].n_out);
                bool wanted = false;
                for (int j = c; j < stop; ++j) wanted |= state.time[at(j)] == never && fired_[offset + j] < quota_;
                if (!wanted) continue;
                if (layers_.size() != 2) return false;
                follow(sample, begin, c, stop);
            }
        }
        return true;
    }

    void follow(Sample& sample, int begin, int c, int stop) const {
        const Spikes& in = sample.inputs;
        LayerState& state = sample.layers[0];
        const int n_in = static_cast<int>(in.index.size());
        for (int end; begin < n_in && in.time[at(begin)] + s_.delay < s_.n_steps; begin = end) {
            for (end = begin + 1; end < n_in && in.time[at(end)] == in.time[at(begin)];) ++end;
            const int n = k_.accumulate(layers_[0].w, layers_[0].n_out, s_.binary, &in.index[at(begin)], end - begin, c,
                                        stop, state.potential.data(), state.level.data(), sample.crossed.data());
            sample.extra.insert(sample.extra.end(), sample.crossed.begin(), sample.crossed.begin() + n);
        }
    }

    // Decision (section 4), targets (6, 7), error (8), output delta (9, 12).
    void finish(Sample& sample) const {
        LayerState& out = sample.layers.back();
        const int n = layers_.back().n_out, T = s_.n_steps, tau = sample.tau;
        for (auto& state : sample.layers)
            for (std::size_t j = 0; j < state.time.size(); ++j)
                if (state.time[j] == never) state.count[j] = state.potential[j];
        sample.loss = 0;
        sample.error = false;
        sample.decision = -1;
        for (int j = 0; j < n; ++j) {
            const int t = out.time[at(j)] == never ? T : static_cast<int>(out.time[at(j)]);
            if (t == tau && (sample.decision < 0 || sample.margin[at(j)] > sample.margin[at(sample.decision)]))
                sample.decision = j;
            int target = t;
            if (tau == T) {
                if (j == sample.label && s_.early_target) target = T - s_.gamma;
            } else if (j == sample.label) {
                target = tau;
            } else if (t - tau < s_.gamma) {
                target = std::min(tau + s_.gamma, T);
            }
            const double e = static_cast<double>(target - t) / T;
            out.delta[at(j)] = e;
            sample.loss += 0.5 * e * e;
            sample.error |= target != t;
            out.time[at(j)] = static_cast<float>(t);
        }
        if (sample.error) normalise(out.delta);
    }

    void normalise(std::vector<double>& delta) const {
        if (!s_.normalise) return;
        double square = 0;
        for (const double d : delta) square += d * d;
        if (square > 0)
            for (double& d : delta) d /= std::sqrt(square);
    }

    const std::vector<Layer>& layers_;
    double* alpha_;
    const int32_t* fired_;
    int32_t quota_;
    const Settings& s_;
    const Kernels& k_;
    std::vector<double> scale_;
};

}  // namespace bitspike::s4nn
