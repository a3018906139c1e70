// Windows of circuits that fire by chance for Python: threads, and the memory between the kernels.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "glm/network.hpp"
#include "lif/spikes.hpp"

namespace bitspike::glm {
namespace {

constexpr std::size_t kTogether = 1 << 20;  // floats that samples leave before they are added up

// kind, baseline, draws, lam, alpha, silence, same_step
using SignalTuple = std::tuple<int, int, int, double, double, double, bool>;

// A signal, and B in lanes.
struct Teaching {
    Signal signal{};
    std::vector<const float*> feedback;

    Teaching(const SignalTuple& s, const In<float, 1>& mean, const std::vector<In<float, 3>>& given, const Network& net)
        : feedback(net.n_groups, nullptr) {
        const auto [kind, baseline, draws, lam, alpha, silence, same_step] = s;
        require(kind >= 0 && kind <= 2 && baseline >= 0 && baseline <= 2, "signal: kind and baseline must be 0, 1 or 2");
        require(draws >= 1 && draws <= (1 << 16), "signal: draws must lie between 1 and 65536");
        require(silence > 0 && silence < 1, "signal: silence must lie between 0 and 1");
        require(draws > 1 || Baseline(baseline) != Baseline::leave_one_out || Kind(kind) != Kind::scalar,
                "signal: leave-one-out needs two draws");
        require(mean.shape(0) == std::size_t(net.n_steps), "mean must be (n_steps)");
        signal = {Kind(kind),   Baseline(baseline),       draws,     1,           float(lam),
                  float(alpha), float(std::log(silence)), same_step, mean.data(), nullptr};
        if (Kind(kind) == Kind::vector) take(given, net);
        signal.feedback = feedback.data();
    }

  private:
    void take(const std::vector<In<float, 3>>& given, const Network& net) {
        const Group& out = net.output();
        const std::size_t hidden = net.n_groups - 2;
        require(given.size() == hidden, "feedback: there must be B of every hidden group");
        signal.n_feedback = hidden ? static_cast<int>(given[0].shape(0)) : 1;
        require(signal.n_feedback == 1 || signal.n_feedback == net.filters.n,
                "feedback: B must be one for all filters or one each");
        const std::size_t rows = std::size_t(signal.n_feedback) * out.lanes;
        float* to = scratch<float, struct OfFeedback>(rows * net.lanes);
        for (std::size_t h = 0; h < hidden; ++h) {
            const Group& g = net.groups[h + 1];
            const std::size_t n_rows = g.rows(), n_out = out.rows();
            require(
                given[h].shape(0) == std::size_t(signal.n_feedback) && given[h].shape(1) == n_out && given[h].shape(2) == n_rows,
                "feedback: B must be (filters, output rows, rows)");
            feedback[h + 1] = to;
            for (int k = 0; k < signal.n_feedback; ++k)
                for (std::size_t row = 0; row < n_out; ++row) {
                    const std::size_t lane = std::size_t(k) * out.lanes + row / out.n * out.width + row % out.n;
                    to_lanes(g, given[h].data() + (k * n_out + row) * n_rows, to + lane * g.lanes, 0);
                }
            to += rows * g.lanes;
        }
    }
};

// What outputs emit, in lanes: (batch, n_steps, lanes of the output).
const float* in_lanes(const In<float, 3>& wanted, const Group& out, std::size_t batch, std::size_t n_steps) {
    require(wanted.shape(0) == batch && wanted.shape(1) == n_steps && wanted.shape(2) == out.rows(),
            "what outputs emit must be (batch, n_steps, output rows)");
    const std::size_t rows = out.rows();
    float* to = scratch<float, struct OfWanted>(batch * n_steps * out.lanes);
    for (std::size_t k = 0; k < batch * n_steps; ++k) {
        const float* from = wanted.data() + k * rows;
        for (int i = 0; i < out.n; ++i) {
            float total = 0;
            for (int c = 0; c < out.values; ++c) {
                const float value = from[c * out.n + i];
                require(value == 0 || value == 1, "what outputs emit must be 0 or 1");
                total += value;
            }
            require(total <= 1, "an output emits one value or none");
        }
        to_lanes(out, from, to + k * out.lanes, 0);
    }
    return to;
}

// Where samples leave what is added up: of each `n_sums` numbers, and what `scatter` reads.
struct Samples {
    std::vector<Sample> all;
    std::size_t n_sums;
    float* sums;

