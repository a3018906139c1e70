// What Python gives to the kernels of spike trains: constants, and spikes of a batch as bits, from which lists are made.
#pragma once
#include <nanobind/nanobind.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "common/array.hpp"
#include "common/cpu.hpp"
#include "common/denormals.hpp"
#include "common/memory.hpp"
#include "common/parallel.hpp"
#include "lif/kernels.hpp"

namespace bitspike::lif {

using LifTuple = std::tuple<float, float, float, float, int, float>;
inline Lif lif_of(const LifTuple& c) {
    return {std::get<0>(c), std::get<1>(c), std::get<2>(c), std::get<3>(c), std::get<4>(c), std::get<5>(c)};
}
using BackTuple = std::tuple<float, float, float, int, int>;
inline Back back_of(const BackTuple& c) {
    return {std::get<0>(c), std::get<1>(c), std::get<2>(c), std::get<3>(c), std::get<4>(c)};
}

inline int words_of(int n) { return (n + 63) / 64; }

// Runs body(begin, end) on up to `threads` threads, over ranges that together are 0..items-1; denormals are 0 within.
template <class Body>
void over(std::size_t items, int threads, const Body& body) {
    bitspike::over(items, threads, [&](int, std::size_t begin, std::size_t end) {
        const FlushDenormals flush;
        body(begin, end);
    });
}

// Spikes of a batch, (batch, n_steps, words) bits.
struct SpikeBits {
    const std::uint64_t* bits;
    int batch, n_steps, n, words;

    SpikeBits(const In<std::int64_t, 3>& array, int n_neurons)
        : bits(reinterpret_cast<const std::uint64_t*>(array.data())), batch(static_cast<int>(array.shape(0))),
          n_steps(static_cast<int>(array.shape(1))), n(n_neurons), words(static_cast<int>(array.shape(2))) {
        require(n >= 1 && words == words_of(n), "spikes: the number of words and of neurons do not fit");
        require(n_steps >= 1 && n_steps <= 65535, "spikes: the number of steps must lie between 1 and 65535");
    }
    const std::uint64_t* sample(std::size_t b) const { return bits + b * size(); }
    std::size_t size() const { return static_cast<std::size_t>(n_steps) * words; }
};

// Where lists of the spikes of each sample begin, with space for a few more entries; the last is the end.
inline std::vector<std::size_t> list_begins(const SpikeBits& x, const Kernels& kernels, int threads) {
    std::vector<std::size_t> begins(x.batch + 1, 0);
    over(x.batch, threads, [&](std::size_t begin, std::size_t end) {
        for (std::size_t b = begin; b < end; ++b) begins[b + 1] = kernels.count(x.sample(b), x.size()) + 16;
    });
    for (int b = 0; b < x.batch; ++b) {
        require(begins[b + 1] < 2000000000u, "spikes: a sample has more than 2,000,000,000");
        begins[b + 1] += begins[b];
    }
    return begins;
}

// The spikes of a batch as lists by step, in memory that the calling thread keeps.
class StepLists {
  public:
    StepLists(const SpikeBits& x, const Kernels& kernels, int threads) : n_steps_(x.n_steps), begins_(list_begins(x, kernels, threads)) {
        inputs_ = scratch<std::int32_t, struct OfInputs>(begins_[x.batch]);
        starts_ = scratch<std::int32_t, struct OfStarts>(static_cast<std::size_t>(x.batch) * (n_steps_ + 1));
        over(x.batch, threads, [&](std::size_t begin, std::size_t end) {
            for (std::size_t b = begin; b < end; ++b)
                kernels.by_step(x.sample(b), x.n, n_steps_, x.words, starts_ + b * (n_steps_ + 1), inputs_ + begins_[b]);
        });
    }
    ByStep operator[](std::size_t b) const { return {inputs_ + begins_[b], starts_ + b * (n_steps_ + 1)}; }

  private:
    int n_steps_;
    std::vector<std::size_t> begins_;
    std::int32_t *inputs_ = nullptr, *starts_ = nullptr;
};

}  // namespace bitspike::lif
