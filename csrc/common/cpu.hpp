// What the machine can do, and the choice between the variants of kernels.
#pragma once
#include <string>

#include "common/isa.hpp"

namespace bitspike {

enum class Isa { portable = 0, avx2 = 1, avx512 = 2 };

// The best instruction set of this machine that was compiled in.
Isa best_isa();
const char* isa_name(Isa isa);
// The instruction set of that name, "best" for this machine's; std::invalid_argument where it cannot run here.
Isa isa_named(const std::string& name);

template <class Variant, class... Others>
Variant pick(const std::string& isa, Variant portable, Others... others) {
    const Variant variants[] = {portable, others...};
    return variants[static_cast<int>(isa_named(isa))];
}

// What the variant of `name` (see isa.hpp) for an instruction set returns.
#if defined(BITSPIKE_X86)
#define BITSPIKE_PICK(name, isa) bitspike::pick(isa, name##_portable, name##_avx2, name##_avx512)()
#else
#define BITSPIKE_PICK(name, isa) bitspike::pick(isa, name##_portable)()
#endif

}  // namespace bitspike
