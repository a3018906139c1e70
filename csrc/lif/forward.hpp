// Neurons forward in time.
#pragma once
#include <cstring>

#include "lif/kernels.hpp"
#include "lif/step.hpp"

namespace bitspike::lif {
namespace {

typedef std::uint16_t Bits16 __attribute__((may_alias));

// v, x of 16 * K neurons stay in registers where K allows it.
template <int K, class Input>
BITSPIKE_INLINE void run_neurons(const Input& input, const Neurons& n, int first) {
    const LifLanes c(n.lif);
    const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(n.words) * 4, back = row * n.lif.refractory;
    Bits16* out = reinterpret_cast<Bits16*>(n.bits) + first / kLanes;
    constexpr int kWords = (K + 3) / 4;
    f16 v[K] = {}, x[K] = {}, counts[K] = {}, tpsp[K] = {};
    Mask held[K] = {};
    if (n.n_steps > 0) std::memset(out, 0, kWords * 8);
    for (int t = 1; t < n.n_steps; ++t) {
        out += row;
        f16 now[K], pre[K];
        input(t - 1, now);
        Mask fired[K], any = 0;
        for (int k = 0; k < K; ++k) {
            fired[k] = lif_step(c, now[k], held[k], v[k], x[k], pre[k]);
            any |= fired[k];
        }
        for (int k = 0; k < K; ++k) out[k] = fired[k];
        for (int k = K; k < 4 * kWords; ++k) out[k] = 0;
        for (int k = 0; k < K; ++k)
            held[k] = next_held<Mask>(held[k], fired[k], t >= n.lif.refractory ? out[k - back] : Mask(0));
        if (any)
            for (int k = 0; k < K; ++k) {
                counts[k] += choose(fired[k], splat(1.0f), f16{});
                tpsp[k] += drop(pre[k], static_cast<Mask>(~fired[k]));
            }
    }
    for (int k = 0; k < K; ++k) {
        const int at = first + k * kLanes, lanes = n.n_out - at;
        if (lanes <= 0) break;
        store(n.counts + at, counts[k], lanes);
        store(n.tpsp + at, tpsp[k], lanes);
        store(n.membrane + at, v[k], lanes);
    }
}

template <int K>
struct EventInput {
    ByStep events;
    const float* rows;
    BITSPIKE_INLINE_MEMBER void operator()(int t, f16* now) const {
        RowSum<K> sum;
        for (std::int32_t e = events.starts[t], end = events.starts[t + 1]; e < end; ++e)
            sum.add(rows + static_cast<std::size_t>(events.inputs[e]) * (K * kLanes));
        alignas(64) float sums[K * kLanes];
        sum.store(sums);
        for (int k = 0; k < K; ++k) now[k] = load(sums + k * kLanes);
    }
};

template <int K>
struct ConstantInput {
    f16 current[K];
    ConstantInput(const float* from, int lanes) {
        for (int k = 0; k < K; ++k) current[k] = load(from + k * kLanes, lanes - k * kLanes);
    }
    BITSPIKE_INLINE_MEMBER void operator()(int, f16* now) const {
        for (int k = 0; k < K; ++k) now[k] = current[k];
    }
};

template <int K>
struct DenseInput {
    const float* current;
    std::size_t stride;
    int last;  // lanes of the last vector
    BITSPIKE_INLINE_MEMBER void operator()(int t, f16* now) const {
        const float* from = current + static_cast<std::size_t>(t) * stride;
        for (int k = 0; k + 1 < K; ++k) now[k] = load(from + k * kLanes);
        now[K - 1] = load(from + (K - 1) * kLanes, last);
    }
};

template <int K>
static void events_tile(const ByStep& events, const float* rows, const Neurons& n, int first) {
    run_neurons<K>(EventInput<K>{events, rows}, n, first);
}

static void forward_events(const ByStep& events, const float* rows, int vectors, const Neurons& n, int first) {
    switch (vectors) {
        case 1: return events_tile<1>(events, rows, n, first);
        case 2: return events_tile<2>(events, rows, n, first);
        case 3: return events_tile<3>(events, rows, n, first);
        case 4: return events_tile<4>(events, rows, n, first);
        default: return events_tile<8>(events, rows, n, first);
    }
}

template <int K>
static void constant_tile(const float* current, const Neurons& n, int first) {
    run_neurons<K>(ConstantInput<K>(current + first, n.n_out - first), n, first);
}

static void forward_constant(const float* current, const Neurons& n, int first) {
    switch ((n.n_out - first + kLanes - 1) / kLanes) {
        case 1: return constant_tile<1>(current, n, first);
        case 2: return constant_tile<2>(current, n, first);
        case 3: return constant_tile<3>(current, n, first);
        default: return constant_tile<4>(current, n, first);
    }
}

template <int K>
static void dense_tile(const float* current, const Neurons& n, int first) {
    const int last = n.n_out - first - (K - 1) * kLanes;
    run_neurons<K>(DenseInput<K>{current + first, static_cast<std::size_t>(n.n_out), last}, n, first);
}

static void forward_dense(const float* current, const Neurons& n, int first) {
    switch ((n.n_out - first + kLanes - 1) / kLanes) {
        case 1: return dense_tile<1>(current, n, first);
        case 2: return dense_tile<2>(current, n, first);
        case 3: return dense_tile<3>(current, n, first);
        default: return dense_tile<4>(current, n, first);
    }
}

static void forward_lateral(const float* current, std::size_t stride, const Neurons& n, float* state) {
    const LifLanes c(n.lif);
    const f16 weight = splat(n.lif.lateral);
    const int vectors = (n.n_out + kLanes - 1) / kLanes, padded = vectors * kLanes;
    float *v = state, *x = state + padded;
    std::memset(state, 0, 2 * padded * sizeof(float));
    std::memset(n.bits, 0, static_cast<std::size_t>(n.n_steps) * n.words * 8);
    float* const totals[] = {n.counts, n.tpsp, n.membrane};
    for (float* total : totals) std::memset(total, 0, n.n_out * sizeof(float));
    const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(n.words) * 4;
    Bits16* out = reinterpret_cast<Bits16*>(n.bits);
    int before = 0;  // spikes of the layer in the step before
    for (int t = 1; t < n.n_steps; ++t) {
        out += row;
        int now = 0;
        for (int k = 0; k < vectors; ++k) {
            const int at = k * kLanes, lanes = n.n_out - at;
            Mask held = 0;
            for (int d = 1; d <= n.lif.refractory && d <= t; ++d) held |= out[k - d * row];
            const f16 others = splat(static_cast<float>(before)) - choose(out[k - row], splat(1.0f), f16{});
            const f16 in = load(current + static_cast<std::size_t>(t - 1) * stride + at, lanes) - weight * others;
            f16 vk = load(v + at), xk = load(x + at), pre;
            const Mask fired = lif_step(c, in, held, vk, xk, pre);  // lanes beyond the layer are inhibited only
            store(v + at, vk);
            store(x + at, xk);
            out[k] = fired;
            if (!fired) continue;
            now += __builtin_popcount(fired);
            store(n.counts + at, load(n.counts + at, lanes) + choose(fired, splat(1.0f), f16{}), lanes);
            store(n.tpsp + at, load(n.tpsp + at, lanes) + drop(pre, static_cast<Mask>(~fired)), lanes);
        }
        before = now;
    }
    std::memcpy(n.membrane, v, n.n_out * sizeof(float));
}

template <int K>
static void current_rows(const ByStep& events, const float* rows, int vectors, int n_steps, float* current) {
    for (int t = 0; t < n_steps; ++t) {
        RowSum<K> sum;
        for (std::int32_t e = events.starts[t], end = events.starts[t + 1]; e < end; ++e)
            sum.add(rows + static_cast<std::size_t>(events.inputs[e]) * vectors * kLanes);
        sum.store(current + static_cast<std::size_t>(t) * vectors * kLanes);
    }
}

static void input_current(const ByStep& events, const float* rows, int vectors, int n_steps, float* current) {
    int k = 0;
    for (; k + 4 <= vectors; k += 4) current_rows<4>(events, rows + k * kLanes, vectors, n_steps, current + k * kLanes);
    for (; k < vectors; ++k) current_rows<1>(events, rows + k * kLanes, vectors, n_steps, current + k * kLanes);
}

}  // namespace
}  // namespace bitspike::lif
