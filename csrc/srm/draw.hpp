// The draws of ops/srm/reference.py.
#pragma once
#include <cstring>

#include "common/algorithm.hpp"
#include "common/elementary.hpp"
#include "common/uniform.hpp"
#include "srm/kernels.hpp"

namespace bitspike::srm {
namespace {

using namespace vector;

template <bool clipped = false>  // whether x is known to lie in [-87, 87]
BITSPIKE_INLINE Floats exp(Floats x) {
    if constexpr (!clipped) x = at_most(at_least(x, -87.0f), 87.0f);
    return elementary::exp(x);
}

using elementary::log;

template <Kind kind>
BITSPIKE_INLINE Floats drawn(const Draw& draw, Floats w, std::uint64_t index, Floats& factor) {
    if constexpr (kind == Kind::real) return w;
    if constexpr (kind == Kind::straight_through) return plus_or_minus(w >= 0.0f);
    const Floats u = random::uniform(draw.key, index);
    if constexpr (kind == Kind::hard)
        return plus_or_minus(u * (exp<true>(at_most(at_least(w * -2.0f, -40.0f), 40.0f)) + 1.0f) < 1.0f);
    const Floats x = (w + log(u / (1.0f - u)) * 0.5f) / draw.tau;
    const Floats e1 = exp(magnitude(x) * -2.0f), e2 = exp(magnitude(w) * -2.0f), ratio = (e2 + 1.0f) / (e1 + 1.0f);
    const Floats s = exp((magnitude(w) - magnitude(x)) * 2.0f) * (ratio * ratio) / draw.tau;
    factor = at_most(at_least(s, 0.0f), draw.s_max);
    return with_sign((1.0f - e1) / (e1 + 1.0f), x);
}

// Numbers index .. index + n - 1 of a tensor; whole vectors are written to `weight`.
template <Kind kind>
BITSPIKE_INLINE void draw_some(const Draw& draw, const float* latent, std::uint64_t index, int n, float* weight, float* factor) {
    for (int j = 0; j < n; j += kLanes) {
        Floats s = splat(1.0f);
        store(weight + j, drawn<kind>(draw, load(latent + j, n - j), index + j, s));
        if (kind == Kind::relaxed && factor) store(factor + j, s, n - j);
    }
}

template <Kind kind>
void sample_of(const Draw& draw, const float* latent, std::size_t n, float* weight, float* factor) {
    alignas(64) float w[kTile];
    for (std::size_t j = 0; j < n; j += kTile) {
        const int some = static_cast<int>(min<std::size_t>(kTile, n - j));
        draw_some<kind>(draw, latent + j, j, some, w, factor ? factor + j : nullptr);
        std::memcpy(weight + j, w, some * sizeof(float));
    }
}

void sample(const Draw& draw, const float* latent, std::size_t n, float* weight, float* factor) {
    switch (draw.kind) {
        case Kind::real: return sample_of<Kind::real>(draw, latent, n, weight, factor);
        case Kind::straight_through: return sample_of<Kind::straight_through>(draw, latent, n, weight, factor);
        case Kind::hard: return sample_of<Kind::hard>(draw, latent, n, weight, factor);
        case Kind::relaxed: return sample_of<Kind::relaxed>(draw, latent, n, weight, factor);
    }
}

}  // namespace
}  // namespace bitspike::srm
