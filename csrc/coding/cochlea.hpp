// The kernel of the cochlea.
#pragma once
#include <cstddef>

#include "common/isa.hpp"

namespace bitspike::cochlea {

constexpr int kLanes = 8, kStages = 4;

struct Ear {
    const double* sections;  // (n_sections, 6)
    int n_sections, front, decimation, delay;
    const float *charge, *spread;  // (kStages)
    float limit, keep, scale;
};

// Up to eight sounds, `samples` each; frames of sound l go to out[l], (samples / decimation, channels).
using Hear = void (*)(const Ear&, const double* const* sounds, int lanes, std::size_t samples, float* const* out);

BITSPIKE_VARIANTS(Hear, hear);

}  // namespace bitspike::cochlea
