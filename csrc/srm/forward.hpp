// Traces, product with the weights as they are drawn, neurons; readout, loss and local error of a sample.
#pragma once
#include <cstring>

#include "srm/draw.hpp"

namespace bitspike::srm {
namespace {

template <bool kBytes>
BITSPIKE_INLINE void traces_of(const Neuron& c, float* p, float* q, const void* x, std::size_t n, std::uint32_t* seen) {
    std::size_t i = 0;
    const auto* bytes = static_cast<const std::uint8_t*>(x);
    const auto* floats = static_cast<const float*>(x);
    for (; i + kLanes <= n; i += kLanes) {
        const Floats old = load(q + i), now = load(p + i) * c.alpha + old;
        Floats in;
        if constexpr (kBytes) in = __builtin_convertvector(*reinterpret_cast<const BytesAt*>(bytes + i), Floats);
        else in = load(floats + i);
        store(p + i, now);
        store(q + i, old * c.beta + in);
        *reinterpret_cast<UnsignedAt*>(seen + i) |= (Unsigned)now;
    }
    for (; i < n; ++i) {
        const float old = q[i], now = c.alpha * p[i] + old;
        std::uint32_t pattern;
        std::memcpy(&pattern, &now, sizeof now);
        p[i] = now;
        q[i] = c.beta * old + (kBytes ? static_cast<float>(bytes[i]) : floats[i]);
        seen[i] |= pattern;
    }
}

void traces(const Neuron& c, float* p, float* q, const void* x, bool bytes, std::size_t n, std::uint32_t* seen) {
    return bytes ? traces_of<true>(c, p, q, x, n, seen) : traces_of<false>(c, p, q, x, n, seen);
}

constexpr int kDepth = 192;          // inputs whose weights of a tile stay in the first cache
constexpr int kPart = 2 * kLanes;    // neurons whose sums stay in registers
constexpr int kSamples = kLanes == 16 ? 8 : kLanes == 8 ? 6 : 4;  // samples whose sums of kPart neurons do

// sums of S rows += P_i W_ij for n inputs, from first to last.
template <bool exact, int S>
void product(const float* const* rows, const std::int32_t* offsets, int n, const float* w, float* sums, std::size_t stride) {
    Floats a[S][2];
    const float* from[S];
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) {
        from[s] = rows[s];
        a[s][0] = load(sums + s * stride);
        a[s][1] = load(sums + s * stride + kLanes);
    }
    for (int k = 0; k < n; ++k, w += kTile) {
        const std::int64_t i = offsets[k];
        const Floats w0 = load(w), w1 = load(w + kLanes);
#pragma GCC unroll 8
        for (int s = 0; s < S; ++s) {
            const Floats p = splat(from[s][i]);
            a[s][0] = add_product<exact>(a[s][0], p, w0);
            a[s][1] = add_product<exact>(a[s][1], p, w1);
        }
    }
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) {
        store(sums + s * stride, a[s][0]);
        store(sums + s * stride + kLanes, a[s][1]);
    }
}

template <bool exact, int S>
BITSPIKE_INLINE void products(int left, const float* const* rows, const std::int32_t* offsets, int n, const float* w, float* sums,
                         std::size_t stride) {
    if (left >= S) return product<exact, S>(rows, offsets, n, w, sums, stride);
    if constexpr (S > 1) products<exact, S - 1>(left, rows, offsets, n, w, sums, stride);
}

template <Kind kind>
void forward_of(const Forward& f, int tile) {
    constexpr bool exact = kind == Kind::straight_through || kind == Kind::hard;
    alignas(64) float w[kDepth * kTile];
    const int first = tile * kTile, width = min(kTile, f.n_out - first), whole = (width + kPart - 1) / kPart * kPart;
    float* u = f.u + first;
    for (int s = 0; s < f.n_rows; ++s) fill(u + s * f.u_stride, u + s * f.u_stride + whole, 0.0f);
    if (whole > width) fill(w, w + kDepth * kTile, 0.0f);
    for (int begin = 0; begin < f.n_taken; begin += kDepth) {
        const int n = min(kDepth, f.n_taken - begin);
        for (int k = 0; k < n; ++k) {
            const std::size_t at = static_cast<std::size_t>(f.taken[begin + k]) * f.n_out + first;
            const std::size_t soon = static_cast<std::size_t>(f.taken[min(begin + k + 16, f.n_taken - 1)]) * f.n_out + first;
            prefetch(f.latent + soon);
            prefetch(f.latent + soon + 16);
            draw_some<kind>(f.draw, f.latent + at, at, width, w + k * kTile, f.factor ? f.factor + at : nullptr);
        }
        for (int s = 0; s < f.n_rows; s += kSamples)
            for (int part = 0; part < whole; part += kPart)
                products<exact, kSamples>(f.n_rows - s, f.rows + s, f.offsets + begin, n, w + part,
                                          u + s * f.u_stride + part, f.u_stride);
    }
    const Neuron& c = f.neuron;
    for (int s = 0; s < f.n_rows; ++s) {
        const std::size_t at = static_cast<std::size_t>(s) * f.n_out + first;
        for (int j = 0; j < width; j += kLanes) {
            const int lanes = width - j;
            Floats total = load(u + s * f.u_stride + j);
            if (f.bias) total += load(f.bias + first + j, lanes);
            const Floats r = load(f.r + at + j, lanes) * c.gamma + load(f.before + at + j, lanes);
            const Floats potential = total * c.scale - r;
            store(f.r + at + j, r, lanes);
            store(u + s * f.u_stride + j, potential);
            store(f.spikes + at + j, potential >= 0.0f ? splat(1.0f) : Floats{}, lanes);
        }
    }
}

