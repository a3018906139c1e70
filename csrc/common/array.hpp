// Arrays from and to Python: checked on the way in, owned by numpy on the way out.
#pragma once
#include <nanobind/ndarray.h>

#include <cstddef>
#include <initializer_list>
#include <new>
#include <optional>

#include "common/require.hpp"

namespace bitspike {

namespace nb = nanobind;

template <class T, int Dims>
using In = nb::ndarray<const T, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;
template <class T, int Dims>
using InOut = nb::ndarray<T, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;
template <class T>
using Out = nb::ndarray<nb::numpy, T>;
// A result that is written to where it was asked for; of any shape.
template <class T>
using Result = std::optional<nb::ndarray<T, nb::c_contig, nb::device::cpu>>;

// Where to write a result of n items; null where nobody asked for it.
template <class T>
T* data_of(const Result<T>& result, std::size_t n) {
    if (!result) return nullptr;
    require(result->size() == n, "a result array has a wrong size");
    return result->data();
}

// An uninitialised array that numpy frees; 64-byte aligned.
template <class T>
Out<T> make(std::initializer_list<std::size_t> shape) {
    std::size_t items = 1;
    for (std::size_t n : shape) items *= n;
    T* data = static_cast<T*>(::operator new(items * sizeof(T) + 64, std::align_val_t{64}));
    nb::capsule owner(data, [](void* p) noexcept { ::operator delete(p, std::align_val_t{64}); });
    return Out<T>(data, shape, owner);
}

}  // namespace bitspike
