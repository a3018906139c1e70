// What all inference engines have.
#pragma once
#include <cstddef>
#include <cstdint>

namespace bitspike::packed {

constexpr int max_layers = 64;

// Decisions. Null pointers are results that nobody asked for.
struct Outputs {
    std::int64_t* labels;
    std::int64_t* decision_time;
    bool* silent;
    bool* tied;
    float* potentials;
    std::int64_t* n_spikes;
    std::int64_t* n_synops;
};

}  // namespace bitspike::packed
