// What engines do around a run; for files that are compiled once.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/array.hpp"
#include "common/memory.hpp"
#include "common/parallel.hpp"
#include "packed/engine.hpp"

namespace bitspike::packed {

// The memory of the results that were asked for, arrays for n decisions among `classes`; each is optional.
inline Outputs outputs(std::size_t n, int classes, const Result<std::int64_t>& labels, const Result<std::int64_t>& decision_time,
                       const Result<bool>& silent, const Result<bool>& tied, const Result<float>& potentials,
                       const Result<std::int64_t>& n_spikes, const Result<std::int64_t>& n_synops) {
    const std::size_t all = n * static_cast<std::size_t>(classes);
    return {data_of(labels, n),       data_of(decision_time, n), data_of(silent, n),  data_of(tied, all),
            data_of(potentials, all), data_of(n_spikes, n),      data_of(n_synops, n)};
}

// Runs n samples in parts of `least` or more; -1, or the smallest of the samples that runs return.
template <class Network, class Inputs, class Results>
std::int64_t over_samples(const Engine<Network, Inputs, Results>& kernels, const Network& net, const Inputs& in,
                          const Results& out, std::size_t n, std::size_t least, int threads) {
    const std::size_t bytes = kernels.scratch_bytes(net, in);
    const int parts = static_cast<int>(std::min<std::size_t>(std::max(1, threads), n / least));
    std::vector<std::int64_t> bad(static_cast<std::size_t>(parts_of(n, parts)), -1);
    over(n, parts, [&](int part, std::size_t begin, std::size_t end) {
        char* memory = scratch<char, Engine<Network, Inputs, Results>>(bytes);
        bad[static_cast<std::size_t>(part)] = kernels.run(net, in, out, begin, end, memory);
    });
    for (std::int64_t sample : bad)
        if (sample >= 0) return sample;
    return -1;
}

}  // namespace bitspike::packed
