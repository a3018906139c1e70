// The published rules of circuits that fire by chance, for Python: blocks of steps of streams.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "glm/network.hpp"
#include "glm/online_kernels.hpp"
#include "lif/spikes.hpp"

namespace bitspike::glm {
namespace {

constexpr double kNothing = 1e-7;  // share of a trace that counts as nothing
constexpr double kForEver = 1e9;   // steps

using Any = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using Several = std::vector<Any>;  // a tensor per parameter: weights, biases, own feedback
using Given = std::vector<Maybe<In<float, 3>>>;

// vowel, baseline, aliased, steps, lr, kappa, beta, alpha, per_output, per_hidden, silence
using RuleTuple = std::tuple<bool, bool, bool, int, double, double, double, double, double, double, double>;

Rule rule_of(const RuleTuple& numbers, int streams, bool has_baseline) {
    const auto [vowel, baseline, aliased, steps, lr, kappa, beta, alpha, per_output, per_hidden, silence] = numbers;
    require(steps >= 1 && steps < (1 << 20), "a block must have a step, 2^20 at most");
    require(kappa >= 0 && kappa < 1 && beta >= 0 && beta < 1, "kappa and beta must lie between 0 and 1");
    require(silence > 0 && silence < 1, "silence must lie between 0 and 1");
    const double keep = has_baseline ? std::max(kappa, beta) : kappa;
    const double blocks = keep > 0 ? std::ceil(std::log(kNothing) / std::log(keep)) : 0;
    // A trace that is multiplied by rewards need not fade.
    const double tail = aliased ? kForEver : steps == 1 ? blocks : steps * (blocks + 1);
    return {vowel,
            baseline,
            aliased,
            steps,
            static_cast<int>(std::min(tail, kForEver)),
            float(lr / streams),
            float(kappa),
            float(beta),
            float(alpha),
            float(per_output),
            float(per_hidden),
            float(std::log(silence))};
}

// What is learned, and what a rule carries of it for each stream; lists that are empty are not carried.
struct Carried {
    std::vector<Learned> all;

