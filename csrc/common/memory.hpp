// Memory aligned to 64 bytes, for files that are compiled once; kernel files get pointers (arena.hpp).
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

namespace bitspike {

template <class Number>
constexpr Number round_up(Number n, std::common_type_t<Number> to) { return (n + to - 1) / to * to; }

// Memory that a thread keeps from call to call (fresh pages cost as much as a scan); `Tag` tells uses apart. Not cleared.
template <class T, class Tag>
T* scratch(std::size_t items) {
    static thread_local std::vector<T> kept;
    if (kept.size() < items + 64) kept.resize(items + 64);
    const auto at = reinterpret_cast<std::uintptr_t>(kept.data());
    return reinterpret_cast<T*>((at + 63) / 64 * 64);
}

// Owns arrays of zeros, with 64 bytes of them behind each.
class Blocks {
  public:
    template <class T>
    T* take(std::size_t n) {
        blocks_.emplace_back(new (std::align_val_t(64)) char[n * sizeof(T) + 64]);
        std::memset(blocks_.back().get(), 0, n * sizeof(T) + 64);
        return reinterpret_cast<T*>(blocks_.back().get());
    }

  private:
    struct Free {
        void operator()(char* p) const { ::operator delete[](p, std::align_val_t(64)); }
    };
    std::vector<std::unique_ptr<char[], Free>> blocks_;
};

}  // namespace bitspike