void forward(const Forward& f, int tile) {
    switch (f.draw.kind) {
        case Kind::real: return forward_of<Kind::real>(f, tile);
        case Kind::straight_through: return forward_of<Kind::straight_through>(f, tile);
        case Kind::hard: return forward_of<Kind::hard>(f, tile);
        case Kind::relaxed: return forward_of<Kind::relaxed>(f, tile);
    }
}

BITSPIKE_INLINE float log(float x) { return log(splat(x))[0]; }
BITSPIKE_INLINE float no_less(float x) { return x < 1e-30f ? 1e-30f : x; }

// Loss of the readouts `read` (padded), which become its slopes.
BITSPIKE_INLINE float loss_of(const Readout& c, Goal goal, float* slope) {
    const int n = c.n_readouts;
    float total = 0;
    if (goal.class_) {
        float largest = slope[0];
        for (int k = 1; k < n; ++k) largest = slope[k] > largest ? slope[k] : largest;
        for (int k = 0; k < n; k += kLanes) store(slope + k, exp(load(slope + k) - largest));
        for (int k = 0; k < n; ++k) total = k ? total + slope[k] : slope[0];
        for (int k = 0; k < n; k += kLanes) store(slope + k, load(slope + k) / total);
        const float p = slope[*goal.class_];
        slope[*goal.class_] -= 1.0f;
        for (int k = 0; k < n; k += kLanes) store(slope + k, load(slope + k) / static_cast<float>(c.batch));
        return -log(no_less(p));
    }
    for (int k = 0; k < n; ++k) {
        const float y = goal.values[k], p = 1.0f / (1.0f + exp(splat(-slope[k]))[0]);
        const float one = -(y * log(no_less(p)) + (1.0f - y) * log(no_less(1.0f - p)));
        total = k ? total + one : one;
        slope[k] = (p - y) / static_cast<float>(static_cast<std::int64_t>(c.batch) * n);
    }
    return total / static_cast<float>(n);
}

std::size_t read(const Readout& c, const float* spikes, const float* u, Goal goal, float* readout, float* slope, float* loss,
                 float* errors, std::size_t error_stride) {
    for (int k = 0; k < c.n_readouts; k += 4) {  // four at once; of the last a few are added twice
        const float* row[4];
        Floats total[4] = {};
        for (int d = 0; d < 4; ++d) row[d] = c.signs + min(k + d, c.n_readouts - 1) * c.stride;
        for (int j = 0; j < c.n_out; j += kLanes) {
            const Floats s = load(spikes + j, c.n_out - j);
#pragma GCC unroll 4
            for (int d = 0; d < 4; ++d) total[d] += s * load(row[d] + j);
        }
        for (int d = 0; d < min(4, c.n_readouts - k); ++d) readout[k + d] = (sum(total[d]) + c.bias[k + d]) * c.scale;
    }
    *loss = 0;
    if (!goal.class_ && !goal.values) return 0;
    std::memcpy(slope, readout, c.n_readouts * sizeof(float));
    *loss = loss_of(c, goal, slope);
    std::size_t count = 0;
    for (int j = 0; j < c.n_out; j += kLanes) {
        const Floats at = load(u + j);
        Ints inside = (at > -c.box) & (at <= c.box);
        float* to = errors + j / kTile * error_stride + j % kTile;
        if (!bits(inside)) {
            store(to, Floats{});
            continue;
        }
        Floats carried{};
        for (int k = 0; k < c.n_readouts; ++k) carried += load(c.signs + k * c.stride + j) * slope[k];
        const Floats error = inside ? carried * c.scale : Floats{};  // beyond n_out signs are 0
        store(to, error);
        count += __builtin_popcount(bits(error != 0.0f));
    }
    for (int j = (c.n_out + kLanes - 1) / kLanes * kLanes; j % kTile; j += kLanes)
        store(errors + j / kTile * error_stride + j % kTile, Floats{});
    return count;
}

std::size_t list(const float* errors, std::size_t error_stride, int n_out, Event* events) {
    std::size_t count = 0;
    for (int j = 0; j < n_out; j += kLanes) {
        const float* from = errors + j / kTile * error_stride + j % kTile;
        for (unsigned there = bits(load(from) != 0.0f); there; there &= there - 1) {
            const int lane = __builtin_ctz(there);
            events[count++] = {j + lane, from[lane]};
        }
    }
    return count;
}

}  // namespace
}  // namespace bitspike::srm
