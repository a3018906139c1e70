// The outer product of traces and errors, event by event, and the move of the latents.

template <bool adam>
SRM_INLINE void move_of(const Rule c, const Learned t, std::size_t at, const float* g, float scale, std::size_t n) {
    for (std::size_t j = 0; j < n; j += kLanes) {
        const int lanes = static_cast<int>(std::min<std::size_t>(kLanes, n - j));
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

void learn(const Learn& l, std::size_t panel, float* g) {
    const std::size_t first = panel * kLanes, padded = static_cast<std::size_t>(l.n_out + kLanes - 1) / kLanes * kLanes;
    const int lanes = static_cast<int>(std::min<std::size_t>(kLanes, l.n_in - first));
    bool any = l.seen == nullptr;
    for (int k = 0; !any && k < lanes; ++k) any = l.seen[first + k] != 0;
    if (!any && !l.rule.adam && !l.rule.decays && !l.rule.clips) return;
    float* across = g + padded * kLanes;  // (kLanes, padded): the gradient, one input after the other
    if (any) {
        std::fill(g, g + padded * kLanes, 0.0f);
        // What is moved below comes from far; it is asked for while the events are added.
        const std::size_t all = static_cast<std::size_t>(lanes) * l.n_out, some = all / l.n_rows / 16 * 16 + 16;
        for (std::size_t s = 0; s < l.n_rows; ++s) {
            for (std::size_t at = s * some; at < std::min(all, (s + 1) * some); at += 16) {
                prefetch(l.tensor.latent + first * l.n_out + at);
                if (!l.rule.adam) continue;
                prefetch(l.tensor.mean + first * l.n_out + at);
                prefetch(l.tensor.square + first * l.n_out + at);
            }
            const EventRow row = l.rows[s];
            const Floats p = load(row.p + first, lanes);
            for (const Event* event = row.events; event < row.events + row.n_events; ++event) {
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
        std::fill(across, across + padded * kLanes, 0.0f);
    }
    for (int k = 0; k < lanes; ++k) {
        const std::size_t at = (first + k) * l.n_out;
        if (l.rule.adam) move_of<true>(l.rule, l.tensor, at, across + k * padded, l.scale, l.n_out);
        else move_of<false>(l.rule, l.tensor, at, across + k * padded, l.scale, l.n_out);
    }
}
