// Bits to lists.
#pragma once
#include <cstring>

#include "common/algorithm.hpp"
#include "lif/kernels.hpp"

#if defined(__BMI2__)
#include <immintrin.h>
#endif

namespace bitspike::lif {
namespace {

static std::size_t count(const std::uint64_t* bits, std::size_t words) {
    std::size_t total = 0;
    for (std::size_t i = 0; i < words; ++i) total += static_cast<std::size_t>(__builtin_popcountll(bits[i]));
    return total;
}

static void by_step(const std::uint64_t* bits, int n_in, int n_steps, int words, std::int32_t* starts, std::int32_t* inputs) {
    const std::uint64_t tail = n_in % 64 ? (1ull << (n_in % 64)) - 1 : ~0ull;
    std::int32_t at = 0;
    for (int t = 0; t < n_steps; ++t, bits += words) {
        starts[t] = at;
        for (int w = 0; w < words; ++w) {
            std::uint64_t word = bits[w] & (w + 1 == words ? tail : ~0ull);
            if (!word) continue;
            // Four at a time, written whether they are there or not: fewer branches that cannot be foretold.
            std::int32_t* to = inputs + at;
            at += __builtin_popcountll(word);
            do {
                for (int k = 0; k < 4; ++k, word &= word - 1) *to++ = w * 64 + __builtin_ctzll(word | 1ull << 63);
            } while (word);
        }
    }
    starts[n_steps] = at;
}

// Bit c of row r becomes bit r of row c, in 64 x 64 bits: swaps blocks of J bits.
template <int J>
BITSPIKE_INLINE void swap_blocks(std::uint64_t* a, std::uint64_t mask) {
    for (int base = 0; base < 64; base += 2 * J)
        for (int k = base; k < base + J; ++k) {
            const std::uint64_t moved = (a[k] >> J ^ a[k + J]) & mask;
            a[k] ^= moved << J;
            a[k + J] ^= moved;
        }
}

static void transpose(std::uint64_t* a) {
    swap_blocks<32>(a, 0x00000000FFFFFFFFull);
    swap_blocks<16>(a, 0x0000FFFF0000FFFFull);
    swap_blocks<8>(a, 0x00FF00FF00FF00FFull);
    swap_blocks<4>(a, 0x0F0F0F0F0F0F0F0Full);
    swap_blocks<2>(a, 0x3333333333333333ull);
    swap_blocks<1>(a, 0x5555555555555555ull);
}

// Ones among bits begin..end-1.
BITSPIKE_INLINE int ones(const std::uint64_t* bits, int begin, int end) {
    int total = 0;
    while (begin < end) {
        const int taken = min(64 - begin % 64, end - begin);
        const std::uint64_t word = bits[begin / 64] >> (begin % 64);
        total += __builtin_popcountll(taken == 64 ? word : word & ((1ull << taken) - 1));
        begin += taken;
    }
    return total;
}

static int by_input(const std::uint64_t* bits, int n_in, int n_steps, int words, int bin, std::uint64_t* columns, Entry* entries,
                    std::int32_t* inputs, std::int32_t* starts, std::int32_t* ends) {
    const int blocks = (n_steps + 63) / 64, bins = (n_steps + bin - 1) / bin;
    int n_active = 0;
    std::int32_t at = 0;
    for (int w = 0; w < words; ++w) {
        std::uint64_t any = 0;
        for (int block = 0; block < blocks; ++block) {
            std::uint64_t a[64] = {}, some = 0;
            const std::uint64_t* from = bits + static_cast<std::size_t>(block) * 64 * words + w;
            for (int r = 0; r < min(64, n_steps - block * 64); ++r) some |= a[r] = from[static_cast<std::size_t>(r) * words];
            if (some) transpose(a);
            for (int c = 0; c < 64; ++c) columns[c * blocks + block] = a[c];
            any |= some;
        }
        if (w + 1 == words && n_in % 64) any &= (1ull << (n_in % 64)) - 1;
        for (; any; any &= any - 1) {
            const int c = __builtin_ctzll(any);
            const std::uint64_t* column = columns + c * blocks;
            inputs[n_active] = w * 64 + c;
            starts[n_active] = at;
            if (bin == 1) {
                for (int block = 0; block < blocks; ++block)
                    for (std::uint64_t word = column[block]; word; word &= word - 1)
                        entries[at++] = {static_cast<std::uint16_t>(block * 64 + __builtin_ctzll(word)), 1};
            } else {
                for (int p = 0; p < bins; ++p) {  // an entry is written whether it is there or not
                    const int spikes = ones(column, p * bin, min((p + 1) * bin, n_steps));
                    entries[at] = {static_cast<std::uint16_t>(p), static_cast<std::uint16_t>(spikes)};
                    at += spikes > 0;
                }
            }
            ends[n_active++] = at;
        }
    }
    return n_active;
}

static void squeeze(const std::uint64_t* bits, int stride, const std::uint64_t* keep, int words, int n_steps, std::uint64_t* to,
                    int to_words) {
    for (int t = 0; t < n_steps; ++t, bits += stride, to += to_words) {
        std::memset(to, 0, to_words * sizeof(std::uint64_t));
        int at = 0;
        for (int w = 0; w < words; ++w) {
#if defined(__BMI2__)
            const std::uint64_t kept = _pext_u64(bits[w], keep[w]);
#else
            std::uint64_t kept = 0;
            int k = 0;
            if (bits[w] & keep[w])
                for (std::uint64_t left = keep[w]; left; left &= left - 1, ++k) kept |= (bits[w] >> __builtin_ctzll(left) & 1) << k;
#endif
            const int lanes = __builtin_popcountll(keep[w]);
            if (lanes == 0) continue;
            to[at / 64] |= kept << (at % 64);
            if (at % 64 + lanes > 64) to[at / 64 + 1] |= kept >> (64 - at % 64);
            at += lanes;
        }
    }
}

}  // namespace
}  // namespace bitspike::lif
