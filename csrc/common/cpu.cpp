#include "common/cpu.hpp"

#include <stdexcept>

namespace bitspike {

Isa best_isa() {
#if defined(BITSPIKE_X86) && defined(__GNUC__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        return Isa::avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) return Isa::avx2;
#endif
    return Isa::portable;
}

const char* isa_name(Isa isa) {
    switch (isa) {
        case Isa::avx512: return "avx512";
        case Isa::avx2: return "avx2";
        default: return "portable";
    }
}

Isa isa_named(const std::string& name) {
    const Isa best = best_isa();
    if (name == "best") return best;
    for (int isa = 0; isa <= static_cast<int>(best); ++isa)
        if (name == isa_name(static_cast<Isa>(isa))) return static_cast<Isa>(isa);
    throw std::invalid_argument("instruction set '" + name + "' is not available; this machine's best is " + isa_name(best));
}

}  // namespace bitspike
