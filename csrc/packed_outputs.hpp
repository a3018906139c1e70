// Where the packed engines write their decisions.
#pragma once
#include <cstddef>
#include <cstdint>
#include <stdexcept>

namespace bitspike {

// Null pointers are results that nobody asked for.
struct Outputs {
    std::int64_t* labels;
    std::int64_t* decision_time;
    bool* silent;
    bool* tied;
    float* potentials;
    std::int64_t* n_spikes;
    std::int64_t* n_synops;
};

// The memory of the results that were asked for, arrays for n decisions among `classes`; each is optional.
template <class Longs, class Bools, class Floats>
Outputs outputs(std::size_t n, int classes, const Longs& labels, const Longs& decision_time, const Bools& silent,
                const Bools& tied, const Floats& potentials, const Longs& n_spikes, const Longs& n_synops) {
    const auto at = [n](const auto& array, std::size_t width) {
        if (!array) return static_cast<decltype(array->data())>(nullptr);
        if (array->size() != n * width) throw std::invalid_argument("a result array has a wrong size");
        return array->data();
    };
    const std::size_t c = static_cast<std::size_t>(classes);
    return {at(labels, 1), at(decision_time, 1), at(silent, 1), at(tied, c), at(potentials, c), at(n_spikes, 1), at(n_synops, 1)};
}

}  // namespace bitspike
