// The constants of spike-train neurons, and what every kernel of them needs around itself.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace bitspike::spike_train {

// Of the forward pass (ops/spike_train/neuron.py); limit = threshold - epsilon, rate = 1 / tau_s.
struct Lif {
    float beta_m, beta_s, rate, limit;
    int refractory;
    float lateral;
};

// Of the adjoint (reference.adjoint_constants).
struct Back {
    float decay_m, decay_s, gain;
    int late, refractory;
};

// Denormal numbers are 0 while this lives: traces that fade out would else slow every step. Restores what was there before.
class FlushDenormals {
  public:
#if defined(__SSE2__)
    FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
    ~FlushDenormals() { _mm_setcsr(before_); }
#elif defined(__aarch64__)
    FlushDenormals() {
        asm volatile("mrs %0, fpcr" : "=r"(before_));
        asm volatile("msr fpcr, %0" : : "r"(before_ | (1ull << 24)));
    }
    ~FlushDenormals() { asm volatile("msr fpcr, %0" : : "r"(before_)); }
#else
    FlushDenormals() = default;
#endif
    FlushDenormals(const FlushDenormals&) = delete;

  private:
#if defined(__SSE2__)
    unsigned before_;
#elif defined(__aarch64__)
    std::uint64_t before_;
#endif
};

// Memory that a thread keeps from call to call (fresh pages cost as much as a scan); `Tag` tells uses apart. Not cleared.
// Like all templates that are not local to a file: only for files compiled for every machine, kernels get the pointer.
template <class T, class Tag>
T* scratch(std::size_t items) {
    static thread_local std::vector<T> kept;
    if (kept.size() < items + 64) kept.resize(items + 64);
    const auto at = reinterpret_cast<std::uintptr_t>(kept.data());
    return reinterpret_cast<T*>((at + 63) / 64 * 64);
}

}  // namespace bitspike::spike_train
