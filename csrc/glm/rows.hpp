// Sums of rows of weights and errors.
#pragma once
#include "common/algorithm.hpp"
#include "common/vector16.hpp"
#include "glm/kernels.hpp"

namespace bitspike::glm {
namespace {

using vector16::kMostRows;
using vector16::RowSum;

template <int K>
struct Blocks {
    using Sum = RowSum<K>;
};

// body(blocks, lane) for parts of `lanes`, a multiple of 16, whose sums stay in registers.
template <class Body>
BITSPIKE_INLINE void by_blocks(std::size_t lanes, const Body& body) {
    std::size_t lane = 0;
    for (; lane + kMostRows * 16 <= lanes; lane += kMostRows * 16) body(Blocks<kMostRows>(), lane);
    if constexpr (kMostRows > 4)
        for (; lane + 64 <= lanes; lane += 64) body(Blocks<4>(), lane);
    for (; lane < lanes; lane += 16) body(Blocks<1>(), lane);
}

// z (width): the sum of the rows of n events.
static void hear(const float* rows, std::size_t width, const std::int32_t* events, int n, float* z) {
    by_blocks(width, [&](auto blocks, std::size_t lane) {
        typename decltype(blocks)::Sum sum;
        for (int e = 0; e < n; ++e) sum.add(rows + static_cast<std::size_t>(events[e]) * width + lane);
        sum.store(z + lane);
    });
}

// E_k (filters, lanes) of step t: sum over d of a_k(d) g(t + 1 + d), g (n_steps, lanes).
static void error(const Filters& f, int n_steps, std::size_t lanes, const float* g, int t, float* e) {
    const int last = min(f.length, n_steps - 1 - t);
    const float* next = g + static_cast<std::size_t>(t + 1) * lanes;
    by_blocks(lanes, [&](auto blocks, std::size_t lane) {
        for (int k = 0; k < f.n; ++k) {
            typename decltype(blocks)::Sum sum;
            for (int d = 0; d < last; ++d)
                if (const float a = f.a[k * f.length + d]; a != 0) sum.add(next + d * lanes + lane, a);
            sum.store(e + k * lanes + lane);
        }
    });
}

// to (width) of the events += e.
static void spread(const float* e, std::size_t width, const std::int32_t* events, int n, float* to) {
    by_blocks(width, [&](auto blocks, std::size_t lane) {
        typename decltype(blocks)::Sum change;
        change.add(e + lane);
        for (int i = 0; i < n; ++i) {
            float* row = to + static_cast<std::size_t>(events[i]) * width + lane;
            auto sum = change;
            sum.add(row);
            sum.store(row);
        }
    });
}

}  // namespace
}  // namespace bitspike::glm
