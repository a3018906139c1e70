// What the machine can do, and how work is shared: no global state beyond one sleeping pool.
#pragma once
#include <cstddef>
#include <functional>

namespace bitspike {

enum class Isa { portable = 0, avx2 = 1, avx512 = 2 };

// The best instruction set of this machine that was compiled in.
Isa best_isa();
const char* isa_name(Isa isa);

// Runs body(part) for part = 0..parts-1, each exactly once, on up to `parts` threads (the caller is one of them);
// returns when all are done. Which thread runs which part never changes a result: parts own disjoint outputs.
void parallel(int parts, const std::function<void(int)>& body);

// Half-open range of items that `part` of `parts` owns; contiguous and balanced.
inline void share(std::size_t items, int part, int parts, std::size_t& begin, std::size_t& end) {
    begin = items * static_cast<std::size_t>(part) / static_cast<std::size_t>(parts);
    end = items * static_cast<std::size_t>(part + 1) / static_cast<std::size_t>(parts);
}

}  // namespace bitspike
