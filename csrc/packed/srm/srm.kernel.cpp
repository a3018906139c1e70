// The run over samples: what a layer spikes in a step enters the next layer in the same step.
#include "common/elementary.hpp"
#include "packed/srm/kernels.hpp"
#include "packed/trains/input.hpp"
#include "packed/trains/list.hpp"
#include "packed/trains/synapses.hpp"

namespace bitspike::packed::srm {
namespace {

using namespace trains;

BITSPIKE_INLINE f16 exp(f16 x) {
    const f16 limit = splat(87.0f);
    x = choose(above(x, limit), limit, x);
    x = choose(above(-limit, x), -limit, x);
    return elementary::exp(x);
}

// What one layer knows of one sample.
struct State {
    float *current, *a, *b, *r;
    Mask* spiked;          // (blocks), before pooling
    std::uint64_t* seen;   // of the neurons after pooling; all 0 between steps
    std::uint32_t* fired;  // after pooling
    int n_fired;
};

struct Scratch {
    State states[max_layers];
    Entering entering;
    float *read, *p, *total;  // of the readouts

    Scratch(const Network& net, const Inputs& in, Arena& arena)
        : entering(in, net.layers[0].synapses.fan_out, net.n_in, net.n_steps, true, arena) {
        for (int l = 0; l < net.n_layers; ++l) {
            const std::size_t lanes = static_cast<std::size_t>(net.layers[l].synapses.lanes);
            State& s = states[l];
            float** const floats[] = {&s.current, &s.a, &s.b, &s.r};
            for (float** at : floats) *at = arena.take<float>(lanes);
            s.spiked = arena.take<Mask>(lanes / kLanes);
            s.seen = arena.take<std::uint64_t>(lanes / 64 + 1);
            s.fired = arena.take<std::uint32_t>(lanes + kLanes);  // `list` writes whole vectors
        }
        float** const of_readouts[] = {&read, &p, &total};
        for (float** at : of_readouts) *at = arena.take<float>(static_cast<std::size_t>(net.readout.lanes));
    }

    void clear(const Network& net) {
        entering.clear();
        for (int l = 0; l < net.n_layers; ++l) {
            const std::size_t lanes = static_cast<std::size_t>(net.layers[l].synapses.lanes);
            std::memset(states[l].current, 0, lanes * sizeof(float));
            std::memset(states[l].seen, 0, (lanes / 64 + 1) * sizeof(std::uint64_t));
        }
        std::memset(read, 0, static_cast<std::size_t>(net.readout.lanes) * sizeof(float));
    }

