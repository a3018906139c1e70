// The spikes that enter a network of spike trains: drawn from an image, or listed.
#pragma once
#include <cstring>

#include "common/arena.hpp"
#include "common/random.hpp"
#include "packed/trains/network.hpp"

namespace bitspike::packed::trains {
namespace {

// The input spikes of one sample, all laid down first and then taken step by step.
struct Entering {
    const Inputs& in;
    const std::int32_t* fan_out;
    int n_in, n_steps;
    std::size_t words;    // per step; 0 where nothing will be laid down
    std::uint64_t* bits;  // (n_steps, words), all 0 between samples
    std::uint32_t* ids;   // (2 n_in): the inputs that spike in a step
    std::uint64_t* drawn;
    std::int64_t n_spikes = 0, n_synops = 0;

    // fan_out (n_in): synapses of each input.
    Entering(const Inputs& in, const std::int32_t* fan_out, int n_in, int n_steps, bool has_spikes, Arena& arena)
        : in(in), fan_out(fan_out), n_in(n_in), n_steps(n_steps),
          words(has_spikes ? (static_cast<std::size_t>(n_in) + 63) / 64 : 0) {
        bits = arena.take<std::uint64_t>(words * static_cast<std::size_t>(n_steps));
        ids = arena.take<std::uint32_t>(2 * static_cast<std::size_t>(n_in));
        drawn = arena.take<std::uint64_t>(in.limits ? static_cast<std::size_t>(n_steps) / 4 + 1 : 0);
    }

    void clear() { std::memset(bits, 0, words * static_cast<std::size_t>(n_steps) * sizeof(std::uint64_t)); }

    bool insert(int step, int channel) {
        std::uint64_t& word = bits[static_cast<std::size_t>(step) * words + static_cast<std::size_t>(channel >> 6)];
        const std::uint64_t bit = 1ull << (channel & 63);
        const bool fresh = !(word & bit);
        word |= bit;
        ++n_spikes;
        n_synops += fan_out[channel];
        return fresh;
    }

    bool read_list(std::size_t sample) {
        for (std::int64_t e = in.offsets[sample]; e < in.offsets[sample + 1]; ++e) {
            const int step = in.steps[e], channel = in.channels[e];
            const bool inside = step >= 0 && step < n_steps && channel >= 0 && channel < n_in;
            if (!inside || !insert(step, channel)) return false;
        }
        return true;
    }

    // The image's own trains (coding/poisson.py, little-endian words).
    void draw(const std::uint8_t* image) {
        std::uint64_t key = 0;
        for (int i = 0; i < in.n_pixels; ++i)
            key += random::mix((256 * static_cast<std::uint64_t>(i) + 1 + image[i]) * random::kStep);
        key = random::mix(key);
        const int groups = (n_steps + 3) / 4;
        for (int side = 0; side < in.sides; ++side)
            for (int i = 0; i < in.n_pixels; ++i) {
                const std::int32_t limit = in.limits[256 * side + image[i]];
                if (limit == 0) continue;
                const int channel = side * in.n_pixels + i;
                const std::uint64_t begin = static_cast<std::uint64_t>(channel) * static_cast<std::uint64_t>(groups) + 1;
                for (int g = 0; g < groups; ++g) drawn[g] = random::mix(key + (begin + static_cast<std::uint64_t>(g)) * random::kStep);
                std::uint64_t* word = bits + (channel >> 6);
                std::int64_t fired = 0;
                for (int t = 1; t < n_steps; ++t) {  // no branch: whether it fires cannot be foreseen
                    const bool fires = static_cast<std::int32_t>(drawn[t >> 2] >> (16 * (t & 3)) & 0xffff) < limit;
                    word[static_cast<std::size_t>(t) * words] |= static_cast<std::uint64_t>(fires) << (channel & 63);
                    fired += fires;
                }
                n_spikes += fired;
                n_synops += fired * fan_out[channel];
            }
    }

    // All that enters in a sample: false where a list names no input, or one twice in a step.
    bool read(std::size_t sample) {
        n_spikes = n_synops = 0;
        if (!in.limits) return read_list(sample);
        draw(in.images + sample * static_cast<std::size_t>(in.n_pixels));
        return true;
    }

    // Lists in `ids` the inputs that spike in `step`; how many.
    int look(int step) {
        const std::uint64_t* row = bits + static_cast<std::size_t>(step) * words;
        int n = 0;
        for (std::size_t w = 0; w < words; ++w)
            for (std::uint64_t rest = row[w]; rest; rest &= rest - 1)
                ids[n++] = static_cast<std::uint32_t>(64 * w) + static_cast<std::uint32_t>(__builtin_ctzll(rest));
        return n;
    }

    // The same; they are then forgotten.
    int take(int step) {
        const int n = look(step);
        std::memset(bits + static_cast<std::size_t>(step) * words, 0, words * sizeof(std::uint64_t));
        return n;
    }
};

}  // namespace
}  // namespace bitspike::packed::trains
