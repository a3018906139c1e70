// One step of sixteen neurons, forward and backward.
#pragma once
#include "common/vector16.hpp"
#include "lif/neuron.hpp"

namespace bitspike::lif {
namespace {

using namespace vector16;

// Constants of `Lif` in all lanes.
struct LifLanes {
    f16 beta_m, beta_s, rate, limit;
    explicit LifLanes(const Lif& c)
        : beta_m(splat(c.beta_m)), beta_s(splat(c.beta_s)), rate(splat(c.rate)), limit(splat(c.limit)) {}
};

// One step t of 16 neurons; `current` is I(t - 1), `held` the neurons that fired in t - 1 .. t - refractory. Returns those
// that fire; `v_pre` is the membrane before its reset.
BITSPIKE_INLINE Mask lif_step(const LifLanes& c, f16 current, Mask held, f16& v, f16& x, f16& v_pre) {
    v = v * c.beta_m;
    x = x * c.beta_s;
    x = x + current;
    v = v + x * c.rate;
    v_pre = drop(v, held);
    const Mask fired = above(v_pre, c.limit);
    v = drop(v_pre, fired);
    return fired;
}

// `held` of the next step, for neurons under their own clamp (they cannot fire twice within the refractory period): `fired`
// in step t, `old` those that fired in step t - refractory (0 before the window).
template <class Bits>
BITSPIKE_INLINE Bits next_held(Bits held, Bits fired, Bits old) {
    return static_cast<Bits>((held | fired) & ~old);
}

// Constants of `Back` in all lanes.
struct BackLanes {
    f16 decay_m, decay_s, gain;
    explicit BackLanes(const Back& c) : decay_m(splat(c.decay_m)), decay_s(splat(c.decay_s)), gain(splat(c.gain)) {}
};

// One step t of the adjoint, from the last step down: read R(t - late) = mu first, then call this. `held`: neurons with a
// spike in t - 1 .. t - refractory; `fired`: with a spike at t.
BITSPIKE_INLINE void back_step(const BackLanes& c, Mask held, Mask fired, f16& lam, f16& mu) {
    lam = drop(lam * c.decay_m, held);
    lam = choose(fired, splat(1.0f), lam);
    mu = mu * c.decay_s + lam * c.gain;
}

}  // namespace
}  // namespace bitspike::lif
