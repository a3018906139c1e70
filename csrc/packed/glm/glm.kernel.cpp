// The run over samples. What is emitted in a step waits, summed per filter, in rings; potentials gather from there in the
// reference's order: bias, the input by steps, the circuits by steps, each by connections and filters.
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
    std::uint8_t* heard; // (feedback.slots): did any circuit emit?
    std::uint32_t* ids;  // rows that emit
    int emitted;
    std::uint64_t key;
};

struct Scratch {
    State states[max_groups];
    Entering entering;
    float* rings;
    std::uint8_t* heard;  // (connections, filters.slots): did anything enter?
    Term* terms;
    float *e, *sum, *total;  // (values, vector::kLanes), (classes), (classes)
    Mask* fired;
    std::uint32_t* counted;

    Scratch(const Network& net, const Inputs& in, Arena& arena)
        : entering(in, net.fan_out, net.groups[0].rows, net.n_steps, true, arena) {
        const auto slots = static_cast<std::size_t>(net.filters.slots), own_slots = static_cast<std::size_t>(net.feedback.slots);
        const auto lags = static_cast<std::size_t>(net.filters.length) * static_cast<std::size_t>(net.filters.n);
        const auto own_lags = static_cast<std::size_t>(net.feedback.length) * static_cast<std::size_t>(net.feedback.n);
        std::size_t values = 1, rows = 1, heard_by = 0;
        for (int g = 1; g < net.n_groups; ++g) {
            const Group& y = net.groups[g];
            const std::size_t lanes = static_cast<std::size_t>(y.lanes), padded = static_cast<std::size_t>(y.rows) + kLanes;
            State& s = states[g];
            s.u = arena.take<float>(lanes + kLanes);
            s.p = arena.take<float>(padded);
            s.kept = arena.take<float>(net.runs > 1 ? static_cast<std::size_t>(net.n_steps) * lanes : 0);
            s.own = arena.take<float>(own_slots * static_cast<std::size_t>(net.feedback.n) * lanes);
            s.heard = arena.take<std::uint8_t>(own_slots);
            s.ids = arena.take<std::uint32_t>(padded);
            values = max(values, static_cast<std::size_t>(y.values));
            rows = max(rows, padded);
            heard_by = max(heard_by, static_cast<std::size_t>(y.n_from_input + y.n_from_circuits));
        }
        rings = arena.take<float>(net.rings);
        heard = arena.take<std::uint8_t>(static_cast<std::size_t>(net.n_connections) * slots);
        terms = arena.take<Term>(heard_by * lags + own_lags);
        e = arena.take<float>(values * vector::kLanes);
        fired = arena.take<Mask>(values);
        counted = arena.take<std::uint32_t>(rows);
        const std::size_t classes = static_cast<std::size_t>(net.groups[net.n_groups - 1].n) + kLanes;
        sum = arena.take<float>(classes);
        total = arena.take<float>(classes);
        n_counted = rows;
    }

    void clear(const Network& net) {
        entering.clear();
        for (std::size_t k = 0; k < n_counted; ++k) counted[k] = static_cast<std::uint32_t>(k);
        for (int g = 1; g < net.n_groups; ++g) {
            std::memset(states[g].u, 0, (static_cast<std::size_t>(net.groups[g].lanes) + kLanes) * sizeof(float));
            std::memset(states[g].p, 0, (static_cast<std::size_t>(net.groups[g].rows) + kLanes) * sizeof(float));
        }
    }

    std::size_t n_counted;
};

