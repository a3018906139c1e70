// The engine of networks of circuits: prepares a packed network for the kernel, for Python.
#include "packed/glm/kernels.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <string>
#include <vector>

#include "common/cpu.hpp"
#include "packed/run.hpp"
#include "packed/trains/build.hpp"

namespace bitspike::packed::glm {
namespace {

constexpr std::size_t most_rows = 1u << 24, most_weights = std::size_t{1} << 31, most_runs = 1u << 20,
                      most_filters = 1u << 14;

class GLMEngine {
  public:
    // groups (G, 2): circuits and values; fan_out (G); filters (K, length), feedback (K_b, length), both 0 where there is none.
    GLMEngine(int n_steps, In<std::int32_t, 2> groups, In<std::int64_t, 1> fan_out, In<float, 2> filters,
              In<float, 2> feedback, const std::string& decision, bool draws_output, int runs, std::uint64_t draw_seed,
              const std::string& isa) {
        require(n_steps >= 2 && n_steps <= 32767, "n_steps must lie between 2 and 32767");
        require(groups.shape(0) >= 2 && groups.shape(0) <= max_groups && groups.shape(1) == 2, "groups: wrong shape");
        require(fan_out.shape(0) == groups.shape(0), "fan_out: wrong shape");
        require(runs >= 1 && static_cast<std::size_t>(runs) <= most_runs, "runs: wrong number");
        require(decision == "probability" || decision == "count" || decision == "mean-field", "decision: unknown");
        net_.n_steps = n_steps;
        net_.n_groups = static_cast<int>(groups.shape(0));
        net_.runs = runs;
        net_.draw_seed = draw_seed;
        net_.draws_output = draws_output;
        net_.decision = decision == "count" ? Decision::count
                        : decision == "mean-field" ? Decision::mean_field : Decision::probability;
        require(filters.size() > 0, "filters: wrong shape");
        const std::size_t longest = std::max(filters.shape(1), feedback.shape(1));
        net_.filters = taken(filters, longest);
        net_.feedback = taken(feedback, longest);
        net_.memory = std::max(net_.filters.length, net_.feedback.length);
        for (int g = 0; g < net_.n_groups; ++g) {
            const std::int32_t n = groups.data()[2 * g], values = groups.data()[2 * g + 1];
            require(n >= 1 && values >= 1 && static_cast<std::size_t>(n) * static_cast<std::size_t>(values) < most_rows,
                    "a group has an impossible width");
            groups_[g] = {n, values, n * values, round_up(n * values, 16), fan_out.data()[g], nullptr, nullptr, 0, 0};
        }
        auto* each = builder_.take<std::int32_t>(static_cast<std::size_t>(groups_[0].rows));
        std::fill(each, each + groups_[0].rows, static_cast<std::int32_t>(fan_out.data()[0]));
        net_.fan_out = each;
        net_.groups = groups_;
        kernels_ = &BITSPIKE_PICK(kernels, isa);
    }

    GLMEngine(const GLMEngine&) = delete;

    // bias (rows); own (K_b, rows) where there is feedback.
    void set_group(int number, In<float, 1> bias, std::optional<In<float, 2>> own) {
        require(number >= 1 && number < net_.n_groups, "there is no such group");
        Group& y = groups_[number];
        const auto rows = static_cast<std::size_t>(y.rows), lanes = static_cast<std::size_t>(y.lanes);
        require(bias.shape(0) == rows, "bias: wrong shape");
        require(own.has_value() == (net_.feedback.n > 0), "own: needed with feedback, and with it alone");
        y.bias = padded(bias.data(), 1, rows, lanes);
        if (!own) return;
        require(own->shape(0) == static_cast<std::size_t>(net_.feedback.n) && own->shape(1) == rows, "own: wrong shape");
        y.own = padded(own->data(), own->shape(0), rows, lanes);
    }

    // weights (source rows, K, target rows), 0 where no synapse is.
    void add_weights(int source, int target, In<float, 3> weights) {
        Connection y = made(source, target, weights.shape(0), weights.shape(1), weights.shape(2));
        const std::size_t rows = weights.shape(0) * weights.shape(1);
        y.rows = padded(weights.data(), rows, weights.shape(2), static_cast<std::size_t>(y.lanes));
        add(y);
    }

    // signs (source rows, K, target rows): +1, -1, or 0 where no synapse is; scale (target rows).
    void add_signs(int source, int target, In<std::int8_t, 3> signs, In<float, 1> scale) {
        Connection y = made(source, target, signs.shape(0), signs.shape(1), signs.shape(2));
        require(scale.shape(0) == signs.shape(2), "scale: wrong shape");
        y.signs = padded(signs.data(), signs.shape(0) * signs.shape(1), signs.shape(2), static_cast<std::size_t>(y.lanes));
        y.scale = padded(scale.data(), 1, signs.shape(2), static_cast<std::size_t>(y.lanes));
        add(y);
    }

    std::int64_t run_drawn(In<std::uint8_t, 2> images, In<std::int32_t, 2> limits, int threads, Result<float> scores,
                           Result<float> over_time, Result<std::int64_t> n_spikes, Result<std::int64_t> n_synops) const {
        require(images.shape(1) * limits.shape(0) == static_cast<std::size_t>(groups_[0].rows), "images: wrong shape");
        Inputs in{};
        const std::size_t n = trains::drawn(in, images, limits);
        return go(in, n, threads, scores, over_time, n_spikes, n_synops);
    }

