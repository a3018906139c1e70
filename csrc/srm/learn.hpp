// The outer product of traces and errors, event by event, and the move of the latents.
#pragma once
#include "srm/forward.hpp"

namespace bitspike::srm {
namespace {

template <bool adam>
BITSPIKE_INLINE void move_of(const Rule c, const Learned t, std::size_t at, const float* g, float scale, std::size_t n) {
    for (std::size_t j = 0; j < n; j += kLanes) {
        const int lanes = static_cast<int>(min<std::size_t>(kLanes, n - j));
        float* latent = t.latent + at + j;
        const Floats w = load(latent, lanes);
        Floats slope = load(g + j) * scale, change;
        if (t.factor) slope *= load(t.factor + at + j, lanes);
        if constexpr (adam) {
            float *mean = t.mean + at + j, *square = t.square + at + j;
            Floats m = load(mean, lanes), v = load(square, lanes);
            m = m + (slope - m) * c.keep_mean;
            v = v * c.keep_square + (slope * slope) * c.add_square;
            store(mean, m, lanes);
            store(square, v, lanes);
            change = (m * c.rate) / (root(v) * c.root + c.eps);
        } else {
            change = slope * c.lr;
        }
        if (c.decays) change += (w - (t.prior ? load(t.prior + at + j, lanes) : splat(t.prior_value))) * c.decay;
        Floats moved = w - change;
        if (c.clips) moved = at_most(at_least(moved, -c.clip), c.clip);
        store(latent, moved, lanes);
    }
}

void move(const Rule& c, const Learned& t, const float* g, float scale, std::size_t n) {
    return c.adam ? move_of<true>(c, t, 0, g, scale, n) : move_of<false>(c, t, 0, g, scale, n);
}

bool stays(const Rule& c) { return !c.adam && !c.decays && !c.clips; }  // where the gradient is 0

// What is moved comes from far; it is asked for while its gradient is computed: part `k` of `parts` of inputs first ..
BITSPIKE_INLINE void fetch(const Learn& l, std::size_t first, int lanes, std::size_t k, std::size_t parts) {
    const std::size_t all = static_cast<std::size_t>(lanes) * l.n_out, some = all / parts / 16 * 16 + 16;
    for (std::size_t at = first * l.n_out + k * some; at < first * l.n_out + min(all, (k + 1) * some); at += 16) {
        prefetch(l.tensor.latent + at);
        if (!l.rule.adam) continue;
        prefetch(l.tensor.mean + at);
        prefetch(l.tensor.square + at);
    }
}

BITSPIKE_INLINE void move_row(const Learn& l, std::size_t input, const float* g) {
    if (l.rule.adam) move_of<true>(l.rule, l.tensor, input * l.n_out, g, l.scale, l.n_out);
    else move_of<false>(l.rule, l.tensor, input * l.n_out, g, l.scale, l.n_out);
}

void learn_events(const Learn& l, std::size_t panel, float* g) {
    const std::size_t first = panel * kLanes, padded = static_cast<std::size_t>(l.n_out + kLanes - 1) / kLanes * kLanes;
    const int lanes = static_cast<int>(min<std::size_t>(kLanes, l.n_in - first));
    bool any = false;
    for (int k = 0; k < lanes; ++k) any |= !l.seen || l.seen[first + k];
    if (!any && stays(l.rule)) return;
    float* across = g + padded * kLanes;  // (kLanes, padded): the gradient, one input after the other
    if (any) {
        fill(g, g + padded * kLanes, 0.0f);
        for (int s = 0; s < l.n_rows; ++s) {
            fetch(l, first, lanes, s, l.n_rows);
            const Floats p = load(l.p + l.rows[s] + l.inputs[first], lanes);
            for (const Event *event = l.events + l.begins[s], *end = l.events + l.begins[s + 1]; event < end; ++event) {
                float* to = g + static_cast<std::size_t>(event->neuron) * kLanes;
                store(to, load(to) + p * event->error);
            }
        }
        for (std::size_t j = 0; j < padded; j += kLanes) {
            Floats v[kLanes];
            for (int k = 0; k < kLanes; ++k) v[k] = load(g + (j + k) * kLanes);
            transpose(v);
            for (int k = 0; k < kLanes; ++k) store(across + k * padded + j, v[k]);
        }
    } else {
        fill(across, across + padded * kLanes, 0.0f);
    }
    for (int k = 0; k < lanes; ++k) move_row(l, first + k, across + k * padded);
}

void learn_dense(const Learn& l, std::size_t panel, float* g) {
    const std::size_t first = panel * kTile, padded = static_cast<std::size_t>(l.n_out + kTile - 1) / kTile * kTile;
    const int lanes = static_cast<int>(min<std::size_t>(kTile, l.n_in - first));
    const float* from[kTile];
    int place[kTile], n = 0;  // inputs with a trace, in order; the others share a row of zeros behind them
    for (int k = 0; k < lanes; ++k) {
        place[k] = !l.seen || l.seen[first + k] ? n++ : kTile;
        if (place[k] < kTile) from[place[k]] = l.p + l.inputs[first + k];
    }
    if (!n && stays(l.rule)) return;
    fill(g, g + (kTile + 1) * padded, 0.0f);
    const std::size_t tiles = padded / kTile;
    for (std::size_t tile = 0; tile < tiles; ++tile) {
        fetch(l, first, lanes, tile, tiles);
        const float* errors = l.errors + tile * l.n_rows * kTile;
        for (int part = 0; part < kTile; part += kPart)
            for (int k = 0; k < n; k += kSamples)
                products<false, kSamples>(n - k, from + k, l.rows, l.n_rows, errors + part,
                                          g + k * padded + tile * kTile + part, padded);
    }
    for (int k = 0; k < lanes; ++k) move_row(l, first + k, g + place[k] * padded);
}

}  // namespace
}  // namespace bitspike::srm