// mix64(mix64(sum of mix64((t n_in + j + 1) step) over the spikes) + seed).
static std::uint64_t key_of(const Network& net, Entering& entering) {
    w8 sum{};
    const w8 lane = {0, 1, 2, 3, 4, 5, 6, 7};
    for (int t = 0; t < net.n_steps; ++t) {
        const int m = entering.look(t);
        const std::uint64_t before = static_cast<std::uint64_t>(t) * static_cast<std::uint64_t>(entering.n_in) + 1;
        for (int e = 0; e < m; e += 8) {
            const w8 place = __builtin_convertvector(*reinterpret_cast<const u8of32*>(entering.ids + e), w8) + before;
            sum += random::mix(place * random::kStep) & (w8)(lane < static_cast<std::uint64_t>(m - e));
        }
    }
    std::uint64_t all = 0;
    for (int k = 0; k < 8; ++k) all += sum[k];
    return random::mix(random::mix(all) + net.draw_seed);
}

BITSPIKE_INLINE std::size_t slot(const Filters& filters, int step) {
    return static_cast<std::size_t>(step) & static_cast<std::size_t>(filters.slots - 1);
}

BITSPIKE_INLINE float* ring(const Network& net, const Scratch& at, int connection, int step) {
    const Connection& y = net.connections[connection];
    return at.rings + y.ring + slot(net.filters, step) * static_cast<std::size_t>(y.width);
}

BITSPIKE_INLINE std::uint8_t& heard(const Network& net, const Scratch& at, int connection, int step) {
    return at.heard[static_cast<std::size_t>(connection) * static_cast<std::size_t>(net.filters.slots) + slot(net.filters, step)];
}

BITSPIKE_INLINE int add_terms(const Filters& filters, int d, const float* z, int lanes, Term* terms) {
    const float* a = filters.a + static_cast<std::ptrdiff_t>(d) * filters.n;
    int n = 0;
    for (int k = 0; k < filters.n; ++k)
        if (a[k] != 0) terms[n++] = {z + static_cast<std::ptrdiff_t>(k) * lanes, a[k]};
    return n;
}

// What the connections numbered `from` add to the potentials of step t by what entered them in step t - 1 - d.
BITSPIKE_INLINE int terms_of(const Network& net, const Scratch& at, const int* from, int n_from, int t, int d, int lanes, Term* terms) {
    int n = 0;
    for (int c = 0; c < n_from; ++c)
        if (heard(net, at, from[c], t - 1 - d))
            n += add_terms(net.filters, d, ring(net, at, from[c], t - 1 - d), lanes, terms + n);
    return n;
}

static float* own_ring(const Network& net, const Group& y, const State& s, int step) {
    return s.own + slot(net.feedback, step) * static_cast<std::size_t>(net.feedback.n) * static_cast<std::size_t>(y.lanes);
}

// Potentials of group g in step t.
static void gather(const Network& net, Scratch& at, int g, int t, int run) {
    const Group& y = net.groups[g];
    const State& s = at.states[g];
    const float* base = y.bias;
    int n = 0;
    if (run == 0)
        for (int d = min(net.filters.length, t) - 1; d >= 0; --d)
            n += terms_of(net, at, y.from_input, y.n_from_input, t, d, y.lanes, at.terms + n);
    if (net.runs > 1) {
        float* kept = s.kept + static_cast<std::size_t>(t) * static_cast<std::size_t>(y.lanes);
        if (run == 0) filter(base, at.terms, n, y.lanes, kept);
        base = kept;
        n = 0;
    }
    for (int d = min(max(net.filters.length, y.own ? net.feedback.length : 0), t) - 1; d >= 0; --d) {
        if (d < net.filters.length) n += terms_of(net, at, y.from_circuits, y.n_from_circuits, t, d, y.lanes, at.terms + n);
        if (y.own && d < net.feedback.length && s.heard[slot(net.feedback, t - 1 - d)])
            n += add_terms(net.feedback, d, own_ring(net, y, s, t - 1 - d), y.lanes, at.terms + n);
    }
    filter(base, at.terms, n, y.lanes, s.u);
}

