// The run over samples. What is emitted in a step waits, summed per synapse filter, in rings; potentials gather from there in
// the reference's order: bias, what came from the input by steps, what came from circuits by steps, by connections, by filters.
#include "packed/glm/circuits.hpp"
#include "packed/glm/kernels.hpp"
#include "packed/glm/synapses.hpp"
#include "packed/trains/input.hpp"

namespace bitspike::packed::glm {
namespace {

using trains::Entering;

typedef std::uint32_t u8of32 __attribute__((vector_size(32), aligned(4), may_alias));
typedef std::uint64_t w8 __attribute__((vector_size(64)));

// What one group knows of one sample.
struct State {
    float *u, *p;        // (rows + 16)
    float* kept;         // (n_steps, lanes): what the input makes of the potentials, for later runs
    float* own;          // (feedback.slots, feedback.n, lanes)
    Past input, circuits;
    std::uint32_t* ids;  // rows that emit
    int emitted;
    std::uint64_t key;
};

struct Scratch {
    State states[max_groups];
    Entering entering;
    float* rings;
    float *e, *sum, *total;  // (values, vector::kLanes), (classes), (classes)
    Mask* fired;
    std::uint32_t* counted;
    std::size_t n_counted;

    Scratch(const Network& net, const Inputs& in, Arena& arena)
        : entering(in, net.fan_out, net.groups[0].rows, net.n_steps, true, arena) {
        const auto own = static_cast<std::size_t>(net.feedback.slots) * static_cast<std::size_t>(net.feedback.n);
        std::size_t values = 1;
        n_counted = 0;
        for (int g = 1; g < net.n_groups; ++g) {
            const Group& y = net.groups[g];
            const std::size_t lanes = static_cast<std::size_t>(y.lanes), padded = static_cast<std::size_t>(y.rows) + kLanes;
            State& s = states[g];
            s.u = arena.take<float>(lanes + kLanes);
            s.p = arena.take<float>(padded);
            s.kept = arena.take<float>(net.runs > 1 ? static_cast<std::size_t>(net.n_steps) * lanes : 0);
            s.own = arena.take<float>(own * lanes);
            s.input = past(net, y.n_from_input, arena);
            s.circuits = past(net, y.n_from_circuits + (y.own ? 1 : 0), arena);
            s.ids = arena.take<std::uint32_t>(padded);
            values = max(values, static_cast<std::size_t>(y.values));
            n_counted = max(n_counted, padded);
        }
        rings = arena.take<float>(net.rings);
        e = arena.take<float>(values * vector::kLanes);
        fired = arena.take<Mask>(values);
        counted = arena.take<std::uint32_t>(n_counted);
        const std::size_t classes = static_cast<std::size_t>(net.groups[net.n_groups - 1].n) + kLanes;
        sum = arena.take<float>(classes);
        total = arena.take<float>(classes);
    }

    // Room for what arrives in a step by `n` ways.
    static Past past(const Network& net, int n, Arena& arena) {
        const int room = 2 * n * (net.memory + 1);
        return {arena.take<Heard>(static_cast<std::size_t>(room)), 0, 0, room};
    }

    void clear(const Network& net) {
        entering.clear();
        for (std::size_t k = 0; k < n_counted; ++k) counted[k] = static_cast<std::uint32_t>(k);
        for (int g = 1; g < net.n_groups; ++g) {
            std::memset(states[g].u, 0, (static_cast<std::size_t>(net.groups[g].lanes) + kLanes) * sizeof(float));
            std::memset(states[g].p, 0, (static_cast<std::size_t>(net.groups[g].rows) + kLanes) * sizeof(float));
        }
    }
};

// Sum of mix64((t n_in + j + 1) step) over spikes.
struct PlaceSum {
    w8 sum{};

