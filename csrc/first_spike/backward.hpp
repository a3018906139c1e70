// The gradient of a tile.
#pragma once
#include <math.h>
#include <cstring>

#include "common/algorithm.hpp"
#include "common/arena.hpp"
#include "common/vector16.hpp"
#include "first_spike/kernels.hpp"

namespace bitspike::first_spike {
namespace {

using namespace vector16;

BITSPIKE_INLINE f16 read_maxima(const float* p) { return load(p); }
BITSPIKE_INLINE f16 read_maxima(const std::int16_t* p) {
    typedef std::int16_t s16u __attribute__((vector_size(32), aligned(2)));
    return __builtin_convertvector(*reinterpret_cast<const s16u*>(p), f16);
}

// Equations (5) to (8) of the step formulation: D = dL/ds * psi((M - theta)/width), psi(x) = max(0, 1 - |x|); D reaches V
// in the slot where the running maximum was attained (earliest on ties), hence every input up to that slot.
//
// First the reach of every slot, C(a) = sum of the D whose slot of attainment is a or later, for all samples; then, input
// by input, the sum of C over the input's events, in registers.
template <class Maximum>
static void backward(const Spikes& x, const Layer& layer, const Maximum* maxima, const Gradient& gradient,
                     const ByInput& by_input, float width, float* d_weight, float* d_threshold, float* d_potential, int tile) {
    const int first = tile * kTile, lanes = min(kTile, layer.n_out - first);
    const int groups = (lanes + 15) / 16, n_next = gradient.n_next;
    const std::size_t n_live = by_input.n_live;
    static thread_local Buffer<float> reach_memory, next_memory;
    float* const reach = reach_memory.grow(n_live * x.slots * kTile);
    float* const next = next_memory.grow(static_cast<std::size_t>(n_next) * kTile);  // the layer above, transposed: [n_next][64]
    std::memset(next, 0, static_cast<std::size_t>(n_next) * kTile * sizeof(float));
    for (int j = 0; j < lanes && n_next; ++j)
        for (int o = 0; o < n_next; ++o) next[o * kTile + j] = gradient.next[static_cast<std::size_t>(first + j) * n_next + o];
    alignas(64) float edge[kTile] = {};
    f16 total[4] = {};
    const f16 scale = splat(1.0f / width), one = splat(1.0f), zero{};
    for (std::size_t live = 0; live < n_live; ++live) {
        const int b = by_input.samples[live], used = by_input.used[live];
        const Maximum* m = maxima + static_cast<std::size_t>(b) * x.slots * layer.n_padded + first;
        float* to_reach = reach + live * x.slots * kTile;
        for (int k = 0; k < groups; ++k) {
            const f16 bound = load(layer.thresholds + first + 16 * k);
            const int part = min(16, lanes - 16 * k);
            f16 pending{}, run{}, sum{}, kept = one;
            if (gradient.keep) {
                const bool* keep = gradient.keep + static_cast<std::size_t>(b) * layer.n_out + first + 16 * k;
                for (int j = 0; j < part; ++j) kept[j] = keep[j] ? 1.0f : 0.0f;
            }
            f16 here = read_maxima(m + static_cast<std::size_t>(used - 1) * layer.n_padded + 16 * k);
            for (int a = used - 1; a >= 0; --a) {
                f16 g{};
                if (n_next) {
                    const float* at = gradient.values + (static_cast<std::size_t>(b) * x.slots + a) * n_next;
                    for (int o = 0; o < n_next; ++o) g += at[o] * load(next + o * kTile + 16 * k);
                } else {
                    const float* at = gradient.values + (static_cast<std::size_t>(b) * x.slots + a) * layer.n_out + first + 16 * k;
                    if (part < 16) {
                        std::memcpy(edge, at, part * sizeof(float));
                        at = edge;
                    }
                    g = load(at);
                }
                const f16 before =
                    a ? read_maxima(m + static_cast<std::size_t>(a - 1) * layer.n_padded + 16 * k) : splat(-INFINITY);
                f16 distance = (here - bound) * scale;
                distance = distance < zero ? -distance : distance;
                const f16 psi = one - distance;
                const f16 d = g * (psi > zero ? psi : zero) * kept;
                sum += d;
                pending += d;
                const i16 attained = here > before;
                const f16 landed = attained ? pending : zero;
                run += landed;
                pending = attained ? zero : pending;
                store(to_reach + a * kTile + 16 * k, run);
                if (d_potential) {
                    float* to = d_potential + (static_cast<std::size_t>(b) * x.slots + a) * layer.n_out + first + 16 * k;
                    for (int j = 0; j < part; ++j) to[j] = landed[j];
                }
                here = before;
            }
            total[k] -= sum;
        }
    }
    for (int i = 0; i < x.n_in; ++i) {
        f16 w0{}, w1{}, w2{}, w3{};
        for (std::int32_t e = by_input.starts[i]; e < by_input.starts[i + 1]; ++e) {
            const float* from = reach + static_cast<std::size_t>(by_input.places[e]) * kTile;
            w0 += load(from);
            w1 += load(from + 16);
            w2 += load(from + 32);
            w3 += load(from + 48);
        }
        float* to = d_weight + static_cast<std::size_t>(i) * layer.n_out + first;
        if (lanes == kTile) {
            store(to, w0);
            store(to + 16, w1);
            store(to + 32, w2);
            store(to + 48, w3);
        } else {
            store(edge, w0);
            store(edge + 16, w1);
            store(edge + 32, w2);
            store(edge + 48, w3);
            std::memcpy(to, edge, lanes * sizeof(float));
        }
    }
    for (int j = 0; j < lanes; ++j) d_threshold[first + j] = total[j / 16][j % 16];
}

}  // namespace
}  // namespace bitspike::first_spike
