// The kernel of the event camera.
#pragma once
#include <cstdint>

#include "common/isa.hpp"

namespace bitspike::event_camera {

// Neighbouring pixels at one instant.
struct Row {
    int n;
    const std::uint8_t *upper, *lower;  // n + 1 intensities each
    int weights[4];                     // upper, upper + 1, lower, lower + 1: 65536 together
    const std::int32_t* log;            // of a level, 1/16 of an intensity
    const std::int32_t *reported, *on, *off;
    std::int32_t *level, *now;  // results: level; log intensity
    std::uint8_t* fires;        // result: whether it is away from `reported` by a threshold
};

using Look = void (*)(const Row&);
BITSPIKE_VARIANTS(Look, look);

}  // namespace bitspike::event_camera
