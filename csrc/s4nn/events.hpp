// Spikes as events.
#pragma once
#include <algorithm>
#include <cstddef>

#include "s4nn/step.hpp"

namespace bitspike::s4nn {

constexpr float never = -1;  // as a float time: before every step, so that no mask holds

inline std::size_t padded(int n) { return static_cast<std::size_t>((n + lanes - 1) / lanes * lanes); }

// Neurons of one layer (or inputs) that spiked, in the order of their spikes.
struct Spikes {
    std::vector<int32_t> index, time;
    void clear() {
        index.clear();
        time.clear();
    }
};

// Inputs that spike, ordered by time, then index: least significant digit first, so the cost does not grow with n_steps.
inline void sort_inputs(const int16_t* times, int n, int n_steps, std::vector<uint64_t>& keys, std::vector<uint64_t>& other,
                 Spikes& out) {
    keys.resize(static_cast<std::size_t>(n) + 1);
    std::size_t count = 0;
    for (int i = 0; i < n; ++i) {
        const auto t = static_cast<uint16_t>(times[i]);
        keys[count] = static_cast<uint64_t>(t) << 32 | static_cast<uint32_t>(i);
        count += t < n_steps;
    }
    other.resize(count);
    for (int digit = 0; digit < (n_steps <= 256 ? 1 : 2); ++digit) {
        std::size_t start[256] = {};
        const int shift = 32 + 8 * digit;
        for (std::size_t k = 0; k < count; ++k) ++start[keys[k] >> shift & 255];
        std::size_t sum = 0;
        for (auto& entry : start) {
            const std::size_t size = entry;
            entry = sum;
            sum += size;
        }
        for (std::size_t k = 0; k < count; ++k) other[start[keys[k] >> shift & 255]++] = keys[k];
        std::copy(other.begin(), other.end(), keys.begin());
    }
    out.index.resize(count);
    out.time.resize(count);
    for (std::size_t k = 0; k < count; ++k) {
        out.index[k] = static_cast<int32_t>(keys[k] & 0xffffffffu);
        out.time[k] = static_cast<int32_t>(keys[k] >> 32);
    }
}

}  // namespace bitspike::s4nn
