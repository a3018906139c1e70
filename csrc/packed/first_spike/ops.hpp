// The innermost loops of packed inference, in portable C++; an instruction set overrides what it does better.
#pragma once
#include <cstring>

#include "packed/first_spike/kernels.hpp"

namespace bitspike::packed::first_spike {
namespace {

inline int lowest_bit(std::uint64_t x) { return __builtin_ctzll(x); }
inline int count_bits(std::uint64_t x) { return __builtin_popcountll(x); }
inline int bit_width(unsigned x) { return x ? 32 - __builtin_clz(x) : 0; }

// Byte b of spread(x) is bit b of x.
inline std::uint64_t spread(std::uint8_t x) {
    const std::uint64_t picked = (x * 0x0101010101010101ull) & 0x8040201008040201ull;
    return (picked + 0x7f7f7f7f7f7f7f7full) >> 7 & 0x0101010101010101ull;
}

// What one layer knows of one sample.
struct State {
    std::int8_t* counter;  // D, see layers.hpp
    std::int8_t* half[2];  // Ops::retires: the layer's `half`, out of reach for neurons that have fired
    std::int32_t* wide;    // P
    std::uint64_t *alive, *fresh, *planes;
    float* potential;     // real layers
    std::int16_t* sum16;  // narrow_output
    std::int64_t n;       // spikes received
    int budget;
    bool is_wide;
};

struct Portable {
    // A block of neurons, one bit each.
    struct Bits {
        static constexpr int words = 1;
        std::uint64_t v;
        static Bits zero() { return {0}; }
        static Bits load(const std::uint64_t* p) { return {*p}; }
        void store(std::uint64_t* p) const { *p = v; }
        static Bits sum3(Bits a, Bits b, Bits c) { return {a.v ^ b.v ^ c.v}; }
        static Bits carry3(Bits a, Bits b, Bits c) { return {(a.v & b.v) | (c.v & (a.v | b.v))}; }
        static Bits sum2(Bits a, Bits b) { return {a.v ^ b.v}; }
        static Bits carry2(Bits a, Bits b) { return {a.v & b.v}; }
    };

    // The pixels from `dimmest` up, in order: value << 24 | index. Returns how many; may write 16 entries beyond.
    static int scan_pixels(const std::uint8_t* pixels, int n, int dimmest, std::uint32_t* keys) {
        int count = 0;
        for (int i = 0; i < n; ++i) {
            keys[count] = static_cast<std::uint32_t>(pixels[i]) << 24 | static_cast<std::uint32_t>(i);
            count += pixels[i] >= dimmest;
        }
        return count;
    }

    // The indices whose pixel lies in lowest..highest. May write 16 entries beyond.
    static int select(const std::uint32_t* keys, int n, std::uint8_t lowest, std::uint8_t highest,
                      std::uint32_t* indices) {
        const std::uint32_t from = static_cast<std::uint32_t>(lowest) << 24;
        const std::uint32_t span = (static_cast<std::uint32_t>(highest - lowest) << 24) | 0xffffffu;
        int count = 0;
        for (int e = 0; e < n; ++e) {
            indices[count] = keys[e] & 0xffffffu;
            count += keys[e] - from <= span;
        }
        return count;
    }

    // The inputs that spike, in order; `bad` is set where a time lies outside 0..n_steps. May write 16 entries beyond.
    static int scan_times(const std::int16_t* times, int n, int n_steps, std::uint32_t* steps, std::uint32_t* indices,
                          bool& bad) {
        int count = 0;
        for (int i = 0; i < n; ++i) {
            const int t = static_cast<std::uint16_t>(times[i]);
            bad |= t > n_steps;
            steps[count] = static_cast<std::uint32_t>(t);
            indices[count] = static_cast<std::uint32_t>(i);
            count += t < n_steps;
        }
        return count;
    }

    static constexpr bool retires = false;

    // Adds n_rows bit rows (row k counts 1, or 2^k with `planes`) to the byte counters, subtracts delta, and marks in
    // `fresh` the living neurons whose counter has reached `half`. Returns how many; `fresh` is void where none has.
    template <bool planes, int n_rows>
    static int count_bytes(const Layer& y, State& s, const std::uint64_t* const* rows, int delta) {
        const std::int8_t* half = y.half[s.n & 1];
        int fired = 0;
        for (int w = 0; w < y.words; ++w) {
            std::uint8_t sum[64], reached[64];
            for (int b = 0; b < 8; ++b) {
                std::uint64_t lanes = 0;
                for (int k = 0; k < n_rows; ++k)
                    lanes += spread(static_cast<std::uint8_t>(rows[k][w] >> (8 * b))) << (planes ? k : 0);
                std::memcpy(sum + 8 * b, &lanes, 8);
            }
            std::int8_t* c = s.counter + 64 * w;
            const std::int8_t* h = half + 64 * w;
            for (int j = 0; j < 64; ++j) {
                c[j] = static_cast<std::int8_t>(static_cast<std::uint8_t>(c[j]) + sum[j] - delta);
                reached[j] = c[j] >= h[j];
            }
            std::uint64_t mask = 0;
            for (int j = 0; j < 64; ++j) mask |= static_cast<std::uint64_t>(reached[j]) << j;
            s.fresh[w] = mask & s.alive[w];
            s.alive[w] ^= s.fresh[w];
            fired += count_bits(s.fresh[w]);
        }
        return fired;
    }

    // Adds bit planes (plane k counts 2^k, fewer than 256 in all) to 32-bit counters.
    static void count_words(const std::uint64_t* const* planes, int n_planes, int words, std::int32_t* counter) {
        for (int w = 0; w < words; ++w)
            for (int b = 0; b < 8; ++b) {
                std::uint64_t lanes = 0;
                for (int k = 0; k < n_planes; ++k)
                    lanes += spread(static_cast<std::uint8_t>(planes[k][w] >> (8 * b))) << k;
                std::uint8_t sum[8];
                std::memcpy(sum, &lanes, 8);
                for (int j = 0; j < 8; ++j) counter[64 * w + 8 * b + j] += sum[j];
            }
    }

    // Adds one row of 16 small weights.
    static void add16(const std::int16_t* row, std::int16_t* sum) {
        for (int j = 0; j < 16; ++j) sum[j] = static_cast<std::int16_t>(sum[j] + row[j]);
    }

    // Adds the rows of all `fired` set bits.
    static void add16_bits(const Network&, const Layer& y, const std::uint64_t* bits, int, std::int16_t* sum) {
        for (int w = 0; 64 * w < y.n_in; ++w)
            for (std::uint64_t rest = bits[w]; rest; rest &= rest - 1)
                add16(y.rows16 + 16 * (64 * w + lowest_bit(rest)), sum);
    }

    // Which of 64 counts are not 0.
    static std::uint64_t nonzero64(const std::uint32_t* count) {
        std::uint64_t mask = 0;
        for (int k = 0; k < 64; ++k) mask |= static_cast<std::uint64_t>(count[k] != 0) << k;
        return mask;
    }

    // One bit per neuron of a narrow output layer that has reached its threshold.
    static std::uint64_t crossed16(const Layer& y, const std::int16_t* sum) {
        std::uint64_t mask = 0;
        for (int j = 0; j < 16; ++j) mask |= static_cast<std::uint64_t>(sum[j] >= y.fires_at16[j]) << j;
        return mask & y.all[0];
    }

    // Adds one row of real weights; n is a multiple of 16.
    static void add_real(const float* row, int n, float* sum) {
        for (int j = 0; j < n; ++j) sum[j] += row[j];
    }
};

}  // namespace
}  // namespace bitspike::packed::first_spike
