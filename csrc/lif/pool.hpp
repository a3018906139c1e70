// Pooling, four groups of neurons over all steps at a time. Their bits lie at the same places of every row; state stays in
// registers.
#pragma once
#include <cstring>

#include "lif/map_kernels.hpp"
#include "lif/step.hpp"

namespace bitspike::lif::map {
namespace {

constexpr int kTogether = 4;

// Where 16 bits begin in any row of a matrix of bits.
struct Spot {
    int byte, shift;
};
BITSPIKE_INLINE Spot spot(int bit, int words) {
    const int last = 8 * words - 4, byte = bit / 8 < last ? bit / 8 : last;
    return {byte, bit - 8 * byte};
}
BITSPIKE_INLINE std::uint32_t four_bytes(const unsigned char* row, Spot at) {
    std::uint32_t bits;
    std::memcpy(&bits, row + at.byte, sizeof bits);
    return bits;
}
BITSPIKE_INLINE Mask fetch(const unsigned char* row, Spot at) { return static_cast<Mask>(four_bytes(row, at) >> at.shift); }
// Sets the row's bits; those past the row's end are 0 in `mask`.
BITSPIKE_INLINE void put(unsigned char* row, Spot at, Mask mask) {
    const std::uint32_t bits = four_bytes(row, at) | static_cast<std::uint32_t>(mask) << at.shift;
    std::memcpy(row + at.byte, &bits, sizeof bits);
}

BITSPIKE_INLINE f16 add_where(f16 sum, Mask m, f16 v) {
#if defined(__AVX512F__)
    return (f16)_mm512_mask_add_ps((__m512)sum, m, (__m512)sum, (__m512)v);
#else
    return sum + choose(m, v, f16{});
#endif
}

// Group g of the output: its first neuron, its lanes, and the first input bit of its window.
struct Group {
    int neuron, lanes, corner;
    Mask valid;
    Spot out;
};
BITSPIKE_INLINE Group group_of(const Map& map, int g) {
    const int p = g / map.groups, channel = g % map.groups * kLanes;
    const int y = p / map.out_width * map.size, x = p % map.out_width * map.size;
    const int neuron = p * map.channels + channel, left = map.channels - channel, lanes = left < kLanes ? left : kLanes;
    return {neuron, lanes, (y * map.width + x) * map.channels + channel, static_cast<Mask>((1u << lanes) - 1),
            spot(neuron, map.out_words)};
}
// First input bit of place k of a window.
BITSPIKE_INLINE int place_of(const Map& map, const Group& group, int k) {
    return group.corner + (k / map.size * map.width + k % map.size) * map.channels;
}

// Sums over the window of a group for each of `n` steps: (n, 16).
BITSPIKE_INLINE void window_sums(const Map& map, const Group& group, const std::uint64_t* in, int n, float* sums) {
    const int places = map.size * map.size;
    const std::size_t stride = map.in_words * sizeof(std::uint64_t);
    const f16 one = splat(1.0f);
    for (int k = 0; k < places; k += 4) {
        Spot at[4];
        f16 part[4];  // 0 for the places beyond the window
        for (int i = 0; i < 4; ++i) {
            part[i] = k + i < places ? one : f16{};
            at[i] = spot(place_of(map, group, k + i < places ? k + i : k), map.in_words);
        }
        const auto* row = reinterpret_cast<const unsigned char*>(in);
        for (int t = 0; t < n; ++t, row += stride) {
            f16 now = k ? load(sums + t * kLanes) : f16{};
            for (int i = 0; i < 4; ++i) now = add_where(now, fetch(row, at[i]), part[i]);
            store(sums + t * kLanes, now);
        }
    }
}

static void pool_forward(const Map& map, const Lif& lif, const std::uint64_t* in, const Outcome& out, const Memory& memory) {
    const int n_steps = map.n_steps, n_groups = map.positions * map.groups, refractory = lif.refractory;
    const std::size_t stride = map.out_words * sizeof(std::uint64_t);
    const LifLanes constants(lif);
    const f16 one = splat(1.0f);
    std::memset(out.spikes, 0, stride * n_steps);
    // (refractory + n_steps, 4): what fired; 0 up to step 0.
    Mask* const history = reinterpret_cast<Mask*>(memory.words);
    std::memset(history, 0, (refractory + 1) * kTogether * sizeof(Mask));
    for (int first = 0; first < n_groups; first += kTogether) {
        Group groups[kTogether];
        f16 v[kTogether]{}, x[kTogether]{}, counts[kTogether]{}, tpsp[kTogether]{}, v_pre;
        Mask held[kTogether]{};
        for (int i = 0; i < kTogether; ++i) {  // past the last group: that one once more, to the same end
            groups[i] = group_of(map, first + i < n_groups ? first + i : n_groups - 1);
            window_sums(map, groups[i], in, n_steps - 1, memory.floats + static_cast<std::size_t>(i) * n_steps * kLanes);
        }
        for (int t = 1; t < n_steps; ++t)
            for (int i = 0; i < kTogether; ++i) {
                const f16 current = load(memory.floats + (static_cast<std::size_t>(i) * n_steps + t - 1) * kLanes);
                const Mask fired = lif_step(constants, current, held[i], v[i], x[i], v_pre) & groups[i].valid;
                history[(t + refractory) * kTogether + i] = fired;
                if (refractory) held[i] = next_held(held[i], fired, history[t * kTogether + i]);
                counts[i] = add_where(counts[i], fired, one);
                tpsp[i] = add_where(tpsp[i], fired, v_pre);
            }
        for (int i = 0; i < kTogether; ++i) {
            unsigned char* row = reinterpret_cast<unsigned char*>(out.spikes) + stride;
            for (int t = 1; t < n_steps; ++t, row += stride) put(row, groups[i].out, history[(t + refractory) * kTogether + i]);
            store(out.counts + groups[i].neuron, counts[i], groups[i].lanes);
            store(out.tpsp + groups[i].neuron, tpsp[i], groups[i].lanes);
            store(out.membrane + groups[i].neuron, v[i], groups[i].lanes);
        }
    }
}

// R(t) of a group for all steps, (n_steps, 16).
BITSPIKE_INLINE void adjoint_of(const Map& map, const Back& back, const Group& group, const std::uint64_t* out, float* r) {
    const int n_steps = map.n_steps, late = back.late, refractory = back.refractory;
    const std::size_t stride = map.out_words * sizeof(std::uint64_t);
    const auto* rows = reinterpret_cast<const unsigned char*>(out);
    const BackLanes constants(back);
    f16 lam{}, mu{};
    for (int t = n_steps - 1; t >= 0; --t) {
        const int after = t + late + 1;
        if (after < n_steps) {
            Mask held = 0;
            for (int before = after > refractory ? after - refractory : 0; before < after; ++before)
                held |= fetch(rows + stride * before, group.out);
            back_step(constants, held, fetch(rows + stride * after, group.out), lam, mu);
        }
        store(r + t * kLanes, mu);
    }
}

// r <- scale * its mean over each bin.
BITSPIKE_INLINE void scale_bins(int n_steps, int bin, f16 scale, float* r) {
    for (int first = 0; first < n_steps; first += bin) {
        const int last = first + bin < n_steps ? first + bin : n_steps;
        f16 total{};
        for (int t = first; t < last; ++t) total += load(r + t * kLanes);
        if (bin > 1) total = total * splat(1.0f / static_cast<float>(last - first));
        for (int t = first; t < last; ++t) store(r + t * kLanes, total * scale);
    }
}

static void pool_backward(const Map& map, const Back& back, int bin, const Sample& sample, const Memory& memory) {
    const int n_steps = map.n_steps, n_groups = map.positions * map.groups, places = map.size * map.size;
    const std::size_t stride = map.in_words * sizeof(std::uint64_t);
    float* const r = memory.floats;
    for (int g = 0; g < n_groups; ++g) {
        const Group group = group_of(map, g);
        adjoint_of(map, back, group, sample.out, r);
        scale_bins(n_steps, bin, load(sample.error_scale + group.neuron, group.lanes), r);
        for (int k = 0; k < places; k += 4) {
            Spot at[4];
            f16 error[4]{};
            for (int i = 0; i < 4; ++i) at[i] = spot(place_of(map, group, k + i < places ? k + i : k), map.in_words);
            const auto* row = reinterpret_cast<const unsigned char*>(sample.in);
            for (int t = 0; t < n_steps; ++t, row += stride) {
                const f16 now = load(r + t * kLanes);
                for (int i = 0; i < 4; ++i) error[i] = add_where(error[i], fetch(row, at[i]), now);
            }
            for (int i = 0; i < 4 && k + i < places; ++i)
                store(sample.error + place_of(map, group, k + i), error[i], group.lanes);
        }
    }
}

static void pool_tpsp(const Map& map, const Back& back, const Sample& sample, float* a, const Memory& memory) {
    const int n_steps = map.n_steps, n_groups = map.positions * map.groups;
    float *const r = memory.floats, *const sums = r + static_cast<std::size_t>(n_steps) * kLanes;
    for (int g = 0; g < n_groups; ++g) {
        const Group group = group_of(map, g);
        adjoint_of(map, back, group, sample.out, r);
        window_sums(map, group, sample.in, n_steps, sums);
        f16 total{};
        for (int t = 0; t < n_steps; ++t) total += load(r + t * kLanes) * load(sums + t * kLanes);
        store(a + group.neuron, total, group.lanes);
    }
}

}  // namespace
}  // namespace bitspike::lif::map
