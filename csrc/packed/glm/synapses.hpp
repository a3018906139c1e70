// What the spikes, or the chances, of one step bring to the synapses of a connection.
#pragma once
#include "common/algorithm.hpp"
#include "common/vector16.hpp"
#include "packed/glm/kernels.hpp"

namespace bitspike::packed::glm {
namespace {

using namespace vector16;

constexpr int byte_lanes = 4 * vector::kLanes;  // of a register
constexpr int most_signs = 127;                 // of which a byte holds every sum
typedef std::int8_t Bytes16 __attribute__((vector_size(16), aligned(1), may_alias));

// n signs of a row, from anywhere. (A type that is a template argument would lose its alignment.)
template <int n>
struct SignsOf {
    typedef std::int8_t Bytes __attribute__((vector_size(n)));
    typedef std::int8_t BytesAt __attribute__((vector_size(n), aligned(1), may_alias));
    BITSPIKE_INLINE_MEMBER static Bytes at(const std::int8_t* p) { return *reinterpret_cast<const BytesAt*>(p); }
};

// K blocks of 16 lanes of the rows of m spikes, in `Ways` sums that do not wait for each other; their order does not count.
template <int K, int Ways>
BITSPIKE_INLINE void sum_rows(const float* rows, std::size_t width, const std::uint32_t* ids, int m, float* z) {
    RowSum<K> sum[Ways];
    int e = 0;
    for (; e + Ways <= m; e += Ways)
        for (int w = 0; w < Ways; ++w) sum[w].add(rows + ids[e + w] * width);
    for (; e < m; ++e) sum[0].add(rows + ids[e] * width);
    for (int w = 1; w < Ways; ++w) sum[0].add(sum[w]);
    sum[0].store(z);
}

static void sum_floats(const Connection& y, const std::uint32_t* ids, int m, float* z) {
    const std::size_t width = static_cast<std::size_t>(y.width);
    int lane = 0;
    for (; lane + kMostRows * kLanes <= y.width; lane += kMostRows * kLanes)
        sum_rows<kMostRows, 1>(y.rows + lane, width, ids, m, z + lane);
    if constexpr (kMostRows > 4)
        for (; lane + 4 * kLanes <= y.width; lane += 4 * kLanes) sum_rows<4, 2>(y.rows + lane, width, ids, m, z + lane);
    for (; lane < y.width; lane += kLanes) sum_rows<1, 4>(y.rows + lane, width, ids, m, z + lane);
}

// Sums of at most `most_signs` spikes, in bytes; written to `z`, or added.
template <int n>
BITSPIKE_INLINE void count_signs(const std::int8_t* signs, std::size_t width, const std::uint32_t* ids, int m, float* z,
                                 bool add) {
    typename SignsOf<n>::Bytes even{}, odd{};
    int e = 0;
    for (; e + 2 <= m; e += 2) {
        even += SignsOf<n>::at(signs + ids[e] * width);
        odd += SignsOf<n>::at(signs + ids[e + 1] * width);
    }
    if (e < m) even += SignsOf<n>::at(signs + ids[e] * width);
    alignas(64) const typename SignsOf<n>::Bytes sum = even + odd;
    for (std::size_t k = 0; k < n; k += kLanes) {
        const Bytes16 part = *reinterpret_cast<const Bytes16*>(reinterpret_cast<const std::int8_t*>(&sum) + k);
        const f16 counts = __builtin_convertvector(__builtin_convertvector(part, i16), f16);
        store(z + k, add ? load(z + k) + counts : counts);
    }
}

static void sum_signs(const Connection& y, const std::uint32_t* ids, int m, float* z) {
    const std::size_t width = static_cast<std::size_t>(y.width);
    for (int from = 0; from < m; from += most_signs) {
        const int part = min(m - from, most_signs);
        std::size_t lane = 0;
        for (; lane + byte_lanes <= width; lane += byte_lanes)
            count_signs<byte_lanes>(y.signs + lane, width, ids + from, part, z + lane, from > 0);
        for (; lane < width; lane += kLanes)
            count_signs<16>(y.signs + lane, width, ids + from, part, z + lane, from > 0);
    }
}

// sum over sources j, in their order, of p_j w_j.
static void sum_chances(const Connection& y, const float* p, int sources, float* z) {
    const std::size_t width = static_cast<std::size_t>(y.width);
    for (std::size_t lane = 0; lane < width; lane += kLanes) {
        f16 sum{};
        for (std::size_t j = 0; j < static_cast<std::size_t>(sources); ++j) {
            const std::size_t at = j * width + lane;
            sum += p[j] * (y.rows ? load(y.rows + at)
                                  : __builtin_convertvector(
                                        __builtin_convertvector(*reinterpret_cast<const Bytes16*>(y.signs + at), i16), f16));
        }
        store(z + lane, sum);
    }
}

// z of signs counts by the scale of its target.
static void scale(const Connection& y, float* z) {
    for (int k = 0; k < y.width; k += y.lanes)
        for (int lane = 0; lane < y.lanes; lane += kLanes) store(z + k + lane, load(z + k + lane) * load(y.scale + lane));
}

// What m >= 1 spikes bring.
static void hear_spikes(const Connection& y, const std::uint32_t* ids, int m, float* z) {
    if (y.rows) return sum_floats(y, ids, m, z);
    sum_signs(y, ids, m, z);
    scale(y, z);
}

static void hear_chances(const Connection& y, const float* p, int sources, float* z) {
    sum_chances(y, p, sources, z);
    if (y.signs) scale(y, z);
}

// Sums z (by.n, lanes) that entered synapses in a step.
struct Heard {
    const float* z;
    const Filters* by;
    int step;
};

// What a group has heard, in order, as long as a filter remembers it.
struct Past {
    Heard* list;
    int begin, end, room;  // room: twice of what can be remembered

    void add(const Heard& one) {
        if (end == room) {
            end -= begin;
            for (int e = 0; e < end; ++e) list[e] = list[begin + e];
            begin = 0;
        }
        list[end++] = one;
    }
    void forget(int before) {
        while (begin < end && list[begin].step < before) ++begin;
    }
};

template <int K>
BITSPIKE_INLINE void filter_lanes(const float* base, const Past& past, int t, std::size_t lanes, int lane, float* u) {
    RowSum<K> sum;
    sum.load(base + lane);
    for (int e = past.begin; e < past.end; ++e) {
        const Heard& one = past.list[e];
        const int *first = one.by->first + (t - 1 - one.step), last = first[1];
        for (int tap = first[0]; tap < last; ++tap)
            sum.add(one.z + static_cast<std::size_t>(one.by->taps[tap].k) * lanes + lane, one.by->taps[tap].a);
    }
    sum.store(u + lane);
}

// Potentials of step t: u = base + sum over what was heard, in order, of a_k(t - 1 - step) z_k.
static void filter(const float* base, const Past& past, int t, int lanes, float* u) {
    const std::size_t width = static_cast<std::size_t>(lanes);
    int lane = 0;
    for (; lane + kMostRows * kLanes <= lanes; lane += kMostRows * kLanes)
        filter_lanes<kMostRows>(base, past, t, width, lane, u);
    if constexpr (kMostRows > 4)
        for (; lane + 4 * kLanes <= lanes; lane += 4 * kLanes) filter_lanes<4>(base, past, t, width, lane, u);
    for (; lane < lanes; lane += kLanes) filter_lanes<1>(base, past, t, width, lane, u);
}

}  // namespace
}  // namespace bitspike::packed::glm
