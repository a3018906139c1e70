// The adjoint, and its sums over input spikes.
#pragma once
#include "common/algorithm.hpp"
#include "lif/forward.hpp"

namespace bitspike::lif {
namespace {

// K vectors of neurons, from the last step down.
template <int K>
static void adjoint_columns(const AdjointRows& a, int first, int bin, bool mean, float* rows) {
    const BackLanes c(a.back);
    const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(a.words) * 4, width = static_cast<std::ptrdiff_t>(a.vectors) * kLanes;
    const Bits16* fired = reinterpret_cast<const Bits16*>(a.fired) + first;
    const Bits16* held = reinterpret_cast<const Bits16*>(a.held) + first;
    f16 lam[K] = {}, mu[K] = {}, total[K] = {};
    int left = (a.n_steps - 1) % bin;  // steps of this bin still to come
    float length = static_cast<float>(left + 1);
    float* to = rows + (a.n_steps - 1) / bin * width + first * kLanes;
    for (int u = a.n_steps - 1; u >= 0; --u) {
        for (int k = 0; k < K; ++k) total[k] += mu[k];
        if (left-- == 0) {
            for (int k = 0; k < K; ++k) {
                store(to + k * kLanes, mean && bin > 1 ? total[k] / splat(length) : total[k]);
                total[k] = f16{};
            }
            to -= width;
            left = bin - 1;
            length = static_cast<float>(bin);
        }
        const int t = u + a.back.late;  // R(u) is mu after the steps above t
        if (t >= a.n_steps) continue;
        for (int k = 0; k < K; ++k) back_step(c, held[t * row + k], fired[t * row + k], lam[k], mu[k]);
    }
}

static void adjoint(const AdjointRows& a, int bin, bool mean, float* rows) {
    int k = 0;
    for (; k + 4 <= a.vectors; k += 4) adjoint_columns<4>(a, k, bin, mean, rows);
    switch (a.vectors - k) {
        case 3: return adjoint_columns<3>(a, k, bin, mean, rows);
        case 2: return adjoint_columns<2>(a, k, bin, mean, rows);
        case 1: return adjoint_columns<1>(a, k, bin, mean, rows);
        default: return;
    }
}

// e of K vectors of neurons: the rows of the adjoint at one input's spikes, in the order of time.
template <int K>
BITSPIKE_INLINE void sum_rows(const Entry* entry, const Entry* end, const float* rows, std::size_t width, bool counted, float* e) {
    RowSum<K> total;
    if (counted)
        for (; entry < end; ++entry) total.add(rows + entry->place * width, static_cast<float>(entry->count));
    else
        for (; entry < end; ++entry) total.add(rows + entry->place * width);
    total.store(e);
}

static void sum_all_rows(const Entry* entry, const Entry* end, const Gather& g, float* e) {
    const std::size_t width = static_cast<std::size_t>(g.vectors) * kLanes;
    for (int k = 0, taken; k < g.vectors; k += taken) {
        const float* rows = g.rows + k * kLanes;
        const int left = g.vectors - k;
        taken = left >= kMostRows ? kMostRows : left >= 4 ? min(4, kMostRows) : left >= 2 ? 2 : 1;
        switch (taken) {
            case 8: sum_rows<kMostRows>(entry, end, rows, width, g.counted, e + k * kLanes); break;
            case 4: sum_rows<min(4, kMostRows)>(entry, end, rows, width, g.counted, e + k * kLanes); break;
            case 2: sum_rows<2>(entry, end, rows, width, g.counted, e + k * kLanes); break;
            default: sum_rows<1>(entry, end, rows, width, g.counted, e + k * kLanes);
        }
    }
}

static void gather(const ByInput& in, const Gather& g) {
    alignas(64) float e[kTileLanes], part[kTileLanes] = {};
    for (int a = 0; a < in.n_active; ++a) {
        const std::size_t j = static_cast<std::size_t>(in.inputs[a]);
        sum_all_rows(in.entries + in.starts[a], in.entries + in.ends[a], g, e);
        if (g.d_weight) {
            float* to = g.d_weight + j * g.d_stride;
            if (g.lanes) {
                for (int k = 0; k < g.vectors * kLanes; k += kLanes) store(part + k, load(e + k) * load(g.d_scale + k));
                for (int i = 0; i < g.n_lanes; ++i) to[g.lanes[i]] += part[i];
            } else {
                for (int k = 0; k < g.vectors * kLanes; k += kLanes)
                    store(to + k, load(to + k) + load(e + k) * load(g.d_scale + k));
            }
        }
        if (!g.error && !g.tpsp) continue;
        const float* from = g.weight + j * g.weight_stride;
        if (g.lanes)
            for (int i = 0; i < g.n_lanes; ++i) part[i] = from[g.lanes[i]];
        f16 total = {};
        for (int k = 0; k < g.vectors * kLanes; k += kLanes) {
            const f16 w = g.lanes ? load(part + k) : load(from + k, g.n_lanes - k);
            if (g.error) total += load(e + k) * (w * load(g.error_scale + k));
            if (g.tpsp) store(g.tpsp + k, load(g.tpsp + k) + load(e + k) * w);
        }
        if (g.error) g.error[j] = sum(total);
    }
}

}  // namespace
}  // namespace bitspike::lif
