// Included by spike_train_{portable,avx2,avx512}.cpp in their own namespace: bits to lists.

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
