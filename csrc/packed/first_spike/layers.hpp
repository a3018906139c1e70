// One step of one layer: what it adds, who fires.
//
// A binary layer keeps D = P - floor(n / 2) in one byte per neuron, where n spikes have arrived, P of them over a +1
// synapse: U = 2 P - n, so U >= F is D >= ceil(F / 2) for even n and D >= ceil((F + 1) / 2) for odd n. A byte suffices
// while |D| <= 126, which `budget` (spikes that may still arrive) guarantees; after that 32-bit counters take over.
#pragma once
#include "packed/first_spike/ops.hpp"

namespace bitspike::packed::first_spike {
namespace {

constexpr int chunk = 248;  // spikes that eight bit planes can count, a multiple of 8

// Counts, per neuron, the +1 synapses among m < 2^n_planes spikes, as bit planes: a tree of carry-save adders over
// eight rows at a time (missing ones are the zero row), and a ripple above.
template <class B, int blocks, int n_planes>
void sum_planes(const std::uint64_t* signs, int stride, int zero_row, const std::uint32_t* events, int m,
                std::uint64_t* planes) {
    constexpr int n_high = n_planes - 3;
    B c0[blocks], c1[blocks], c2[blocks], high[blocks][n_high > 0 ? n_high : 1];
    for (int b = 0; b < blocks; ++b) {
        c0[b] = c1[b] = c2[b] = B::zero();
        for (auto& plane : high[b]) plane = B::zero();
    }
    for (int e = 0; e < m; e += 8) {
        const std::uint64_t* rows[8];
        for (int k = 0; k < 8; ++k) {
            const std::uint32_t event = e + k < m ? events[e + k] : static_cast<std::uint32_t>(zero_row);
            rows[k] = signs + static_cast<std::size_t>(event) * static_cast<std::size_t>(stride);
        }
        for (int b = 0; b < blocks; ++b) {
            const auto row = [&](int k) { return B::load(rows[k] + b * B::words); };
            const auto add = [](B& sum, B x, B y) {
                const B carry = B::carry3(sum, x, y);
                sum = B::sum3(sum, x, y);
                return carry;
            };
            const B t0 = add(c0[b], row(0), row(1)), t1 = add(c0[b], row(2), row(3));
            const B f0 = add(c1[b], t0, t1);
            const B t2 = add(c0[b], row(4), row(5)), t3 = add(c0[b], row(6), row(7));
            const B f1 = add(c1[b], t2, t3);
            B carry = add(c2[b], f0, f1);
            for (int k = 0; k < n_high; ++k) {
                const B next = B::carry2(high[b][k], carry);
                high[b][k] = B::sum2(high[b][k], carry);
                carry = next;
            }
        }
    }
    for (int b = 0; b < blocks; ++b) {
        std::uint64_t* to = planes + b * B::words;
        c0[b].store(to);
        c1[b].store(to + stride);
        c2[b].store(to + 2 * stride);
        for (int k = 0; k < n_high; ++k) high[b][k].store(to + (3 + k) * stride);
    }
}

template <class Ops, int n_planes>
void count_planes(const Layer& y, const std::uint32_t* events, int m, std::uint64_t* planes) {
    using B = typename Ops::Bits;
    int w = 0;
    for (; w + 2 * B::words <= y.stride && w + B::words < y.words; w += 2 * B::words)
        sum_planes<B, 2, n_planes>(y.signs + w, y.stride, y.n_in, events, m, planes + w);
    for (; w < y.words; w += B::words)
        sum_planes<B, 1, n_planes>(y.signs + w, y.stride, y.n_in, events, m, planes + w);
}

// Spikes that may still arrive before a byte could overflow.
inline int budget_of(const Layer& y, const State& s) {
    int largest = 0;
    for (int j = 0; j < y.n_out; ++j) {
        const int size = s.counter[j] < 0 ? -s.counter[j] : s.counter[j];
        largest = size > largest ? size : largest;
    }
    return 2 * (126 - largest);
}

template <class Ops>
int step_wide(const Layer& y, State& s, const std::uint32_t* events, int m) {
    for (int from = 0; from < m; from += chunk) {
        const int part = m - from < chunk ? m - from : chunk;
        count_planes<Ops, 8>(y, events + from, part, s.planes);
        const std::uint64_t* rows[8];
        for (int k = 0; k < 8; ++k) rows[k] = s.planes + k * y.stride;
        Ops::count_words(rows, bit_width(static_cast<unsigned>(part)), y.words, s.wide);
    }
    int fired = 0;
    const std::int32_t n = static_cast<std::int32_t>(s.n);
    for (int w = 0; w < y.words; ++w) {
        std::uint8_t reached[64];
        const std::int32_t *p = s.wide + 64 * w, *f = y.fires_at + 64 * w;
        for (int j = 0; j < 64; ++j) reached[j] = 2 * p[j] - n >= f[j];
        std::uint64_t mask = 0;
        for (int j = 0; j < 64; ++j) mask |= static_cast<std::uint64_t>(reached[j]) << j;
        s.fresh[w] = mask & s.alive[w];
        s.alive[w] ^= s.fresh[w];
        fired += count_bits(s.fresh[w]);
    }
    return fired;
}

template <class Ops, int n_rows>
int step_rows(const Layer& y, State& s, const std::uint32_t* events, int m, int delta) {
    const std::uint64_t* rows[n_rows];
    for (int k = 0; k < n_rows; ++k) {
        const std::uint32_t event = k < m ? events[k] : static_cast<std::uint32_t>(y.n_in);  // the zero row
        rows[k] = y.signs + static_cast<std::size_t>(event) * static_cast<std::size_t>(y.stride);
    }
    return Ops::template count_bytes<false, n_rows>(y, s, rows, delta);
}

template <class Ops, int n_planes>
int step_planes(const Layer& y, State& s, const std::uint32_t* events, int m, int delta) {
    count_planes<Ops, n_planes>(y, events, m, s.planes);
    const std::uint64_t* rows[n_planes];
    for (int k = 0; k < n_planes; ++k) rows[k] = s.planes + k * y.stride;
    return Ops::template count_bytes<true, n_planes>(y, s, rows, delta);
}

template <class Ops>
int step_binary(const Layer& y, State& s, const std::uint32_t* events, int m) {
    const std::int64_t before = s.n;
    s.n += m;
    if (!s.is_wide && m > s.budget) {
        s.budget = budget_of(y, s);
        if (m > s.budget) {
            s.is_wide = true;
            for (int j = 0; j < 64 * y.words; ++j)
                s.wide[j] = s.counter[j] + static_cast<std::int32_t>(before >> 1);
        }
    }
    if (s.is_wide) return step_wide<Ops>(y, s, events, m);
    s.budget -= m;
    const int delta = static_cast<int>((s.n >> 1) - (before >> 1));
    // Few cases: a branch that is guessed wrong costs more than the zero rows and planes.
    if (m <= 2) return step_rows<Ops, 2>(y, s, events, m, delta);
    if (m <= 4) return step_rows<Ops, 4>(y, s, events, m, delta);
    if (m <= 7) return step_planes<Ops, 3>(y, s, events, m, delta);
    if (m <= 31) return step_planes<Ops, 5>(y, s, events, m, delta);
    if (m <= 63) return step_planes<Ops, 6>(y, s, events, m, delta);
    return step_planes<Ops, 8>(y, s, events, m, delta);
}

template <class Ops>
int step_real(const Layer& y, State& s, const std::uint32_t* events, int m) {
    for (int e = 0; e < m; ++e)
        Ops::add_real(y.weights + static_cast<std::size_t>(events[e]) * y.real_stride, y.real_stride, s.potential);
    int fired = 0;
    for (int w = 0; w < y.words; ++w) {
        const int from = 64 * w, n = y.n_out - from < 64 ? y.n_out - from : 64;
        std::uint64_t mask = 0;
        for (int j = 0; j < n; ++j)
            mask |= static_cast<std::uint64_t>(s.potential[from + j] > y.thresholds[from + j]) << j;
        s.fresh[w] = mask & s.alive[w];
        s.alive[w] ^= s.fresh[w];
        fired += count_bits(s.fresh[w]);
    }
    return fired;
}

inline float margin(const Layer& y, const State& s, int j) {
    if (y.kind == Kind::real) return s.potential[j] - y.thresholds[j];
    std::int64_t u;
    if (y.kind == Kind::narrow_output) u = s.sum16[j];
    else if (s.is_wide) u = 2 * static_cast<std::int64_t>(s.wide[j]) - s.n;
    else u = 2 * (s.counter[j] + (s.n >> 1)) - s.n;
    return static_cast<float>(u) - y.thresholds[j];
}

}  // namespace
}  // namespace bitspike::packed::first_spike
