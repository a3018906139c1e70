// What the machine can do, and how work is shared: no global state beyond one sleeping pool.
#pragma once
#include <cstddef>
#include <functional>
#include <stdexcept>
#include <string>

namespace bitspike {

enum class Isa { portable = 0, avx2 = 1, avx512 = 2 };

// The best instruction set of this machine that was compiled in.
Isa best_isa();
const char* isa_name(Isa isa);
// The instruction set of that name, "best" for this machine's; std::invalid_argument where it cannot run here.
Isa isa_named(const std::string& name);

// The variant of a function or table that was compiled for an instruction set: NAME_portable, NAME_avx2 or NAME_avx512.
#if defined(__x86_64__) || defined(_M_X64)
#define BITSPIKE_PICK(isa, name) \
    ((isa) == bitspike::Isa::avx512 ? name##_avx512 : (isa) == bitspike::Isa::avx2 ? name##_avx2 : name##_portable)
#else
#define BITSPIKE_PICK(isa, name) ((void)(isa), name##_portable)
#endif

inline void require(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

// Runs body(part) for part = 0..parts-1, each exactly once, on up to `parts` threads (the caller is one of them);
// returns when all are done, and then throws the first exception that a part threw, if any. Which thread runs which part never changes a result: parts own disjoint outputs.
void parallel(int parts, const std::function<void(int)>& body);

// Half-open range of items that `part` of `parts` owns; contiguous and balanced.
inline void share(std::size_t items, int part, int parts, std::size_t& begin, std::size_t& end) {
    begin = items * static_cast<std::size_t>(part) / static_cast<std::size_t>(parts);
    end = items * static_cast<std::size_t>(part + 1) / static_cast<std::size_t>(parts);
}

}  // namespace bitspike