    void reset(const Network& net) {
        for (int l = 0; l < net.n_layers; ++l) {
            const std::size_t lanes = static_cast<std::size_t>(net.layers[l].synapses.lanes);
            float* const floats[] = {states[l].a, states[l].b, states[l].r};
            for (float* at : floats) std::memset(at, 0, lanes * sizeof(float));
            std::memset(states[l].spiked, 0, lanes / kLanes * sizeof(Mask));
        }
        std::memset(total, 0, static_cast<std::size_t>(net.readout.lanes) * sizeof(float));
    }
};

// One step of the neurons: `current` is used up (set to 0). Fills `fired` with those that spike after pooling.
static void step_neurons(const Network& net, const Layer& y, State& s) {
    const f16 alpha = splat(net.alpha), beta = splat(net.beta), gamma = splat(net.gamma), scale = splat(y.scale), one = splat(1.0f);
    int n = 0;
    for (int block = 0; block < y.synapses.lanes / kLanes; ++block) {
        const int lane = kLanes * block;
        const f16 b = load(s.b + lane), a = alpha * load(s.a + lane) + b;
        const f16 r = gamma * load(s.r + lane) + choose(s.spiked[block], one, f16{});
        const f16 u = scale * (a + load(y.bias + lane)) - r;
        store(s.a + lane, a);
        store(s.b + lane, beta * b + load(s.current + lane));
        store(s.r + lane, r);
        store(s.current + lane, f16{});
        const Mask fired = static_cast<Mask>(~above(f16{}, u));  // u >= 0
        s.spiked[block] = fired;
        if (!y.pools) {
            n += list(fired, y.synapses.ids + lane, s.fired + n);
            continue;
        }
        for (unsigned rest = fired; rest; rest &= rest - 1) {  // the largest potential is >= 0 where any is
            const std::int32_t pool = y.pools[lane + __builtin_ctz(rest)];
            if (pool < 0) continue;
            const std::uint64_t bit = 1ull << (pool & 63);
            s.fired[n] = static_cast<std::uint32_t>(pool);
            n += !(s.seen[pool >> 6] & bit);
            s.seen[pool >> 6] |= bit;
        }
    }
    if (y.pools)
        for (int e = 0; e < n; ++e) s.seen[s.fired[e] >> 6] = 0;
    s.n_fired = n;
}

// p = softmax of r = (B S + b) c_ro, or the sigmoid of a single one; added to the total.
static void read_out(const Network& net, const State& top, Scratch& at) {
    const int lanes = net.readout.lanes, k = net.n_readouts;
    if (top.n_fired > 0) add_spikes(net.readout, top.fired, top.n_fired, at.read);
    for (int lane = 0; lane < lanes; lane += kLanes) {
        store(at.p + lane, (load(at.read + lane) + load(net.offset + lane)) * net.readout_scale);
        store(at.read + lane, f16{});
    }
    if (k == 1) {
        const f16 one = splat(1.0f), p = one / (one + exp(-load(at.p)));
        at.total[0] += p[0];
        return;
    }
    float most = at.p[0];
    for (int c = 1; c < k; ++c) most = at.p[c] > most ? at.p[c] : most;
    for (int lane = 0; lane < lanes; lane += kLanes) store(at.p + lane, exp(load(at.p + lane) - most));
    float sum = at.p[0];
    for (int c = 1; c < k; ++c) sum += at.p[c];
    for (int lane = 0; lane < lanes; lane += kLanes)
        store(at.total + lane, load(at.total + lane) + load(at.p + lane) / sum);
}

// Runs one sample whose input has been laid down.
static void run_sample(const Network& net, Scratch& at, const Outputs& out, std::size_t sample) {
    const std::size_t k = static_cast<std::size_t>(net.n_readouts), n_times = static_cast<std::size_t>(net.n_steps - net.burn_in);
    std::int64_t n_spikes = at.entering.n_spikes, n_synops = at.entering.n_synops;
    for (int t = 0; t < net.n_steps; ++t) {
        const std::uint32_t* ids = at.entering.ids;
        int m = at.entering.take(t);
        for (int l = 0; l < net.n_layers; ++l) {
            const Layer& y = net.layers[l];
            State& s = at.states[l];
            if (m > 0) add_spikes(y.synapses, ids, m, s.current);
            step_neurons(net, y, s);
            ids = s.fired;
            m = s.n_fired;
            n_spikes += m;
            const Synapses& above = l + 1 < net.n_layers ? net.layers[l + 1].synapses : net.readout;
            if (above.fan_out_each >= 0) n_synops += static_cast<std::int64_t>(m) * above.fan_out_each;
            else for (int e = 0; e < m; ++e) n_synops += above.fan_out[ids[e]];
        }
        if (t < net.burn_in) continue;
        read_out(net, at.states[net.n_layers - 1], at);
        if (!out.over_time) continue;
        const std::size_t time = static_cast<std::size_t>(t - net.burn_in);
        for (std::size_t c = 0; c < k; ++c)
            out.over_time[(sample * n_times + time) * k + c] = at.total[c] / static_cast<float>(time + 1);
    }
    for (std::size_t c = 0; out.probabilities && c < k; ++c)
        out.probabilities[sample * k + c] = at.total[c] / static_cast<float>(n_times);
    if (out.n_spikes) out.n_spikes[sample] = n_spikes;
    if (out.n_synops) out.n_synops[sample] = n_synops;
}

static std::int64_t run(const Network& net, const Inputs& in, const Outputs& out, std::size_t begin, std::size_t end,
                        char* memory) {
    Arena arena{memory};
    Scratch scratch(net, in, arena);
    scratch.clear(net);
    for (std::size_t k = begin; k < end; ++k) {
        scratch.reset(net);
        if (!scratch.entering.read(k)) return static_cast<std::int64_t>(k);
        run_sample(net, scratch, out, k);
    }
    return -1;
}

const Kernels table = {bytes_of<Scratch, Network, Inputs>, run};

}  // namespace

const Kernels& BITSPIKE_VARIANT(kernels)() { return table; }

}  // namespace bitspike::packed::srm
