// The competing-risk loss.
#pragma once
#include <math.h>
#include <cstring>

#include "common/algorithm.hpp"
#include "common/arena.hpp"
#include "common/elementary.hpp"
#include "common/vector16.hpp"

namespace bitspike::first_spike {
namespace {

using namespace vector16;

// exp(x) for |x| <= 80, relative error below 2e-7: 2^n times a polynomial on [-ln2/2, ln2/2].
BITSPIKE_INLINE f16 exponential(f16 x) {
    const f16 low = splat(-80.0f);
    x = x < low ? low : x;
    const f16 rounded = elementary::nearest(x * 1.44269504088896341f);
    const f16 r = (x - rounded * 0.693359375f) + rounded * 2.12194440e-4f;
    f16 p = elementary::exp_polynomial(r);
    p = p * r * r + r + 1.0f;
    return p * elementary::power_of_two(rounded);
}

BITSPIKE_INLINE float horizontal(f16 v) {
    float sum = 0.0f;
    for (int j = 0; j < 16; ++j) sum += v[j];
    return sum;
}

static float race(const float* margins, int n_active, int slots, int n_out, int label, float tau_c, float tau_h, float beta,
                  float skip, float* gradient) {
    const int groups = (n_out + 15) / 16;
    const std::size_t wide = static_cast<std::size_t>(groups) * 16;
    static thread_local Buffer<float> memory;
    float* const hazard = memory.grow(n_active * (2 * wide + 3));
    float *const share = hazard + n_active * wide, *const survive = share + n_active * wide;
    float *const decide = survive + n_active, *const truth = decide + n_active;
    float alive = 1.0f, likelihood = 0.0f;
    int last = n_active - 1;
    for (int a = 0; a < n_active; ++a) {
        const float* m = margins + static_cast<std::size_t>(a) * n_out;
        float top = m[0], rate = 0.0f, norm = 0.0f;
        for (int o = 1; o < n_out; ++o) top = max(top, m[o]);
        for (int k = 0; k < groups; ++k) {
            const int lanes = min(16, n_out - 16 * k);
            alignas(64) float near[16];
            for (int j = 0; j < 16; ++j) near[j] = j < lanes ? m[16 * k + j] : -INFINITY;
            const f16 v = load(near), cap = splat(12.0f);
            const f16 drive = v / tau_h;
            f16 h = exponential(drive < cap ? drive : cap), p = exponential((v - top) / tau_c);
            for (int j = lanes; j < 16; ++j) h[j] = p[j] = 0.0f;
            rate += horizontal(h);
            norm += horizontal(p);
            store(&hazard[a * wide + 16 * k], h);
            store(&share[a * wide + 16 * k], p);
        }
        for (int k = 0; k < groups; ++k) store(&share[a * wide + 16 * k], load(&share[a * wide + 16 * k]) / norm);
        truth[a] = share[a * wide + label];
        const float after = alive * expf(-rate);
        decide[a] = alive - after;
        likelihood += decide[a] * truth[a];
        alive = survive[a] = after;
        if (alive < 1e-4f) {  // nobody is left to decide later
            last = a;
            break;
        }
    }
    likelihood += beta * alive * truth[last];
    const float p_floor = 1e-6f, total = max(likelihood, p_floor), inverse = 1.0f / total;
    decide[last] += beta * alive;
    float ahead = 0.0f, peak = 0.0f;  // ahead: L(a) = sum over later slots of omega p_y, with the silent term
    std::memset(gradient, 0, static_cast<std::size_t>(slots) * n_out * sizeof(float));
    for (int a = last; a >= 0; --a) {
        if (a == last) ahead = beta * alive * truth[a];
        const float choice = decide[a] * truth[a] * inverse / tau_c;
        const float worth = (survive[a] * truth[a] - ahead) * inverse / tau_h;
        for (int o = 0; o < n_out; ++o) {
            const float m = margins[static_cast<std::size_t>(a) * n_out + o];
            const float slope = m / tau_h < 12.0f ? hazard[a * wide + o] : 0.0f;
            const float g = choice * (share[a * wide + o] - (o == label ? 1.0f : 0.0f)) - slope * worth;
            gradient[static_cast<std::size_t>(a) * n_out + o] = g;
            peak = max(peak, fabsf(g));
        }
        ahead += (a == last ? decide[a] - beta * alive : decide[a]) * truth[a];
    }
    if (peak * tau_c < skip) std::memset(gradient, 0, static_cast<std::size_t>(slots) * n_out * sizeof(float));
    return -logf(total);
}

}  // namespace
}  // namespace bitspike::first_spike
