// Packed one-bit inference of first spikes: the prepared network, and its run.
#pragma once
#include <cstddef>
#include <cstdint>

#include "common/isa.hpp"
#include "packed/engine.hpp"

namespace bitspike::packed::first_spike {

enum class Kind { binary, real, narrow_output };

struct Layer {
    Kind kind;
    int n_in, n_out;
    int words;                  // 64-bit words that hold n_out bits
    int stride;                 // words per row, a multiple of 8 (64 bytes)
    const std::uint64_t* signs; // (n_in + 1, stride), bit 1 = +1; the last row is all zero
    const std::uint64_t* all;   // (stride): one bit per neuron that exists
    const std::int8_t* half[2]; // (64 stride): fires when P - floor(n / 2) >= half[n & 1]
    const std::int32_t* fires_at;  // (64 stride): fires when U = 2 P - n >= fires_at
    const float* thresholds;       // (n_out, padded to 16)
    const float* weights;          // (n_in, real_stride)
    int real_stride;
    const std::int16_t* rows16;      // narrow_output: (n_in, 16) of +1, -1, 0
    const std::uint64_t* columns;    // narrow_output: (words of n_in, 16): the inputs with +1, per neuron
    const std::int16_t* fires_at16;  // narrow_output: (16)
};

struct Network {
    const Layer* layers;
    int n_layers, n_in, n_classes, n_steps, delay;
    bool counts_bits;       // the machine counts the bits of vectors (AVX-512 VPOPCNTDQ)
    bool fires_unprompted;  // a threshold below 0: some neuron fires in step 0 without a spike
};

// Pixels in descending levels: level k holds the pixels lowest[k]..highest[k] and spikes in step time[k].
struct Levels {
    int n;
    int dimmest;  // pixels below it never spike; 256: none does
    std::uint8_t rank[256], lowest[256], highest[256];
    std::int32_t time[256];
};

struct Inputs {
    const std::uint8_t* images;  // (n, n_in) or null
    const Levels* levels;        // with images
    const std::int16_t* times;   // (n, n_in) or null
};

using Kernels = Engine<Network, Inputs, Outputs>;

BITSPIKE_VARIANTS(const Kernels&, kernels);

}  // namespace bitspike::packed::first_spike
