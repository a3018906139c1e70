// Where the inputs of a convolution's places lie, and the largest potential of every window; of a dense layer too, which is
// one place that sees all inputs.
#pragma once
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "common/require.hpp"
#include "srm/kernels.hpp"

namespace bitspike::srm {

// Stride 1, zero padding; maps are channels last.
struct Map {
    int height, width, channels, size, padding, pool, filters;

    Map(const std::array<int, 6>& n, int n_filters)
        : height(n[0]), width(n[1]), channels(n[2]), size(n[3]), padding(n[4]), pool(n[5]), filters(n_filters) {
        require(height >= 1 && width >= 1 && channels >= 1 && size >= 1 && padding >= 0 && pool >= 1 && out_height() >= pool &&
                    out_width() >= pool,
                "map: its sizes do not fit");
    }
    int out_height() const { return height + 2 * padding - size + 1; }
    int out_width() const { return width + 2 * padding - size + 1; }
    int wide() const { return width + 2 * padding; }
    std::size_t n_in() const { return std::size_t(height) * width * channels; }
    std::size_t n_padded() const { return std::size_t(height + 2 * padding) * wide() * channels; }
    std::size_t fan_in() const { return std::size_t(size) * size * channels; }
    std::size_t places() const { return std::size_t(out_height()) * out_width(); }
    std::size_t n_out() const { return std::size_t(out_height() / pool) * (out_width() / pool) * filters; }
    bool is_dense() const { return height == 1 && width == 1 && size == 1 && padding == 0; }

    // From the first input of a padded map to that of a place, and from there to a tap.
    std::int32_t place(std::size_t k) const {
        return static_cast<std::int32_t>((k / out_width() * wide() + k % out_width()) * channels);
    }
    std::int32_t tap(std::size_t k) const {
        const std::size_t row = k / (std::size_t(size) * channels), rest = k % (std::size_t(size) * channels);
        return static_cast<std::int32_t>(row * wide() * channels + rest);
    }
    // A sample's map with zeros around it; the border of `to` must be 0 already.
    void pad(const float* from, float* to) const {
        const std::size_t row = std::size_t(width) * channels;
        for (int y = 0; y < height; ++y)
            std::memcpy(to + (std::size_t(y + padding) * wide() + padding) * channels, from + y * row, row * sizeof(float));
    }
    // A sample's potentials (places, stride) -> the largest of every window (n_out), the first of equals, and its place.
    void largest(const float* u, std::size_t stride, float* to, std::int32_t* winner) const {
        for (int y = 0; y < out_height() / pool; ++y)
            for (int x = 0; x < out_width() / pool; ++x, to += filters, winner += filters)
                for (int at = 0; at < pool * pool; ++at) {
                    const int place = (y * pool + at / pool) * out_width() + x * pool + at % pool;
                    const float* here = u + place * stride;
                    for (int f = 0; f < filters; ++f) {
                        if (at && !(here[f] > to[f]) && here[f] == here[f]) continue;
                        to[f] = here[f];
                        winner[f] = place;
                    }
                }
    }
};

// Errors of the places that have any, in order: (tiles of filters, rows, kTile), and where their inputs begin.
struct PlacedErrors {
    std::vector<std::int32_t> rows;
    std::vector<float> errors;

    // events[begins[s] ..]: errors of sample s by neuron after pooling, whose place is winner[s * n_out + neuron].
    PlacedErrors(const Map& map, std::size_t batch, const Event* events, const std::int64_t* begins, const std::int32_t* winner) {
        std::vector<std::int32_t> row(batch * map.places(), -1);
        const auto each = [&](auto&& visit) {
            for (std::size_t s = 0; s < batch; ++s)
                for (std::int64_t k = begins[s]; k < begins[s + 1]; ++k)
                    visit(row[s * map.places() + winner[s * map.n_out() + events[k].neuron]], events[k]);
        };
        each([](std::int32_t& r, const Event&) { r = 0; });
        for (std::size_t k = 0; k < row.size(); ++k) {
            if (row[k] < 0) continue;
            row[k] = static_cast<std::int32_t>(rows.size());
            rows.push_back(static_cast<std::int32_t>(k / map.places() * map.n_padded()) + map.place(k % map.places()));
        }
        errors.assign(std::size_t(map.filters + kTile - 1) / kTile * kTile * rows.size(), 0.0f);
        each([&](std::int32_t r, const Event& event) {
            const std::size_t f = event.neuron % map.filters;
            errors[(f / kTile * rows.size() + r) * kTile + f % kTile] = event.error;
        });
    }
};

}  // namespace bitspike::srm