    Carried(const Several& values, const std::vector<Several>& lists, std::size_t streams) {
        require(lists.size() == 5 && lists[0].size() == values.size(), "a rule carries a trace of every parameter");
        for (std::size_t k = 0; k < values.size(); ++k) {
            float* at[5] = {};
            for (std::size_t which = 0; which < 5; ++which) {
                if (lists[which].empty()) continue;
                require(lists[which].size() == values.size() && lists[which][k].size() == streams * values[k].size(),
                        "what a rule carries does not fit the parameters and streams");
                at[which] = lists[which][k].data();
            }
            all.push_back({values[k].data(), values[k].size(), at[0], at[1], at[2], at[3], at[4]});
        }
    }
};

nb::tuple online(const Groups& sizes, const Connections& pairs, const Several& values, const std::vector<Several>& carried_lists,
                 const std::vector<Maybe<In<float, 3>>>& masks, In<float, 2> table, const Maybe<In<float, 2>>& own_table,
                 const std::vector<InOut<float, 3>>& history, const std::vector<InOut<std::int32_t, 2>>& idle,
                 In<std::int64_t, 3> bits, const Given& given, In<std::int64_t, 1> keys, std::uint64_t first,
                 const RuleTuple& rule_numbers,
                 const Maybe<std::tuple<InOut<float, 1>, InOut<float, 1>, nb::ndarray<std::int64_t, nb::device::cpu>>>& block,
                 const std::string& isa) {
    const OnlineKernels& kernels = BITSPIKE_PICK(online_kernels, isa);
    const lif::Kernels& listing = BITSPIKE_PICK(lif::kernels, isa);
    const std::size_t n_groups = sizes.size(), streams = bits.shape(0);
    require(n_groups >= 2 && streams >= 1 && streams < (1 << 20), "there must be two groups and a stream");
    const lif::SpikeBits x(bits, sizes[0].first * sizes[0].second);
    const std::size_t steps = x.n_steps, learned = n_groups - 1;
    require(history.size() == n_groups && idle.size() == n_groups && given.size() == n_groups,
            "there must be a history of every group");
    require(values.size() == pairs.size() + learned * (own_table ? 2 : 1) && masks.size() == pairs.size(),
            "there must be weights of every connection, biases, and feedback or none");
    const Rule rule = rule_of(rule_numbers, static_cast<int>(streams), !carried_lists.at(2).empty());
    const Carried carried(values, carried_lists, streams);
    require(carried_lists[2].size() == carried_lists[3].size() && (!rule.vowel || (carried.all[0].top && carried.all[0].product)),
            "the rule carries more than is given");
    require(rule.vowel || (carried.all[0].sums && block), "the rule carries sums of a block");
    require(rule.vowel || (std::get<0>(*block).shape(0) == streams && std::get<1>(*block).shape(0) == streams &&
                           std::get<2>(*block).size() == 1),
            "there must be a signal and a reward of every stream");

    std::vector<Group> groups;
    std::vector<float*> histories, emitted(n_groups, nullptr);
    std::vector<std::int32_t*> idles;
    std::vector<const float*> clamped(n_groups, nullptr);
    std::vector<Out<float>> emitted_of;
    const std::size_t length = history[0].shape(1);
    require(length >= table.shape(1) && (!own_table || length >= own_table->shape(1)) && table.shape(0) >= 1,
            "the history is shorter than the filters");
    for (std::size_t k = 0; k < n_groups; ++k) {
        const auto [n, number] = sizes[k];
        require(n >= 1 && number >= 1 && std::int64_t(n) * number < (1 << 27),
                "a group must have a circuit and a value, 2^27 rows at most");
        const std::size_t rows = std::size_t(n) * number;
        const int width = round_up(n, kPad);
        groups.push_back({n, number, width, width * number, 0, 0, nullptr, nullptr,
                          static_cast<float>(std::log((1 - std::get<10>(rule_numbers)) / number))});
        require(history[k].shape(0) == streams && history[k].shape(1) == length && history[k].shape(2) == rows &&
                    idle[k].shape(0) == streams && idle[k].shape(1) == rows,
                "histories must be (streams, length, rows)");
        histories.push_back(history[k].data());
        idles.push_back(idle[k].data());
        if (k == 0) continue;
        require(values[pairs.size() + k - 1].size() == rows, "biases must be (rows)");
        require(!own_table || values[pairs.size() + learned + k - 1].size() == own_table->shape(0) * rows,
                "feedback must be (filters, rows)");
        emitted_of.push_back(make<float>({streams, steps, rows}));
        emitted[k] = emitted_of.back().data();
        if (!given[k]) continue;
        require(given[k]->shape(0) == streams && given[k]->shape(1) == steps && given[k]->shape(2) == rows,
                "what circuits emit must be (streams, n_steps, rows)");
        for (std::size_t i = 0; i < given[k]->size(); ++i)
            require(given[k]->data()[i] == 0 || given[k]->data()[i] == 1, "what circuits emit must be 0 or 1");
        clamped[k] = given[k]->data();
    }
    require(keys.shape(0) == streams, "there must be a key of every stream");
    std::vector<Link> links;
    for (std::size_t k = 0; k < pairs.size(); ++k) {
        const auto [source, target] = pairs[k];
        require(source >= 0 && std::size_t(source) < n_groups && target >= 1 && std::size_t(target) < n_groups,
                "a connection names a group that is not there");
        const std::size_t from = groups[source].rows(), to = groups[target].rows();
        require(values[k].size() == from * table.shape(0) * to, "weights must be (source rows, filters, target rows)");
        require(!masks[k] || masks[k]->size() == from * to, "masks must be (source rows, 1, target rows)");
        links.push_back({source, target, carried.all[k], masks[k] ? masks[k]->data() : nullptr});
    }
    const std::size_t out_rows = groups.back().rows();
    Out<float> p = make<float>({streams, steps, out_rows}), log_output = make<float>({streams, steps}),
               divergence = make<float>({streams, steps});
    const Learned* biases = carried.all.data() + pairs.size() - 1;
    const Filters filters{static_cast<int>(table.shape(0)), static_cast<int>(table.shape(1)), table.data()};
    const Filters own{own_table ? static_cast<int>(own_table->shape(0)) : 0, own_table ? static_cast<int>(own_table->shape(1)) : 0,
                      own_table ? own_table->data() : nullptr};
    Online work{groups.data(),
                links.data(),
                biases,
                own_table ? biases + learned : nullptr,
                static_cast<int>(n_groups),
                static_cast<int>(links.size()),
                static_cast<int>(streams),
                x.n_steps,
                static_cast<int>(length),
                filters,
                own,
                histories.data(),
                idles.data(),
                nullptr,
                clamped.data(),
                reinterpret_cast<const std::uint64_t*>(keys.data()),
                first,
                emitted.data(),
                p.data(),
                log_output.data(),
                divergence.data(),
                block ? std::get<0>(*block).data() : nullptr,
                block ? std::get<1>(*block).data() : nullptr,
                block ? std::get<2>(*block).data() : nullptr,
                rule};
    {
        nb::gil_scoped_release release;
        const FlushDenormals flush;
        const lif::StepLists lists(x, listing, 1);
        std::vector<ByStep> inputs(streams);
        for (std::size_t b = 0; b < streams; ++b) inputs[b] = lists[b];
        work.inputs = inputs.data();
        kernels.run(work, scratch<char, struct OfOnline>(kernels.bytes(work)));
    }
    return nb::make_tuple(emitted_of, p, log_output, divergence);
}

}  // namespace
}  // namespace bitspike::glm

void bind_glm_online(nanobind::module_& m) {
    using namespace nanobind::literals;
    m.def("glm_online", &bitspike::glm::online, "groups"_a, "connections"_a, "values"_a, "carried"_a, "masks"_a, "table"_a,
          "feedback_table"_a.none(), "history"_a, "idle"_a, "bits"_a, "given"_a, "keys"_a, "first"_a, "rule"_a, "block"_a.none(),
          "isa"_a, "Steps of a published rule; parameters, what is carried, and histories change in place.");
}