    // Returns -1, or the first recording with a spike outside the window or twice.
    std::int64_t run_lists(In<std::int16_t, 1> steps, In<std::int32_t, 1> channels, In<std::int64_t, 1> offsets, int threads,
                           Result<float> scores, Result<float> over_time, Result<std::int64_t> n_spikes,
                           Result<std::int64_t> n_synops) const {
        Inputs in{};
        const std::size_t n = trains::lists(in, steps, channels, offsets);
        return go(in, n, threads, scores, over_time, n_spikes, n_synops);
    }

  private:
    // The part of the filters that the window has room for.
    Filters taken(const In<float, 2>& table, std::size_t longest) {
        const std::size_t n = table.shape(0), given = table.shape(1), most = static_cast<std::size_t>(net_.n_steps);
        require(n <= most_filters && given <= most_filters && (n > 0) == (given > 0), "filters: wrong shape");
        const std::size_t length = std::min(given, most), lags = std::min(longest, most);
        auto* taps = builder_.take<Tap>(n * length);
        auto* first = builder_.take<int>(lags + 1);
        int number = 0;
        for (std::size_t d = 0; d < lags; ++d) {
            first[d] = number;
            for (std::size_t k = 0; d < length && k < n; ++k)
                if (const float a = table.data()[k * given + d]; a != 0) taps[number++] = {static_cast<int>(k), a};
        }
        first[lags] = number;
        int slots = n == 0 ? 0 : 1;
        while (static_cast<std::size_t>(slots) < length) slots *= 2;
        return {static_cast<int>(n), static_cast<int>(length), slots, taps, first};
    }

    template <class T>
    const T* padded(const T* from, std::size_t rows, std::size_t width, std::size_t lanes) {
        T* to = builder_.take<T>(rows * lanes);
        for (std::size_t row = 0; row < rows; ++row) std::memcpy(to + row * lanes, from + row * width, width * sizeof(T));
        return to;
    }

    Connection made(int source, int target, std::size_t sources, std::size_t filters, std::size_t targets) const {
        require(source >= 0 && source < net_.n_groups && target >= 1 && target < net_.n_groups, "there is no such group");
        require(connections_.size() < max_groups * max_groups, "too many connections");
        require(sources == static_cast<std::size_t>(groups_[source].rows) && filters == static_cast<std::size_t>(net_.filters.n) &&
                    targets == static_cast<std::size_t>(groups_[target].rows), "weights: wrong shape");
        const std::size_t width = filters * static_cast<std::size_t>(groups_[target].lanes);
        require(sources * width < most_weights && width < most_weights, "a connection has too many weights");
        return {source, target, groups_[target].lanes, static_cast<int>(width), nullptr, nullptr, nullptr, net_.rings};
    }

    void add(const Connection& y) {
        connections_.push_back(y);
        net_.rings += static_cast<std::size_t>(net_.filters.slots) * static_cast<std::size_t>(y.width);
        ++(y.source == 0 ? groups_[y.target].n_from_input : groups_[y.target].n_from_circuits);
        net_.connections = connections_.data();
        net_.n_connections = static_cast<int>(connections_.size());
    }

    std::int64_t go(const Inputs& in, std::size_t n, int threads, const Result<float>& scores, const Result<float>& over_time,
                    const Result<std::int64_t>& n_spikes, const Result<std::int64_t>& n_synops) const {
        for (int g = 1; g < net_.n_groups; ++g) require(groups_[g].bias != nullptr, "a group is not set");
        const auto classes = static_cast<std::size_t>(groups_[net_.n_groups - 1].n);
        const std::size_t times = static_cast<std::size_t>(net_.n_steps) * classes;
        const Outputs out{data_of(scores, n * classes), data_of(over_time, n * times), data_of(n_spikes, n),
                          data_of(n_synops, n)};
        nb::gil_scoped_release released;
        return over_samples(*kernels_, net_, in, out, n, 2, threads);
    }

    Group groups_[max_groups]{};
    std::vector<Connection> connections_;
    Network net_{};
    const Kernels* kernels_ = nullptr;
    trains::Builder builder_;
};

}  // namespace
}  // namespace bitspike::packed::glm

void bind_packed_glm(nanobind::module_& m) {
    namespace nb = nanobind;
    using namespace nb::literals;
    using bitspike::packed::glm::GLMEngine;
    using Filters = bitspike::In<float, 2>;
    const auto none = nb::none();
    nb::class_<GLMEngine>(m, "GLMEngine")
        .def(nb::init<int, bitspike::In<std::int32_t, 2>, bitspike::In<std::int64_t, 1>, Filters, Filters, const std::string&,
                      bool, int, std::uint64_t, const std::string&>(),
             "n_steps"_a, "groups"_a, "fan_out"_a, "filters"_a, "feedback"_a, "decision"_a, "draws_output"_a, "runs"_a,
             "draw_seed"_a, "isa"_a)
        .def("set_group", &GLMEngine::set_group, "number"_a, "bias"_a, "own"_a = none)
        .def("add_weights", &GLMEngine::add_weights, "source"_a, "target"_a, "weights"_a)
        .def("add_signs", &GLMEngine::add_signs, "source"_a, "target"_a, "signs"_a, "scale"_a)
        .def("run_drawn", &GLMEngine::run_drawn, "images"_a, "limits"_a, "threads"_a, "scores"_a = none, "over_time"_a = none,
             "n_spikes"_a = none, "n_synops"_a = none)
        .def("run_lists", &GLMEngine::run_lists, "steps"_a, "channels"_a, "offsets"_a, "threads"_a, "scores"_a = none,
             "over_time"_a = none, "n_spikes"_a = none, "n_synops"_a = none);
}
