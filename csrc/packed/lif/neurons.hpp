// The step of leaky integrate-and-fire neurons on their currents.
#pragma once
#include <cstddef>
#include <cstdint>

#include "lif/step.hpp"
#include "packed/lif/kernels.hpp"

namespace bitspike::packed::lif {
namespace {

using namespace vector16;
using namespace bitspike::lif;

// What one layer knows of one sample. Blocks of 16 lanes sleep until a current reaches them.
struct State {
    float *current, *v, *x;
    Mask *held, *ring;  // ring (refractory + 1, blocks): who fired in the last steps
    std::uint8_t* awake;
    std::uint32_t* fired;
    int n_fired;
    bool any_awake;
};

BITSPIKE_INLINE bool is_zero(f16 a) {
    union { f16 lanes; std::uint64_t words[8]; } u = {a};
    std::uint64_t any = 0;
    for (std::uint64_t word : u.words) any |= word;
    return any == 0;
}

// current -= lateral * (spikes of the other neurons in step t - 1).
static void inhibit(const Layer& y, const State& s, int t) {
    const Mask* before = s.ring + static_cast<std::size_t>((t - 1) % (y.lif.refractory + 1)) * (y.lanes / kLanes);
    const f16 all = splat(static_cast<float>(s.n_fired)), one = splat(1.0f), w0 = splat(y.lif.lateral);
    for (int b = 0; b < y.lanes / kLanes; ++b) {
        float* at = s.current + kLanes * b;
        store(at, load(at) - w0 * (all - choose(before[b], one, f16{})));
    }
}

// Step t of the neurons: `current` is used up (set to 0), unless it is `constant`. Fills `fired` with the ids.
static void step_neurons(const Layer& y, State& s, int t, int n_blocks, const std::uint32_t* ids, bool constant) {
    const LifLanes lif(y.lif);
    const std::size_t blocks = static_cast<std::size_t>(y.lanes / kLanes);
    const int length = y.lif.refractory + 1;
    Mask* const now = s.ring + static_cast<std::size_t>(t % length) * blocks;
    const Mask* const old = s.ring + static_cast<std::size_t>((t + 1) % length) * blocks;
    int n = 0;
    bool any = false;
    for (int b = 0; b < n_blocks; ++b) {
        const f16 current = load(s.current + kLanes * b);
        f16 v{}, x{}, v_pre;
        if (s.awake[b]) {
            v = load(s.v + kLanes * b);
            x = load(s.x + kLanes * b);
        } else {
            if (is_zero(current)) continue;
            s.awake[b] = 1;
        }
        any = true;
        Mask fired = lif_step(lif, current, s.held[b], v, x, v_pre);
        store(s.v + kLanes * b, v);
        store(s.x + kLanes * b, x);
        if (!constant) store(s.current + kLanes * b, f16{});
        now[b] = fired;
        s.held[b] = next_held(s.held[b], fired, old[b]);
        for (unsigned rest = fired; rest; rest &= rest - 1)
            s.fired[n++] = ids[kLanes * b + __builtin_ctz(rest)];
    }
    s.n_fired = n;
    s.any_awake = any;
}

}  // namespace
}  // namespace bitspike::packed::lif