    BITSPIKE_INLINE_MEMBER void add(w8 place, std::int64_t lanes) {
        const w8 lane = {0, 1, 2, 3, 4, 5, 6, 7};
        sum += random::mix((place + 1) * random::kStep) & (w8)(lane < static_cast<std::uint64_t>(lanes));
    }
};

// What the draws of a sample follow from.
static std::uint64_t key_of(const Network& net, const Inputs& in, Entering& entering, std::size_t sample) {
    const std::uint64_t n_in = static_cast<std::uint64_t>(entering.n_in);
    PlaceSum places;
    if (in.limits)
        for (int t = 0; t < net.n_steps; ++t) {
            const int m = entering.look(t);
            for (int e = 0; e < m; e += 8) {
                const auto& ids = *reinterpret_cast<const u8of32*>(entering.ids + e);
                places.add(__builtin_convertvector(ids, w8) + static_cast<std::uint64_t>(t) * n_in, m - e);
            }
        }
    else
        for (std::int64_t e = in.offsets[sample], end = in.offsets[sample + 1]; e < end; e += 8) {
            w8 place{};
            for (int k = 0; k < 8 && e + k < end; ++k)
                place[k] = static_cast<std::uint64_t>(in.steps[e + k]) * n_in + static_cast<std::uint64_t>(in.channels[e + k]);
            places.add(place, end - e);
        }
    std::uint64_t all = 0;
    for (int k = 0; k < 8; ++k) all += places.sum[k];
    return random::mix(random::mix(all) + net.draw_seed);
}

// Where the sums of a step stand in a ring.
static float* place(float* ring, const Filters& filters, int step, int width) {
    return ring + static_cast<std::size_t>(step & (filters.slots - 1)) * static_cast<std::size_t>(width);
}

// Potentials of group g in step t.
static void gather(const Network& net, State& s, const Group& y, int t, int run) {
    float* u = net.runs > 1 ? s.kept + static_cast<std::size_t>(t) * static_cast<std::size_t>(y.lanes) : s.u;
    if (run == 0) {
        s.input.forget(t - net.memory);
        filter(y.bias, s.input, t, y.lanes, u);
    }
    s.circuits.forget(t - net.memory);
    filter(u, s.circuits, t, y.lanes, s.u);
}

// What circuits hear of themselves.
static void hear_own(const Network& net, const Group& y, State& s, int t) {
    const bool chances = net.decision == Decision::mean_field;
    if (!chances && s.emitted == 0) return;
    const int width = net.feedback.n * y.lanes;
    float* z = place(s.own, net.feedback, t, width);
    s.circuits.add({z, &net.feedback, t});
    if (!chances) std::memset(z, 0, static_cast<std::size_t>(width) * sizeof(float));
    for (int k = 0; k < net.feedback.n; ++k, z += y.lanes) {
        const float* own = y.own + static_cast<std::ptrdiff_t>(k) * y.lanes;
        if (chances)
            for (int lane = 0; lane < y.rows; lane += kLanes) store(z + lane, load(s.p + lane) * load(own + lane));
        else
            for (int e = 0; e < s.emitted; ++e) z[s.ids[e]] = own[s.ids[e]];
    }
}

// What step t brings to the synapses from the input and from circuits.
static void hear(const Network& net, Scratch& at, int t, int entered) {
    for (int c = 0; c < net.n_connections; ++c) {
        const Connection& y = net.connections[c];
        const bool input = y.source == 0, chances = net.decision == Decision::mean_field && !input;
        const State& from = at.states[y.source];
        const int m = input ? entered : from.emitted;
        if (!chances && m == 0) continue;
        float* z = place(at.rings + y.ring, net.filters, t, y.width);
        State& to = at.states[y.target];
        (input ? to.input : to.circuits).add({z, &net.filters, t});
        if (chances) hear_chances(y, from.p, net.groups[y.source].rows, z);
        else hear_spikes(y, input ? at.entering.ids : from.ids, m, z);
    }
    for (int g = 1; net.feedback.n > 0 && g < net.n_groups; ++g) hear_own(net, net.groups[g], at.states[g], t);
}

// What outputs add to the scores.
static void count(const Network& net, Scratch& at) {
    const Group& y = net.groups[net.n_groups - 1];
    const State& s = at.states[net.n_groups - 1];
    if (net.decision == Decision::count) {
        for (int e = 0; e < s.emitted; ++e) at.sum[s.ids[e] % static_cast<std::uint32_t>(y.n)] += 1;
        return;
    }
    for (int c = 0; c < y.values; ++c)
        for (int i = 0; i < y.n; i += kLanes)
            store(at.sum + i, load(at.sum + i) + load(s.p + static_cast<std::ptrdiff_t>(c) * y.n + i));
}

// Runs one sample whose input has been laid down.
static void run_sample(const Network& net, const Inputs& in, Scratch& at, const Outputs& out, std::size_t sample) {
    const int last = net.n_groups - 1;
    const auto classes = static_cast<std::size_t>(net.groups[last].n), n_steps = static_cast<std::size_t>(net.n_steps);
    std::int64_t n_spikes = at.entering.n_spikes, n_synops = at.entering.n_synops;
    const bool chances = net.decision == Decision::mean_field;
    const std::uint64_t key = key_of(net, in, at.entering, sample);
    float* over_time = out.over_time ? out.over_time + sample * n_steps * classes : nullptr;
    std::memset(at.total, 0, classes * sizeof(float));
    for (int run = 0; run < net.runs; ++run) {
        std::memset(at.sum, 0, (classes + kLanes) * sizeof(float));
        const std::uint64_t stream = key + static_cast<std::uint64_t>(run) * static_cast<std::uint64_t>(net.n_groups);
        for (int g = 1; g <= last; ++g) {
            State& s = at.states[g];
            s.key = random::mix(stream + static_cast<std::uint64_t>(g));
            s.circuits.begin = s.circuits.end = 0;
            if (run == 0) s.input.begin = s.input.end = 0;
        }
        for (int t = 0; t < net.n_steps; ++t) {
            const int entered = run == 0 ? at.entering.take(t) : 0;
            for (int g = 1; g <= last; ++g) {
                const Group& y = net.groups[g];
                State& s = at.states[g];
                gather(net, s, y, t, run);
                const bool draws = !chances && (g < last || net.draws_output);
                const std::uint64_t first = static_cast<std::uint64_t>(t) * static_cast<std::uint64_t>(y.n + y.n % 2);
                const Draw draw{s.key, first, at.counted, at.fired};
                s.emitted = emit(y, s.u, draws ? &draw : nullptr, at.e, chances || g == last ? s.p : nullptr, s.ids);
                n_spikes += s.emitted;
                n_synops += s.emitted * y.fan_out;
            }
            count(net, at);
            if (t + 1 < net.n_steps) hear(net, at, t, entered);
            if (!over_time) continue;
            for (std::size_t c = 0; c < classes; ++c) {
                float& score = over_time[static_cast<std::size_t>(t) * classes + c];
                score = run == 0 ? at.sum[c] : score + at.sum[c];
                if (run + 1 == net.runs) score /= static_cast<float>(net.runs);
            }
        }
        for (std::size_t c = 0; c < classes; ++c) at.total[c] += at.sum[c];
    }
    for (std::size_t c = 0; out.scores && c < classes; ++c)
        out.scores[sample * classes + c] = at.total[c] / static_cast<float>(net.runs);
    if (out.n_spikes) out.n_spikes[sample] = n_spikes;
    if (out.n_synops) out.n_synops[sample] = n_synops;
}

static std::int64_t run(const Network& net, const Inputs& in, const Outputs& out, std::size_t begin, std::size_t end,
                        char* memory) {
    Arena arena{memory};
    Scratch scratch(net, in, arena);
    scratch.clear(net);
    for (std::size_t k = begin; k < end; ++k) {
        if (!scratch.entering.read(k)) return static_cast<std::int64_t>(k);
        run_sample(net, in, scratch, out, k);
    }
    return -1;
}

const Kernels table = {bytes_of<Scratch, Network, Inputs>, run};

}  // namespace

const Kernels& BITSPIKE_VARIANT(kernels)() { return table; }

}  // namespace bitspike::packed::glm
