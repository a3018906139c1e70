// The run over samples: all layers in lockstep, the last one first, for a spike acts on the next layer one step later.
#include "packed/lif/kernels.hpp"
#include "packed/lif/neurons.hpp"
#include "packed/trains/input.hpp"
#include "packed/trains/synapses.hpp"

namespace bitspike::packed::lif {
namespace {

using namespace trains;

struct Scratch {
    State states[max_layers];
    Entering entering;
    std::uint32_t* ids;       // constant current: the neurons of the first layer that can fire
    float* constant;          // the current itself, where all of them are followed
    double* exact;
    std::int32_t* counts;  // of the outputs
    int n_followed;

    Scratch(const Network& net, const Inputs& in, Arena& arena)
        : entering(in, net.layers[0].fan_out, net.layers[0].n_in, net.n_steps, !(in.images && !in.limits), arena) {
        for (int l = 0; l < net.n_layers; ++l) {
            const Layer& y = net.layers[l];
            const std::size_t lanes = static_cast<std::size_t>(y.lanes), blocks = lanes / kLanes;
            State& s = states[l];
            float** const floats[] = {&s.current, &s.v, &s.x};
            for (float** at : floats) *at = arena.take<float>(lanes);
            s.held = arena.take<Mask>(blocks);
            s.ring = arena.take<Mask>(blocks * static_cast<std::size_t>(y.lif.refractory + 1));
            s.awake = arena.take<std::uint8_t>(blocks);
            s.fired = arena.take<std::uint32_t>(lanes);
        }
        const std::size_t first = static_cast<std::size_t>(net.layers[0].lanes);
        const bool is_constant = in.images && !in.limits;
        ids = arena.take<std::uint32_t>(is_constant ? first : 0);
        constant = arena.take<float>(is_constant ? first : 0);
        exact = arena.take<double>(is_constant ? first : 0);
        counts = arena.take<std::int32_t>(static_cast<std::size_t>(net.n_classes));
        n_followed = 0;
    }
};

struct Sample {
    const Network& net;
    const Inputs& in;
    Scratch& at;
    bool is_constant;
    std::int64_t n_spikes = 0, n_synops = 0;

    void reset() {
        n_spikes = n_synops = 0;
        for (int l = 0; l < net.n_layers; ++l) {
            const Layer& y = net.layers[l];
            const std::size_t lanes = static_cast<std::size_t>(y.lanes), blocks = lanes / kLanes;
            State& s = at.states[l];
            std::memset(s.current, 0, lanes * sizeof(float));
            std::memset(s.held, 0, blocks * sizeof(Mask));
            std::memset(s.ring, 0, blocks * static_cast<std::size_t>(y.lif.refractory + 1) * sizeof(Mask));
            std::memset(s.awake, 0, blocks);
            if (l == net.n_layers - 1) std::memset(s.v, 0, lanes * sizeof(float));
            s.n_fired = 0;
            s.any_awake = false;
        }
        std::memset(at.counts, 0, static_cast<std::size_t>(net.n_classes) * sizeof(std::int32_t));
    }

    // I = float(sum of w k * scale), the sum exact. Of neurons below the last layer only those that can fire are followed.
    void constant_current(const std::uint8_t* image) {
        const Layer& y = net.layers[0];
        State& s = at.states[0];
        std::uint32_t *const lit = at.entering.ids, *const some = lit + net.n_in;
        int n_lit = 0;
        for (int i = 0; i < in.n_pixels; ++i) {
            lit[n_lit] = static_cast<std::uint32_t>(i);
            n_lit += image[i] > 0;
        }
        for (int e = 0; e < n_lit; ++e) n_synops += y.fan_out[lit[e]];
        double* const exact = at.exact;
        std::memset(exact, 0, static_cast<std::size_t>(y.lanes) * sizeof(double));
        if (y.kind == Kind::rows) {
            for (int e = 0; e < n_lit; ++e) {
                const double level = image[lit[e]];
                each_run(y, lit[e], [exact, level](const float* from, std::size_t lane, int n) {
                    double* to = exact + lane;
                    for (int k = 0; k < n; ++k) to[k] += level * static_cast<double>(from[k]);
                });
            }
        } else {
            for (int bit = 0; bit < 8; ++bit) {  // grey levels bit by bit: spikes of weight 2^bit
                int n = 0;
                for (int e = 0; e < n_lit; ++e) {
                    some[n] = lit[e];
                    n += image[lit[e]] >> bit & 1;
                }
                if (n == 0) continue;
                add_spikes(y, some, n, s.current);
                const double worth = 1 << bit;
                for (int k = 0; k < y.lanes; ++k) exact[k] += worth * static_cast<double>(s.current[k]);
                std::memset(s.current, 0, static_cast<std::size_t>(y.lanes) * sizeof(float));
            }
        }
        for (int k = 0; k < y.lanes; ++k) at.constant[k] = static_cast<float>(exact[k] * in.scale);
        if (net.n_layers == 1) return;
        int n = 0;
        for (int k = 0; k < y.lanes; ++k) {
            s.current[n] = at.constant[k];
            at.ids[n] = y.ids[k];
            n += at.constant[k] >= y.least;
        }
        at.n_followed = n;
        for (; n % kLanes; ++n) s.current[n] = 0;
    }

