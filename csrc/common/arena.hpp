// Memory for kernel files.
#pragma once
#include <cstddef>
#include <cstring>
#include <new>

namespace bitspike {
namespace {

// Hands out memory, or with a null base only counts it.
struct Arena {
    char* base;
    std::size_t used = 0;
    template <class T>
    T* take(std::size_t n) {
        T* here = base ? reinterpret_cast<T*>(base + used) : nullptr;
        used += (n * sizeof(T) + 63) / 64 * 64;
        return here;
    }
};

// What a `Scratch` made from these takes of an arena.
template <class Scratch, class... From>
std::size_t bytes_of(const From&... from) {
    Arena counted{nullptr};
    Scratch(from..., counted);
    return counted.used;
}

// An array of plain numbers or vectors, aligned to 64 bytes.
template <class T>
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(std::size_t n) {  // zeros
        grow(n);
        std::memset(static_cast<void*>(data_), 0, n * sizeof(T));
    }
    ~Buffer() { ::operator delete(data_, std::align_val_t{64}); }
    Buffer(const Buffer&) = delete;

    // Space for n items; what was there is lost where there was less space.
    T* grow(std::size_t n) {
        if (n > size_) {
            ::operator delete(data_, std::align_val_t{64});
            data_ = nullptr;
            size_ = 0;
            data_ = static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t{64}));
            size_ = n;
        }
        return data_;
    }
    T& operator[](std::size_t k) { return data_[k]; }
    T* data() { return data_; }

  private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace
}  // namespace bitspike
