// Poisson trains (coding/poisson.py).
#pragma once
#include <cstring>

#include "common/random.hpp"
#include "lif/kernels.hpp"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace bitspike::lif {
namespace {

typedef std::uint64_t u8x64 __attribute__((vector_size(64)));
typedef std::uint16_t u32x16 __attribute__((vector_size(64)));

// Bit k: part k of 32 is at most `most`.
BITSPIKE_INLINE std::uint32_t at_most(u8x64 drawn, std::uint16_t most) {
#if defined(__AVX512BW__)
    return _mm512_cmple_epu16_mask((__m512i)drawn, _mm512_set1_epi16(static_cast<short>(most)));
#else
    const u32x16 yes = (u32x16)((u32x16)drawn <= (most + u32x16{}));
#if defined(__SSE2__)
    union { u32x16 whole; __m128i part[4]; } u = {yes};
    return static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(u.part[0], u.part[1]))) |
           static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(u.part[2], u.part[3]))) << 16;
#else
    std::uint32_t mask = 0;
    for (int k = 0; k < 32; ++k) mask |= static_cast<std::uint32_t>(yes[k] & 1) << k;
    return mask;
#endif
#endif
}

static void poisson(const std::uint8_t* image, int n_pixels, std::uint64_t key, const std::int32_t* limits, int sides,
                    int n_steps, int words, std::uint64_t* bits) {
    std::memset(bits, 0, static_cast<std::size_t>(n_steps) * words * 8);
    const std::uint64_t groups = static_cast<std::uint64_t>((n_steps + 3) / 4);
    const u8x64 eight = u8x64{0, 1, 2, 3, 4, 5, 6, 7} * random::kStep;
    for (int side = 0; side < sides; ++side) {
        for (int pixel = 0; pixel < n_pixels; ++pixel) {
            const std::int32_t limit = limits[side * 256 + image[pixel]];
            if (limit <= 0) continue;
            const std::uint64_t j = static_cast<std::uint64_t>(side) * n_pixels + pixel, bit = 1ull << (j % 64);
            std::uint64_t* column = bits + j / 64;
            for (int t = 0; t < n_steps; t += 32) {
                const std::uint64_t start = key + (j * groups + static_cast<std::uint64_t>(t / 4) + 1) * random::kStep;
                std::uint32_t fires = at_most(random::mix(start + eight), static_cast<std::uint16_t>(limit - 1));
                if (t == 0) fires &= ~1u;
                if (n_steps - t < 32) fires &= (1u << (n_steps - t)) - 1;
                for (; fires; fires &= fires - 1)
                    column[static_cast<std::size_t>(t + __builtin_ctz(fires)) * words] |= bit;
            }
        }
    }
}

static std::uint64_t content_key(const std::uint8_t* image, int n_pixels) {
    u8x64 sums = {}, place = u8x64{1, 257, 513, 769, 1025, 1281, 1537, 1793};
    int j = 0;
    for (; j + 8 <= n_pixels; j += 8, place += 2048) {
        u8x64 level;
        for (int k = 0; k < 8; ++k) level[k] = image[j + k];
        sums += random::mix((place + level) * random::kStep);
    }
    std::uint64_t sum = 0;
    for (int k = 0; k < 8; ++k) sum += sums[k];
    for (; j < n_pixels; ++j) sum += random::mix((256ull * static_cast<std::uint64_t>(j) + 1 + image[j]) * random::kStep);
    return random::mix(sum);
}

}  // namespace
}  // namespace bitspike::lif