    void step(int t) {
        const int top = net.n_layers - 1;
        for (int l = top; l >= 0; --l) {
            const Layer& y = net.layers[l];
            State& s = at.states[l];
            if (l == 0 && is_constant && top > 0) {
                step_neurons(y, s, t, (at.n_followed + kLanes - 1) / kLanes, at.ids, true);
            } else {
                int m;
                if (l == 0 && is_constant) {
                    std::memcpy(s.current, at.constant, static_cast<std::size_t>(y.lanes) * sizeof(float));
                    m = 1;
                } else {
                    m = l == 0 ? at.entering.take(t - 1) : at.states[l - 1].n_fired;
                    if (m > 0) add_spikes(y, l == 0 ? at.entering.ids : at.states[l - 1].fired, m, s.current);
                }
                if (m == 0 && !s.any_awake) continue;
                if (y.lif.lateral > 0 && s.n_fired > 0) inhibit(y, s, t);
                step_neurons(y, s, t, y.lanes / kLanes, y.ids, false);
            }
            if (l == top) {
                for (int k = 0; k < s.n_fired; ++k) ++at.counts[s.fired[k]];
            } else {
                n_spikes += s.n_fired;
                const std::int32_t* fan_out = net.layers[l + 1].fan_out;
                for (int k = 0; k < s.n_fired; ++k) n_synops += fan_out[s.fired[k]];
            }
        }
    }

    void finish(const Outputs& out, std::size_t sample) {
        if (!is_constant) at.entering.take(net.n_steps - 1);  // too late to act
        const Layer& y = net.layers[net.n_layers - 1];
        const float* v = at.states[net.n_layers - 1].v;
        const int n = net.n_classes;
        const std::size_t row = sample * static_cast<std::size_t>(n);
        std::int32_t most = 0;
        for (int j = 0; j < n; ++j) most = at.counts[j] > most ? at.counts[j] : most;
        int label = 0;
        float best = 0;
        for (int j = 0; j < n; ++j) {
            const float share = v[j] / (2 * (y.threshold + (v[j] < 0 ? -v[j] : v[j])));
            const float score = static_cast<float>(at.counts[j]) + share;
            if (j == 0 || score > best) label = j, best = score;
            if (out.potentials) out.potentials[row + static_cast<std::size_t>(j)] = score;
            if (out.tied) out.tied[row + static_cast<std::size_t>(j)] = most > 0 && at.counts[j] == most;
        }
        if (out.labels) out.labels[sample] = label;
        if (out.silent) out.silent[sample] = most == 0;
        if (out.decision_time) out.decision_time[sample] = most == 0 ? net.n_steps : net.n_steps - 1;
        if (out.n_spikes) out.n_spikes[sample] = n_spikes + at.entering.n_spikes;
        if (out.n_synops) out.n_synops[sample] = n_synops + at.entering.n_synops;
    }
};

static std::int64_t run(const Network& net, const Inputs& in, const Outputs& out, std::size_t begin, std::size_t end,
                        char* memory) {
    Arena arena{memory};
    Scratch scratch(net, in, arena);
    scratch.entering.clear();
    Sample sample{net, in, scratch, in.images && !in.limits};
    const std::size_t width = static_cast<std::size_t>(in.n_pixels);
    for (std::size_t k = begin; k < end; ++k) {
        sample.reset();
        if (sample.is_constant) sample.constant_current(in.images + k * width);
        else if (!scratch.entering.read(k)) return static_cast<std::int64_t>(k);
        for (int t = 1; t < net.n_steps; ++t) sample.step(t);
        sample.finish(out, k);
    }
    return -1;
}

const Kernels table = {bytes_of<Scratch, Network, Inputs>, run};

}  // namespace

const Kernels& BITSPIKE_VARIANT(kernels)() { return table; }

}  // namespace bitspike::packed::lif
