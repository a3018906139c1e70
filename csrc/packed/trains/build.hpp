// Lays the synapses of a packed network out for the kernels. For files that are compiled once.
#pragma once
#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "common/array.hpp"
#include "common/memory.hpp"
#include "packed/trains/network.hpp"

namespace bitspike::packed::trains {

// height, width, channels, size, padding of a convolution or a pool; a dense layer of floats is 1, 1, n_in, 1, 0.
using Geometry = std::tuple<int, int, int, int, int>;

// Owns the arrays that `Synapses` point to.
class Builder {
  public:
    // signs (n_in, ceil(n_out / 8)).
    Synapses signs(const In<std::uint8_t, 2>& signs, const std::vector<std::int32_t>& fan_out, int n_out) {
        const std::size_t n_in = signs.shape(0), bytes = signs.shape(1);
        if (n_out < 1 || bytes != (static_cast<std::size_t>(n_out) + 7) / 8) throw std::invalid_argument("signs: wrong shape");
        const bool narrow = n_out <= 16 && n_in <= 32767;
        Synapses y = make(n_in, n_out, fan_out, 1, narrow ? 16 : round_up(n_out, 64));
        y.kind = narrow ? Kind::narrow : Kind::signs;
        if (narrow) {
            auto* rows = take<std::int16_t>(16 * n_in);
            for (std::size_t i = 0; i < n_in; ++i)
                for (int j = 0; j < n_out; ++j)
                    rows[16 * i + j] = signs.data()[i * bytes + j / 8] >> (j % 8) & 1 ? 1 : -1;
            y.narrow = rows;
        } else {
            y.stride = round_up(n_out, 512) / 64;
            const std::size_t stride = static_cast<std::size_t>(y.stride);
            auto* rows = take<std::uint64_t>((n_in + 1) * stride);
            for (std::size_t i = 0; i < n_in; ++i)
                for (std::size_t k = 0; k < bytes; ++k)
                    rows[i * stride + k / 8] |= static_cast<std::uint64_t>(signs.data()[i * bytes + k]) << (8 * (k % 8));
            y.signs = rows;
        }
        return y;
    }

    // weights (size, size, channels, filters).
    Synapses rows(const In<float, 4>& weights, const std::vector<std::int32_t>& fan_out, const Geometry& geometry) {
        Synapses shape{};
        const int places = place(shape, geometry, 1);
        const std::size_t size = static_cast<std::size_t>(shape.size), channels = static_cast<std::size_t>(shape.channels);
        const std::size_t filters = weights.shape(3), depth = static_cast<std::size_t>(round_up(static_cast<int>(filters), 16));
        if (weights.shape(0) != size || weights.shape(1) != size || weights.shape(2) != channels)
            throw std::invalid_argument("weights: wrong shape");
        const std::size_t n_in = static_cast<std::size_t>(shape.height) * shape.width * channels;
        Synapses y = make(n_in, static_cast<int>(filters), fan_out, places, static_cast<int>(depth));
        place(y, geometry, 1);
        y.kind = Kind::rows;
        auto* rows = take<float>(channels * size * size * depth);
        for (std::size_t ky = 0; ky < size; ++ky)
            for (std::size_t kx = 0; kx < size; ++kx)
                for (std::size_t c = 0; c < channels; ++c)
                    std::memcpy(rows + ((c * size + ky) * size + size - 1 - kx) * depth,
                                weights.data() + ((ky * size + kx) * channels + c) * filters, filters * sizeof(float));
        y.rows = rows;
        return y;
    }

    Synapses pool(const std::vector<std::int32_t>& fan_out, const Geometry& geometry) {
        Synapses shape{};
        const int places = place(shape, geometry, std::get<3>(geometry));
        const std::size_t n_in = static_cast<std::size_t>(shape.height) * shape.width * shape.channels;
        Synapses y = make(n_in, shape.channels, fan_out, places, round_up(shape.channels, 16));
        place(y, geometry, shape.size);
        y.kind = Kind::pool;
        return y;
    }

    // Zeros, aligned to 64 bytes.
    template <class T>
    T* take(std::size_t n) { return blocks_.take<T>(n); }

