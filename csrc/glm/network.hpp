// What Python gives to the kernels of circuits that fire by chance: checked, and laid out in lanes.
#pragma once
#include <nanobind/nanobind.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "common/array.hpp"
#include "common/memory.hpp"
#include "glm/kernels.hpp"

namespace bitspike::glm {

using Groups = std::vector<std::pair<int, int>>;  // circuits and values
using Connections = std::vector<std::pair<int, int>>;
template <class T>
using Maybe = std::optional<T>;

// The way back from `to_lanes`, times a factor.
inline void from_lanes(const Group& g, const float* from, float* to, float factor) {
    for (int c = 0; c < g.values; ++c, from += g.width)
        for (int i = 0; i < g.n; ++i) *to++ = from[i] * factor;
}

// A network and its parameters.
struct Circuits {
    std::vector<Group> groups;
    std::vector<Connection> connections;
    Network net{};

    Circuits(const Groups& sizes, const Connections& pairs, const std::vector<In<float, 3>>& weights,
             const std::vector<In<float, 1>>& biases, const std::vector<In<float, 2>>& own, const In<float, 2>& table,
             const Maybe<In<float, 2>>& own_table, int n_steps, double silence)
        : groups(sizes.size()), connections(pairs.size()) {
        require(sizes.size() >= 2 && biases.size() + 1 == sizes.size(), "there must be a bias for every group but the input");
        require(weights.size() == pairs.size(), "there must be weights for every connection");
        require(table.shape(0) >= 1 && table.shape(1) >= 1, "filters must be (filters, length), one at least");
        require(own.size() == (own_table ? biases.size() : 0), "there must be feedback for every group but the input, or none");
        net = {groups.data(),
               connections.data(),
               static_cast<int>(sizes.size()),
               static_cast<int>(pairs.size()),
               n_steps,
               own_table ? static_cast<int>(own_table->shape(1)) : 0,
               0,
               0,
               0,
               true,
               {static_cast<int>(table.shape(0)), static_cast<int>(table.shape(1)), table.data()}};
        for (std::size_t k = 0; k < sizes.size(); ++k) add_group(sizes, k, silence);
        parameters_ = scratch<float, struct OfParameters>(std::size_t(net.lanes) * (1 + net.own_length));
        for (std::size_t k = 1; k < sizes.size(); ++k) {
            Group& g = groups[k];
            require(biases[k - 1].shape(0) == g.rows(), "biases must be (rows)");
            to_lanes(g, biases[k - 1].data(), parameters_ + g.first, kNobody);
            g.bias = parameters_ + g.first;
            if (own_table) add_own(g, own[k - 1], *own_table);
        }
        std::size_t all = 0;
        for (std::size_t c = 0; c < pairs.size(); ++c) all += add_connection(pairs[c], weights[c], c);
        net.ordered = net.ordered && !own_table;
        float* to = scratch<float, struct OfWeights>(all);
        for (std::size_t c = 0; c < pairs.size(); ++c) {
            connections[c].rows = to;
            const float* from = weights[c].data();
            const Group& g = groups[connections[c].target];
            for (std::size_t row = 0; row < weights[c].shape(0) * net.filters.n; ++row, from += g.rows(), to += g.lanes)
                to_lanes(g, from, to, 0);
        }
    }
    Circuits(const Circuits&) = delete;

    std::size_t gradient_size(const Connection& y) const {
        return groups[y.source].rows() * net.filters.n * groups[y.target].lanes;
    }

  private:
    void add_group(const Groups& sizes, std::size_t k, double silence) {
        const auto [n, values] = sizes[k];
        require(n >= 1 && values >= 1 && std::int64_t(n) * values < (1 << 27),
                "a group must have a circuit and a value, 2^27 rows at most");
        const int width = round_up(n, kPad);
        groups[k] = {n,
                     values,
                     width,
                     width * values,
                     net.lanes,
                     net.circuits,
                     nullptr,
                     nullptr,
                     static_cast<float>(std::log((1 - silence) / values))};
        if (k == 0) return;
        require(std::int64_t(net.lanes) + width * values < (1 << 27), "the network has too many rows");
        net.lanes += width * values;
        net.circuits += n;
    }
    void add_own(Group& g, const In<float, 2>& own, const In<float, 2>& table) {
        require(own.shape(0) == table.shape(0) && own.shape(1) == g.rows(), "feedback must be (filters, rows)");
        float* to = parameters_ + net.lanes + std::size_t(g.first) * net.own_length;
        std::vector<float> sums(g.rows());
        for (int d = 0; d < net.own_length; ++d) {
            std::fill(sums.begin(), sums.end(), 0.0f);
            for (std::size_t k = 0; k < table.shape(0); ++k)
                for (std::size_t row = 0; row < sums.size(); ++row)
                    sums[row] += table.data()[k * net.own_length + d] * own.data()[k * sums.size() + row];
            to_lanes(g, sums.data(), to + std::size_t(d) * g.lanes, 0);
        }
        g.own = to;
    }
    std::size_t add_connection(const std::pair<int, int>& pair, const In<float, 3>& weight, std::size_t c) {
        const auto [source, target] = pair;
        require(source >= 0 && source < net.n_groups && target >= 1 && target < net.n_groups,
                "a connection names a group that is not there");
        Connection& y = connections[c];
        y = {source, target, net.heard, nullptr};
        require(weight.shape(0) == groups[source].rows() && weight.shape(1) == std::size_t(net.filters.n) &&
                    weight.shape(2) == groups[target].rows(),
                "weights must be (source rows, filters, target rows)");
        net.heard += groups[target].lanes;
        net.ordered = net.ordered && source < target;
        return gradient_size(y);
    }

    float* parameters_ = nullptr;
};

}  // namespace bitspike::glm