// What circuits hear of themselves.
static void hear_own(const Network& net, const Group& y, State& s, int t) {
    const bool chances = net.decision == Decision::mean_field;
    float* z = own_ring(net, y, s, t);
    s.heard[slot(net.feedback, t)] = chances || s.emitted > 0;
    if (!chances) std::memset(z, 0, static_cast<std::size_t>(net.feedback.n) * static_cast<std::size_t>(y.lanes) * sizeof(float));
    for (int k = 0; k < net.feedback.n; ++k, z += y.lanes) {
        const float* own = y.own + static_cast<std::ptrdiff_t>(k) * y.lanes;
        if (chances)
            for (int lane = 0; lane < y.rows; lane += kLanes) store(z + lane, load(s.p + lane) * load(own + lane));
        else
            for (int e = 0; e < s.emitted; ++e) z[s.ids[e]] = own[s.ids[e]];
    }
}

// What step t brings to the synapses from the input, in the first run, and from circuits.
static void hear(const Network& net, Scratch& at, int t, int run, int entered) {
    const bool chances = net.decision == Decision::mean_field;
    for (int c = 0; c < net.n_connections; ++c) {
        const Connection& y = net.connections[c];
        const bool input = y.source == 0;
        if (input && run > 0) continue;
        const State& s = at.states[y.source];
        const int m = input ? entered : s.emitted;
        const bool all = chances && !input;
        heard(net, at, c, t) = all || m > 0;
        if (all) hear_chances(y, s.p, net.groups[y.source].rows, ring(net, at, c, t));
        else if (m > 0) hear_spikes(y, input ? at.entering.ids : s.ids, m, ring(net, at, c, t));
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
static void run_sample(const Network& net, Scratch& at, const Outputs& out, std::size_t sample) {
    const int last = net.n_groups - 1;
    const auto classes = static_cast<std::size_t>(net.groups[last].n), n_steps = static_cast<std::size_t>(net.n_steps);
    std::int64_t n_spikes = at.entering.n_spikes, n_synops = at.entering.n_synops;
    const std::uint64_t key = key_of(net, at.entering);
    float* over_time = out.over_time ? out.over_time + sample * n_steps * classes : nullptr;
    std::memset(at.total, 0, classes * sizeof(float));
    for (int run = 0; run < net.runs; ++run) {
        std::memset(at.sum, 0, (classes + kLanes) * sizeof(float));
        for (int g = 1; g <= last; ++g)
            at.states[g].key = random::mix(key + static_cast<std::uint64_t>(run) * static_cast<std::uint64_t>(net.n_groups) + static_cast<std::uint64_t>(g));
        for (int t = 0; t < net.n_steps; ++t) {
            const int entered = run == 0 ? at.entering.take(t) : 0;
            for (int g = 1; g <= last; ++g) {
                const Group& y = net.groups[g];
                State& s = at.states[g];
                gather(net, at, g, t, run);
                const bool chances = net.decision == Decision::mean_field;
                const Draw draw{s.key, static_cast<std::uint64_t>(t) * static_cast<std::uint64_t>(y.n + y.n % 2), at.counted, at.fired};
                const bool draws = !chances && (g < last || net.draws_output);
                s.emitted = emit(y, s.u, draws ? &draw : nullptr, at.e, chances || g == last ? s.p : nullptr, s.ids);
                n_spikes += s.emitted;
                n_synops += s.emitted * y.fan_out;
            }
            count(net, at);
            if (t + 1 < net.n_steps) hear(net, at, t, run, entered);
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
        scratch.entering.n_spikes = scratch.entering.n_synops = 0;
        if (in.limits) scratch.entering.draw(in.images + k * static_cast<std::size_t>(in.n_pixels));
        else if (!scratch.entering.read_list(k)) return static_cast<std::int64_t>(k);
        run_sample(net, scratch, out, k);
    }
    return -1;
}

const Kernels table = {bytes_of<Scratch, Network, Inputs>, run};

}  // namespace

const Kernels& BITSPIKE_VARIANT(kernels)() { return table; }

}  // namespace bitspike::packed::glm
