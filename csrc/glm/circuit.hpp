// What circuits do with their potentials in one step (ops/glm/circuit.py).
#pragma once
#include "common/elementary.hpp"
#include "common/uniform.hpp"
#include "common/vector16.hpp"
#include "glm/kernels.hpp"

namespace bitspike::glm {
namespace {

using namespace vector;

BITSPIKE_INLINE Floats exp(Floats x) { return elementary::exp(at_most(at_least(x, -87.0f), 87.0f)); }

// p (lanes) of u, and ln(1 + sum of exp u) (width) where it is wanted.
static void chances(const Group& g, const float* u, float* p, float* log_total) {
    for (int i = 0; i < g.width; i += kLanes) {
        Floats largest{};
        for (int at = i; at < g.lanes; at += g.width) {
            const Floats here = load(u + at);
            largest = here > largest ? here : largest;
        }
        Floats total = exp(-largest);
        for (int at = i; at < g.lanes; at += g.width) {
            const Floats e = exp(load(u + at) - largest);
            store(p + at, e);
            total += e;
        }
        for (int at = i; at < g.lanes; at += g.width) store(p + at, load(p + at) / total);
        if (log_total) store(log_total + i, elementary::log(total) + largest);
    }
}

// s (lanes) of step t: the first value with uniform < the sum of p up to it; else none.
static void draw(const Group& g, std::uint64_t key, std::uint64_t t, const float* p, float* s) {
    const std::uint64_t first = t * static_cast<std::uint64_t>(g.n + g.n % 2);
    for (int i = 0; i < g.width; i += kLanes) {
        const Floats uniform = random::uniform(key, first + static_cast<std::uint64_t>(i));
        Floats total{};
        Ints below{};
        for (int at = i; at < g.lanes; at += g.width) {
            total += load(p + at);
            const Ints now = (uniform < total) & ~below;
            store(s + at, now ? splat(1.0f) : Floats{});
            below |= now;
        }
    }
}

// The rows that emit, ascending; how many.
static int list(const Group& g, const float* s, std::int32_t* rows) {
    int n = 0;
    for (int c = 0; c < g.values; ++c)
        for (int i = 0; i < g.width; i += kLanes)
            for (unsigned there = bits(load(s + c * g.width + i) > 0.5f); there; there &= there - 1)
                rows[n++] = c * g.n + i + __builtin_ctz(there);
    return n;
}

// Sum over circuits of ln p of what they emit.
static float log_likelihood(const Group& g, const float* u, const float* s, const float* log_total) {
    vector16::f16 total{};
    for (int i = 0; i < g.width; i += 16) {
        vector16::f16 one = -vector16::load(log_total + i);
        for (int at = i; at < g.lanes; at += g.width) one += vector16::load(s + at) * vector16::load(u + at);
        total += one;
    }
    return vector16::sum(total);
}

// g_c = p_c (q_c - sum of p q), minus alpha times the gradient of KL(p || r).
template <bool diverges>
static void through_chances(const Group& y, const Signal& signal, const float* p, const float* q, const float* log_total,
                            float* g) {
    for (int i = 0; i < y.width; i += kLanes) {
        Floats mean{}, divergence{};
        for (int at = i; at < y.lanes; at += y.width) {
            const Floats here = load(p + at);
            mean += here * load(q + at);
            if constexpr (diverges) divergence += here * (elementary::log(here) - y.log_value);
        }
        if constexpr (diverges) {
            const Floats log_silent = -load(log_total + i);
            divergence += exp(log_silent) * (log_silent - signal.log_silence);
        }
        for (int at = i; at < y.lanes; at += y.width) {
            const Floats here = load(p + at);
            Floats change = load(q + at) - mean;
            if constexpr (diverges) change -= (elementary::log(here) - y.log_value - divergence) * signal.alpha;
            store(g + at, here * change);
        }
    }
}

}  // namespace
}  // namespace bitspike::glm