    Samples(const Network& net, const Signal& signal, std::size_t n, float* scores, float* sums_of_all)
        : all(n), n_sums(n_sums_of(net)), sums(sums_of_all) {
        const std::size_t steps = net.n_steps, draws = signal.draws, lanes = net.lanes;
        const std::size_t n_rows = draws * net.circuits * steps, n_starts = draws * net.n_groups * (steps + 1),
                          n_errors = errors_of(net, signal);
        std::int32_t* rows = scratch<std::int32_t, struct OfEmissions>(n * (n_rows + n_starts));
        float* errors = scratch<float, struct OfErrors>(n * n_errors);
        for (std::size_t b = 0; b < n; ++b) {
            float* own = sums + b * n_sums;
            std::int32_t* here = rows + b * (n_rows + n_starts);
            float *reward = own + lanes * (1 + net.own_length), *likelihood = reward + steps;
            all[b] = {own,           own + lanes,          reward, likelihood, likelihood + 1, scores + b * net.output().n, here,
                      here + n_rows, errors + b * n_errors};
        }
    }
    static std::size_t n_sums_of(const Network& net) {
        return std::size_t(net.lanes) * (1 + net.own_length) + net.n_steps + 1 + net.n_groups;
    }
    static std::size_t errors_of(const Network& net, const Signal& signal) {
        const std::size_t draws = signal.draws > 1 ? signal.draws + 1 : 1;
        return draws * net.lanes * net.n_steps * net.filters.n;
    }
};

// What Python gets: of the sums `totals` slopes of biases and of feedback, means of rewards and rates.
nb::tuple told(const Network& net, const Signal& signal, const Maybe<In<float, 2>>& own_table, std::size_t batch,
               const std::vector<double>& totals, const std::vector<Out<float>>& weights, const Out<float>& scores) {
    const double runs = static_cast<double>(batch) * signal.draws;
    std::vector<Out<float>> biases, own;
    std::vector<double> rates;
    std::vector<float> lanes(net.lanes);
    const double *of_own = totals.data() + net.lanes, *reward = of_own + std::size_t(net.own_length) * net.lanes,
                 *likelihood = reward + net.n_steps, *emitted = likelihood + 1;
    const auto add_rows = [&](int group, float* to) {
        from_lanes(net.groups[group], lanes.data(), to, 1.0f / static_cast<float>(signal.draws));
    };
    for (int group = 1; group < net.n_groups; ++group) {
        const Group& g = net.groups[group];
        std::copy(totals.begin() + g.first, totals.begin() + g.first + g.lanes, lanes.begin());
        biases.push_back(make<float>({g.rows()}));
        add_rows(group, biases.back().data());
        if (group + 1 < net.n_groups) rates.push_back(emitted[group] / (runs * net.n_steps * g.n));
        if (!own_table) continue;
        own.push_back(make<float>({own_table->shape(0), g.rows()}));
        for (std::size_t k = 0; k < own_table->shape(0); ++k) {
            for (int lane = 0; lane < g.lanes; ++lane) {
                double total = 0;
                for (int d = 0; d < net.own_length; ++d)
                    total += own_table->data()[k * net.own_length + d] * of_own[std::size_t(d) * net.lanes + g.first + lane];
                lanes[lane] = static_cast<float>(total);
            }
            add_rows(group, own.back().data() + k * g.rows());
        }
    }
    Out<float> rewards = make<float>({static_cast<std::size_t>(net.n_steps)});
    for (int t = 0; t < net.n_steps; ++t) rewards.data()[t] = static_cast<float>(reward[t] / static_cast<double>(batch));
    return nb::make_tuple(weights, biases, own, rewards, *likelihood, scores, rates);
}

nb::tuple learn(const Groups& sizes, const Connections& pairs, const std::vector<In<float, 3>>& weights,
                const std::vector<In<float, 1>>& biases, const std::vector<In<float, 2>>& own, In<float, 2> table,
                const Maybe<In<float, 2>>& own_table, In<std::int64_t, 3> bits, In<float, 3> wanted, In<std::int64_t, 1> keys,
                const SignalTuple& signal_numbers, const std::vector<In<float, 3>>& feedback, In<float, 1> mean, int threads,
                const std::string& isa) {
    const Kernels& kernels = BITSPIKE_PICK(kernels, isa);
    const lif::Kernels& listing = BITSPIKE_PICK(lif::kernels, isa);
    require(!sizes.empty(), "there must be groups");
    const lif::SpikeBits x(bits, sizes[0].first * sizes[0].second);
    const std::size_t batch = bits.shape(0);
    require(batch >= 1 && keys.shape(0) == batch, "there must be a sample, and a key for each");
    const Circuits circuits(sizes, pairs, weights, biases, own, table, own_table, x.n_steps, std::get<5>(signal_numbers));
    const Network& net = circuits.net;
    const Teaching teaching(signal_numbers, mean, feedback, net);
    const Signal& signal = teaching.signal;
    const float* clamped = in_lanes(wanted, net.output(), batch, x.n_steps);
    Out<float> scores = make<float>({batch, static_cast<std::size_t>(net.output().n)});
    std::vector<Out<float>> gradients;
    std::vector<std::size_t> begins{0};
    for (const Connection& y : circuits.connections) {
        const std::size_t rows = net.groups[y.source].rows();
        gradients.push_back(make<float>({rows, table.shape(0), net.groups[y.target].rows()}));
        begins.push_back(begins.back() + circuits.gradient_size(y));
    }
    const std::size_t n_sums = Samples::n_sums_of(net);
    std::vector<double> totals(n_sums, 0.0);
    float* scores_to = scores.data();
    {
        nb::gil_scoped_release release;
        const lif::StepLists lists(x, listing, threads);
        std::vector<ByStep> inputs(batch);
        for (std::size_t b = 0; b < batch; ++b) inputs[b] = lists[b];
        float* gradient = scratch<float, struct OfGradients>(begins.back());
        lif::over(begins.back(), threads,
                  [&](std::size_t begin, std::size_t end) { std::fill(gradient + begin, gradient + end, 0.0f); });
        const std::size_t some =
            std::min(batch, std::max<std::size_t>(4 * std::max(1, threads), kTogether / Samples::errors_of(net, signal)));
        float* sums = scratch<float, struct OfSums>(some * n_sums);
        for (std::size_t first = 0; first < batch; first += some) {
            const std::size_t n = std::min(some, batch - first);
            const Samples samples(net, signal, n, scores_to + first * net.output().n, sums);
            lif::over(n, threads, [&](std::size_t begin, std::size_t end) {
                char* memory = scratch<char, struct OfWindow>(kernels.learn_bytes(net, signal));
                for (std::size_t b = begin; b < end; ++b) {
                    const std::size_t at = first + b;
                    kernels.learn(net, signal, inputs[at], clamped + at * x.n_steps * net.output().lanes,
                                  static_cast<std::uint64_t>(keys.data()[at]), samples.all[b], memory);
                }
            });
            for (std::size_t c = 0; c < circuits.connections.size(); ++c) {
                const Connection& y = circuits.connections[c];
                lif::over(net.groups[y.source].rows(), threads, [&](std::size_t begin, std::size_t end) {
                    kernels.scatter(net, signal, y, samples.all.data(), inputs.data() + first, n, static_cast<int>(begin),
                                    static_cast<int>(end), gradient + begins[c]);
                });
            }
            for (std::size_t b = 0; b < n; ++b)
                for (std::size_t k = 0; k < n_sums; ++k) totals[k] += sums[b * n_sums + k];
        }
        const float share = 1.0f / static_cast<float>(signal.draws);
        for (std::size_t c = 0; c < circuits.connections.size(); ++c) {
            const Group& g = net.groups[circuits.connections[c].target];
            float* to = gradients[c].data();
            for (const float *from = gradient + begins[c], *end = gradient + begins[c + 1]; from < end;
                 from += g.lanes, to += g.rows())
                from_lanes(g, from, to, share);
        }
    }
    return told(net, signal, own_table, batch, totals, gradients, scores);
}

}  // namespace
}  // namespace bitspike::glm

void bind_glm(nanobind::module_& m) {
    using namespace nanobind::literals;
    m.def("glm_learn", &bitspike::glm::learn, "groups"_a, "connections"_a, "weights"_a, "biases"_a, "feedback"_a, "table"_a,
          "feedback_table"_a.none(), "bits"_a, "wanted"_a, "keys"_a, "signal"_a, "signal_feedback"_a, "mean"_a, "threads"_a,
          "isa"_a, "One batch under constant parameters: slopes of weights, biases and feedback, rewards, ln p, scores, rates.");
}
