// How work is shared: one pool of sleeping threads, no other global state.
#pragma once
#include <algorithm>
#include <cstddef>
#include <functional>

namespace bitspike {

// Runs body(part) for part = 0..parts-1, each exactly once, on up to `parts` threads (the caller is one of them); returns
// when all are done, and then throws the first exception that a part threw, if any. Which thread runs which part never
// changes a result: parts own disjoint outputs.
void parallel(int parts, const std::function<void(int)>& body);

// Half-open range of items that `part` of `parts` owns; contiguous and balanced.
inline void share(std::size_t items, int part, int parts, std::size_t& begin, std::size_t& end) {
    begin = items * static_cast<std::size_t>(part) / static_cast<std::size_t>(parts);
    end = items * static_cast<std::size_t>(part + 1) / static_cast<std::size_t>(parts);
}

// As many parts as threads, but none without an item; 1 at least.
inline int parts_of(std::size_t items, int threads) {
    return static_cast<int>(std::max<std::size_t>(1, std::min<std::size_t>(std::max(1, threads), items)));
}

// Runs body(part, begin, end) on up to `threads` threads, over ranges that together are 0..items-1, none of them empty.
template <class Body>
void over(std::size_t items, int threads, const Body& body) {
    const int parts = parts_of(items, threads);
    parallel(parts, [&](int part) {
        std::size_t begin, end;
        share(items, part, parts, begin, end);
        if (begin < end) body(part, begin, end);
    });
}

}  // namespace bitspike
