// The sources of a stream that are followed: those with a trace, and those whose trace ended not long ago.
#pragma once
#include <cstring>

#include "common/algorithm.hpp"
#include "common/arena.hpp"
#include "glm/online_kernels.hpp"

namespace bitspike::glm {
namespace {

// Spikes of the last steps of every row as bits, newest first, and the rows that are followed as bits, in ascending order.
struct Followed {
    int rows, words, history_words, length;
    std::uint64_t *spikes, *followed;  // (rows, history_words), (words)
    std::int32_t* idle;

    Followed(int rows, int length, Arena& arena)
        : rows(rows), words((rows + 63) / 64), history_words((length + 63) / 64), length(length), idle(nullptr) {
        spikes = arena.take<std::uint64_t>(static_cast<std::size_t>(rows) * history_words);
        followed = arena.take<std::uint64_t>(words);
    }

    void read(const float* history, std::int32_t* idle_of_rows, int tail) {
        idle = idle_of_rows;
        std::memset(spikes, 0, static_cast<std::size_t>(rows) * history_words * sizeof *spikes);
        std::memset(followed, 0, words * sizeof *followed);
        for (int d = 0; d < length; ++d)
            for (int row = 0; row < rows; ++row)
                if (history[static_cast<std::size_t>(d) * rows + row] != 0) {
                    spikes[row * history_words + d / 64] |= 1ull << d % 64;
                    follow(row);
                }
        for (int row = 0; row < rows; ++row)
            if (idle[row] <= tail) follow(row);
    }
    void write(float* history) const {
        std::memset(history, 0, static_cast<std::size_t>(length) * rows * sizeof *history);
        each([&](int row) {
            for (int d = 0; d < length; ++d)
                if (spikes[row * history_words + d / 64] >> d % 64 & 1) history[static_cast<std::size_t>(d) * rows + row] = 1;
        });
    }

    void follow(int row) { followed[row / 64] |= 1ull << row % 64; }
    bool has_trace(int row) const {
        std::uint64_t any = 0;
        for (int w = 0; w < history_words; ++w) any |= spikes[row * history_words + w];
        return any != 0;
    }
    template <class Body>
    BITSPIKE_INLINE_MEMBER void each(const Body& body) const {
        for (int w = 0; w < words; ++w)
            for (std::uint64_t rest = followed[w]; rest; rest &= rest - 1) body(64 * w + __builtin_ctzll(rest));
    }

    // x_k, (1) of the specification: sum over d of a_k(d) s(t - 1 - d), `stride` apart.
    void trace(int row, const Filters& f, float* x, std::size_t stride) const {
        for (int k = 0; k < f.n; ++k) x[k * stride] = 0;
        for (int w = 0; w < history_words; ++w)
            for (std::uint64_t rest = spikes[row * history_words + w]; rest; rest &= rest - 1) {
                const int d = 64 * w + __builtin_ctzll(rest);
                if (d < f.length)
                    for (int k = 0; k < f.n; ++k) x[k * stride] += f.a[k * f.length + d];
            }
    }

    // A step on: what was emitted is the newest spike.
    void pass(const std::int32_t* emitted, int n) {
        const int end = length % 64;
        each([&](int row) {
            std::uint64_t carry = 0;
            std::uint64_t* own = spikes + static_cast<std::size_t>(row) * history_words;
            for (int w = 0; w < history_words; ++w) {
                const std::uint64_t next = own[w] >> 63;
                own[w] = own[w] << 1 | carry;
                carry = next;
            }
            if (end) own[history_words - 1] &= (1ull << end) - 1;
        });
        for (int e = 0; e < n; ++e) {
            spikes[static_cast<std::size_t>(emitted[e]) * history_words] |= 1;
            follow(emitted[e]);
        }
    }
};

}  // namespace
}  // namespace bitspike::glm
