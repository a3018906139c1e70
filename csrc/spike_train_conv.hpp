// Kernels of spike trains on maps: convolution and pooling, one sample at a time, straight from and to bits.
//
// Neurons of a map are numbered channels last. Inside a kernel a position's channels are padded to whole vectors of 16
// floats ("groups"), so that what a spike touches - the taps of one kernel row - is one contiguous run.
// `spike_train_conv.inl` is compiled once per instruction set; all of them do the same arithmetic in the same order.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "cpu.hpp"

namespace bitspike::spike_train_conv {

constexpr int kLanes = 16;

// A place in memory for one input neuron: the outputs that it reaches and the taps that it meets, both ascending.
struct Reach {
    std::int32_t out, tap;   // offsets, in floats, of the first output and the first tap
    std::int32_t rows, run;  // kernel rows met; floats per row
};

// One layer: geometry, and where each input goes. Pooling has stride = size and no reach.
struct Map {
    int height, width, channels, n_filters, size, stride, out_height, out_width;
    int groups, row;  // vectors and floats per output position
    int n_steps, n_in, n_out, in_words, out_words;
    std::size_t out_stride, tap_stride, n_taps;  // floats per row of outputs, per kernel row, of all taps
    std::vector<Reach> reach;

    int positions() const { return out_height * out_width; }
    std::size_t padded() const { return static_cast<std::size_t>(positions()) * row; }
    int lanes(int group) const { return group + 1 < groups ? kLanes : n_filters - kLanes * (groups - 1); }
};

struct Neuron {
    float limit, beta_m, beta_s, rate;
    int refractory;
};

struct Adjoint {
    float decay_m, decay_s, gain;
    int late, refractory, bin;
};

// Spikes of one sample, `n_steps` rows of words; and what goes with them.
struct Sample {
    const std::uint64_t* in;
    const std::uint64_t* out;
    const float* weight_scale;  // (n_out), or null
    const float* error_scale;   // (n_out), or null
    float* error;               // (n_in), zero on entry, or null
};

struct Outcome {
    std::uint64_t* spikes;
    float *counts, *tpsp, *membrane;  // (n_out)
};

// Zeroed, 64-byte aligned floats, reused from sample to sample.
class Scratch {
  public:
    float* zeros(std::size_t n);

  private:
    struct Free {
        void operator()(float* p) const { ::operator delete(p, std::align_val_t{64}); }
    };
    std::unique_ptr<float, Free> data_;
    std::size_t size_ = 0;
};

struct Kernels {
    // `taps`: [kernel row, reversed][channel][kernel column, reversed][filter, padded]; null for pooling.
    void (*forward)(const Map&, const Neuron&, const float* taps, const std::uint64_t* in, const Outcome&, Scratch&);
    // Adds to `d_taps`, laid out like `taps`, where it is not null.
    void (*backward)(const Map&, const Adjoint&, const float* taps, const Sample&, float* d_taps, Scratch&);
    // a = sum over t of R(t) I(t), (n_out).
    void (*tpsp)(const Map&, const Adjoint&, const float* taps, const Sample&, float* a, Scratch&);
};

const Kernels& kernels_portable();
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();

}  // namespace bitspike::spike_train_conv
