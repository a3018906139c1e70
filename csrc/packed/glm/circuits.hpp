// Chances and draws of the circuits of a group.
#pragma once
#include "common/elementary.hpp"
#include "common/uniform.hpp"
#include "packed/glm/kernels.hpp"
#include "packed/trains/list.hpp"

namespace bitspike::packed::glm {
namespace {

using namespace vector16;
using vector::Floats;
using vector::Ints;

// e^-x, x >= 0.
BITSPIKE_INLINE Floats exp_minus(Floats x) { return elementary::exp(vector::at_least(-x, -87.0f)); }

struct Draw {
    std::uint64_t key, first;      // numbers `first` on of the key: one per circuit
    const std::uint32_t* counted;  // 0, 1, ..
    Mask* fired;                   // (values)
};

// e_c = exp(u_c - m) of values c, one vector after the other, from potentials n apart; returns e_0 + e_1 + .., e_0 = exp(-m).
template <int Values>
BITSPIKE_INLINE Floats exponentials(const float* u, int n, int values, float* e) {
    Floats m = vector::load(u);
    if constexpr (Values == 1) {  // one of e_0 and e_1 is 1
        const Floats other = exp_minus(vector::magnitude(m)), one = vector::splat(1.0f);
        vector::store(e, m > 0.0f ? one : other);
        return other + one;
    }
    m = vector::at_least(m, 0.0f);
    for (int c = 1; c < values; ++c) {
        const Floats next = vector::load(u + static_cast<std::ptrdiff_t>(c) * n);
        m = next > m ? next : m;
    }
    Floats total = exp_minus(m);
    for (int c = 0; c < values; ++c) {
        const Floats one = exp_minus(m - vector::load(u + static_cast<std::ptrdiff_t>(c) * n));
        vector::store(e + static_cast<std::ptrdiff_t>(c) * vector::kLanes, one);
        total = total + one;
    }
    return total;
}

// From potentials `u` to chances `p` (rows), where asked for, and the rows that emit, in any order; returns their number.
// Reads up to 16 numbers behind the rows; `e` is scratch for all values. `Values`: how many, or 0 for any number.
template <int Values>
BITSPIKE_INLINE int emit_of(const Group& y, const float* u, const Draw* draw, float* e, float* p, std::uint32_t* ids) {
    const int values = Values ? Values : y.values, n = y.n;
    int emitted = 0;
    for (int block = 0; block < n; block += kLanes) {
        if (draw)
            for (int c = 0; c < values; ++c) draw->fired[c] = 0;
        for (int i = block; i < n && i < block + kLanes; i += vector::kLanes) {
            const Floats total = exponentials<Values>(u + i, n, values, e);
            const Floats uniform = draw ? random::uniform(draw->key, draw->first + static_cast<std::uint64_t>(i)) : Floats{};
            Floats sum{};
            Ints before{};
            for (int c = 0; c < values; ++c) {
                const Floats chance = vector::load(e + static_cast<std::ptrdiff_t>(c) * vector::kLanes) / total;
                if (p) vector::store(p + static_cast<std::ptrdiff_t>(c) * n + i, chance, n - i);
                if (!draw) continue;
                sum += chance;
                const Ints now = uniform < sum;
                draw->fired[c] = static_cast<Mask>(draw->fired[c] | vector::bits(now & ~before) << (i - block));
                before |= now;
            }
        }
        if (!draw) continue;
        const Mask there = static_cast<Mask>(n - block >= kLanes ? 0xffff : (1 << (n - block)) - 1);
        for (int c = 0; c < values; ++c)
            emitted += trains::list(static_cast<Mask>(draw->fired[c] & there),
                                    draw->counted + static_cast<std::ptrdiff_t>(c) * n + block, ids + emitted);
    }
    return emitted;
}

static int emit(const Group& y, const float* u, const Draw* draw, float* e, float* p, std::uint32_t* ids) {
    return y.values == 1 ? emit_of<1>(y, u, draw, e, p, ids) : emit_of<0>(y, u, draw, e, p, ids);
}

}  // namespace
}  // namespace bitspike::packed::glm
