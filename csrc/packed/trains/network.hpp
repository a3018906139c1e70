// Synapses and inputs of packed networks of spike trains.
#pragma once
#include <cstddef>
#include <cstdint>

namespace bitspike::packed::trains {

// signs: a bit per synapse, dense. narrow: at most 16 binary outputs, dense. rows: floats; dense is a map of 1 x 1.
enum class Kind { signs, narrow, rows, pool };

// A lane is a neuron with its place in memory: places (dense: one) hold `depth` lanes each, a multiple of 16.
struct Synapses {
    Kind kind;
    int n_in, n_out;
    int height, width, channels, size, padding, out_height, out_width;  // rows and pool
    int depth, lanes;
    int stride;                  // words per row of signs, a multiple of 8
    const std::uint64_t* signs;  // (n_in + 1, stride), bit 1 = +1; the last row is all zero
    const std::int16_t* narrow;  // (n_in, 16) of +1, -1, 0
    const float* rows;           // (channels, size, size, depth), the columns of the kernel from right to left
    const std::uint32_t* ids;    // (lanes): the neuron
    const std::int32_t* fan_out; // (n_in)
    int fan_out_each;            // that of every input, or -1 where they differ
};

// Images as a constant current, images as drawn trains, or lists of spikes; null pointers are what is not given.
struct Inputs {
    const std::uint8_t* images;  // (n, n_pixels)
    int n_pixels;
    double scale;                // current of a grey level
    const std::int32_t* limits;  // (sides, 256): trains are drawn; see coding/poisson.py
    int sides;
    const std::int16_t* steps;
    const std::int32_t* channels;
    const std::int64_t* offsets;  // (n + 1)
};

}  // namespace bitspike::packed::trains