  private:
    // Returns the number of places of the layer's output.
    static int place(Synapses& y, const Geometry& geometry, int stride) {
        std::tie(y.height, y.width, y.channels, y.size, y.padding) = geometry;
        const std::int64_t most = 1 << 24;
        if (std::min({y.height, y.width, y.channels, y.size}) < 1 || y.padding < 0 || y.size > 1 << 12 ||
            y.padding > 1 << 12 || static_cast<std::int64_t>(y.height) * y.width >= most ||
            static_cast<std::int64_t>(y.height) * y.width * y.channels >= most)
            throw std::invalid_argument("a map has an impossible size");
        y.out_height = (y.height + 2 * y.padding - y.size) / stride + 1;
        y.out_width = (y.width + 2 * y.padding - y.size) / stride + 1;
        const std::int64_t places = static_cast<std::int64_t>(y.out_height) * y.out_width;
        if (y.height + 2 * y.padding < y.size || y.width + 2 * y.padding < y.size || places >= most)
            throw std::invalid_argument("a window does not fit its map");
        return static_cast<int>(places);
    }

    Synapses make(std::size_t n_in, int filters, const std::vector<std::int32_t>& fan_out, int places, int depth) {
        const std::int64_t n_out = static_cast<std::int64_t>(places) * filters, lanes = static_cast<std::int64_t>(places) * depth;
        if (n_in < 1 || n_out < 1 || n_in >= 1u << 24 || n_out >= 1 << 24 || lanes >= 1 << 28)
            throw std::invalid_argument("a layer has impossible widths");
        if (fan_out.size() != n_in) throw std::invalid_argument("fan_out: wrong shape");
        Synapses y{};
        y.n_in = static_cast<int>(n_in);
        y.n_out = static_cast<int>(n_out);
        y.depth = depth;
        y.lanes = static_cast<int>(lanes);
        auto* ids = take<std::uint32_t>(static_cast<std::size_t>(lanes));
        for (int p = 0; p < places; ++p)
            for (int k = 0; k < filters; ++k) ids[static_cast<std::size_t>(p) * depth + k] = static_cast<std::uint32_t>(p * filters + k);
        y.ids = ids;
        auto* fan = take<std::int32_t>(n_in);
        std::memcpy(fan, fan_out.data(), n_in * sizeof(std::int32_t));
        y.fan_out = fan;
        y.fan_out_each = std::all_of(fan_out.begin(), fan_out.end(), [&](std::int32_t f) { return f == fan_out[0]; }) ? fan_out[0] : -1;
        return y;
    }

    Blocks blocks_;
};

inline std::vector<std::int32_t> listed(const In<std::int32_t, 1>& numbers) {
    return {numbers.data(), numbers.data() + numbers.size()};
}

// Checks lists of spikes and fills `in`; how many recordings there are.
inline std::size_t lists(Inputs& in, const In<std::int16_t, 1>& steps, const In<std::int32_t, 1>& channels,
                         const In<std::int64_t, 1>& offsets) {
    const std::size_t n = offsets.size() ? offsets.size() - 1 : 0;
    const std::int64_t* at = offsets.data();
    bool rising = offsets.size() > 0 && at[0] == 0 && at[n] == static_cast<std::int64_t>(steps.size());
    for (std::size_t k = 0; rising && k < n; ++k) rising = at[k] <= at[k + 1];
    if (!rising || steps.size() != channels.size()) throw std::invalid_argument("offsets do not fit the spikes");
    in.steps = steps.data();
    in.channels = channels.data();
    in.offsets = at;
    return n;
}

// Images whose trains are drawn.
inline std::size_t drawn(Inputs& in, const In<std::uint8_t, 2>& images, const In<std::int32_t, 2>& limits) {
    if (limits.shape(1) != 256) throw std::invalid_argument("limits: wrong shape");
    in.images = images.data();
    in.n_pixels = static_cast<int>(images.shape(1));
    in.limits = limits.data();
    in.sides = static_cast<int>(limits.shape(0));
    return images.shape(0);
}

}  // namespace bitspike::packed::trains
