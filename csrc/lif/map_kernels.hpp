// Kernels of spike trains on maps: convolution and pooling, one sample at a time, straight from and to bits.
//
// Neurons of a map are numbered channels last. Inside a kernel a position's channels are padded to whole vectors of 16
// floats ("groups"), so that what a spike touches - the taps of one kernel row - is one contiguous run.
#pragma once
#include <cstddef>
#include <cstdint>

#include "common/isa.hpp"
#include "lif/neuron.hpp"

namespace bitspike::lif::map {

// Where one input neuron acts: the outputs that it reaches and the taps that it meets, both ascending.
struct Reach {
    std::int32_t out, tap;  // offsets, in floats, of the first output and the first tap
    std::int32_t rows, run; // kernel rows met; floats per row
};

// One layer: geometry, and where each input goes. Pooling has stride = size and no reach.
struct Map {
    int height, width, channels, n_filters, size, stride, out_height, out_width;
    int positions, groups, row;  // outputs; vectors and floats per position
    int n_steps, n_in, n_out, in_words, out_words;
    std::size_t out_stride, tap_stride, n_taps;  // floats per row of outputs, per kernel row, of all taps
    const Reach* reach;                          // (n_in)
};

// Spikes of one sample, `n_steps` rows of words, and the scales that go with R.
struct Sample {
    const std::uint64_t *in, *out;
    const float *weight_scale, *error_scale;  // (n_out), or null
    float* error;                             // (n_in), zero on entry, or null
};

struct Outcome {
    std::uint64_t* spikes;
    float *counts, *tpsp, *membrane;  // (n_out)
};

// Working memory of a thread.
struct Memory {
    float* floats;         // (max(7 * positions * row, 64 * n_steps))
    std::uint64_t* words;  // (max(out_words, n_steps + refractory))
};

struct Kernels {
    // `taps`: [kernel row, reversed][channel][kernel column, reversed][filter, padded].
    void (*conv_forward)(const Map&, const Lif&, const float* taps, const std::uint64_t* in, const Outcome&, const Memory&);
    // Adds to `d_taps`, laid out like `taps`, where it is not null.
    void (*conv_backward)(const Map&, const Back&, int bin, const float* taps, const Sample&, float* d_taps, const Memory&);
    // a = sum over t of R(t) I(t), (n_out).
    void (*conv_tpsp)(const Map&, const Back&, const float* taps, const Sample&, float* a, const Memory&);
    void (*pool_forward)(const Map&, const Lif&, const std::uint64_t* in, const Outcome&, const Memory&);
    void (*pool_backward)(const Map&, const Back&, int bin, const Sample&, const Memory&);
    void (*pool_tpsp)(const Map&, const Back&, const Sample&, float* a, const Memory&);
};

BITSPIKE_VARIANTS(const Kernels&, kernels);

}  // namespace bitspike::lif::map
