#include <limits>

#include "common/parallel.hpp"
#include "s4nn/events.hpp"

namespace bitspike::s4nn {

void layer_times(const int16_t* inputs, std::size_t n, const float* w, int n_in, int n_out, const float* threshold,
                 int n_steps, int delay, int threads, const Kernels& kernels, int16_t* times) {
    over(n, threads, [&](int, std::size_t first, std::size_t last) {
        Spikes in;
        std::vector<uint64_t> keys, other;
        std::vector<float> potential(padded(n_out)), level(padded(n_out));
        std::vector<int32_t> crossed(padded(n_out));
        for (std::size_t row = first; row < last; ++row) {
            int16_t* out = times + row * static_cast<std::size_t>(n_out);
            std::fill(out, out + n_out, static_cast<int16_t>(n_steps));
            std::fill(potential.begin(), potential.end(), 0.f);
            std::copy(threshold, threshold + n_out, level.begin());
            std::fill(level.begin() + n_out, level.end(), std::numeric_limits<float>::infinity());
            sort_inputs(inputs + row * static_cast<std::size_t>(n_in), n_in, n_steps, keys, other, in);
            for (std::size_t begin = 0, end; begin < in.time.size() && in.time[begin] + delay < n_steps; begin = end) {
                for (end = begin + 1; end < in.time.size() && in.time[end] == in.time[begin];) ++end;
                const int found = kernels.accumulate(w, n_out, false, &in.index[begin], static_cast<int>(end - begin), 0,
                                                     n_out, potential.data(), level.data(), crossed.data());
                for (int k = 0; k < found; ++k)
                    out[crossed[static_cast<std::size_t>(k)]] = static_cast<int16_t>(in.time[begin] + delay);
            }
        }
    });
}

void layer_backward(const int16_t* inputs, const int16_t* times, const float* delta, std::size_t n, const float* w, int n_in,
                    int n_out, int n_steps, int delay, int threads, const Kernels& kernels, float* grad, float* below) {
    const auto width = static_cast<std::size_t>(n_out), depth = static_cast<std::size_t>(n_in);
    std::vector<Spikes> in(n);
    over(n, threads, [&](int, std::size_t first, std::size_t last) {
        std::vector<uint64_t> keys, other;
        for (std::size_t row = first; row < last; ++row) {
            sort_inputs(inputs + row * depth, n_in, n_steps, keys, other, in[row]);
            if (below == nullptr) continue;
            float* out = below + row * depth;
            std::fill(out, out + n_in, 0.f);
            for (std::size_t k = 0; k < in[row].index.size(); ++k) {
                const auto i = static_cast<std::size_t>(in[row].index[k]);
                double sum = 0;
                for (std::size_t j = 0; j < width; ++j)
                    if (times[row * width + j] >= in[row].time[k] + delay)
                        sum += static_cast<double>(delta[row * width + j]) * w[i * width + j];
                out[i] = static_cast<float>(sum);
            }
        }
    });
    if (grad == nullptr) return;
    over(padded(n_out) / lanes, threads, [&](int, std::size_t first, std::size_t last) {
        const int begin = static_cast<int>(first) * lanes, end = std::min(static_cast<int>(last) * lanes, n_out);
        std::vector<float> amount(padded(n_out)), time(padded(n_out));
        for (std::size_t row = 0; row < n; ++row) {
            for (int j = begin; j < end; ++j) {
                const std::size_t from = row * width + static_cast<std::size_t>(j);
                amount[static_cast<std::size_t>(j)] = -delta[from];
                time[static_cast<std::size_t>(j)] = static_cast<float>(times[from]);
            }
            kernels.update(grad, n_out, in[row].index.data(), in[row].time.data(), static_cast<int>(in[row].index.size()),
                           delay, begin, end, amount.data(), time.data(), std::numeric_limits<float>::infinity(), nullptr);
        }
    });
}

}  // namespace bitspike::s4nn
