// Kernel files. CMake compiles every *.kernel.cpp once per instruction set and defines BITSPIKE_ISA as its name (portable, avx2,
// avx512). So that the linker never takes what one set was compiled for into another's code, a kernel file and the headers it
// includes keep all functions in anonymous namespaces, use no template or inline function of the standard library, and show one
// function only.
#pragma once

#define BITSPIKE_JOIN_NOW(name, isa) name##_##isa
#define BITSPIKE_JOIN(name, isa) BITSPIKE_JOIN_NOW(name, isa)
// In a kernel file: name_portable, name_avx2 or name_avx512.
#define BITSPIKE_VARIANT(name) BITSPIKE_JOIN(name, BITSPIKE_ISA)
// Declares all three. cpu.hpp chooses between them.
#define BITSPIKE_VARIANTS(type, name) \
    type name##_portable();           \
    type name##_avx2();               \
    type name##_avx512()

#define BITSPIKE_INLINE static inline __attribute__((always_inline, unused))
#define BITSPIKE_INLINE_MEMBER inline __attribute__((always_inline))
