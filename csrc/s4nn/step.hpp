// S4NN and BS4NN training step, event-driven: cost grows with spikes, not with time steps.
// Equation and section numbers are those of docs/methods/s4nn.md. Weights are row-major (n_in, n_out): one input spike
// adds one contiguous row to the potentials of all neurons. All results are the same for every instruction set and thread
// count: additions to one potential always happen in event order, and threads own disjoint samples or columns.
#pragma once
#include <cstdint>
#include <vector>

#include "s4nn/kernels.hpp"

namespace bitspike::s4nn {

struct Layer {
    float* w;     // (n_in, n_out)
    float* grad;  // same shape, or null: the gradient is added here and the weights stay
    int n_in, n_out;
    double theta, eta;
};

struct Settings {
    int n_steps, delay, gamma;
    double decay, mu;
    float clip;  // infinity: none; online only, a batch is clipped by its caller
    bool binary, normalise, post, early_target, online, early_stop;
    int threads;
};

struct Result {
    double loss = 0;
    int64_t n_correct = 0, n_error = 0;
    std::vector<int64_t> fired;  // per layer, as far as samples were followed
};

// Steps over `n` samples; inputs (n, layers[0].n_in), alpha (layers), fired (sum of hidden widths; saturates at quota),
// times_out: per layer null or (n, n_out).
Result step(const int16_t* inputs, const int64_t* labels, std::size_t n, const std::vector<Layer>& layers, double* alpha,
            int32_t* fired, int32_t quota, const std::vector<int16_t*>& times_out, const Settings& settings,
            const Kernels& kernels);

// Backward pass of layer_times with dt/dV = -1: delta (n, n_out) is dLoss/dV at the crossing. Adds sum_b delta_j M_ij to
// grad (n_in, n_out) and writes sum_j delta_j w_ij M_ij to below (n, n_in); either may be null.
void layer_backward(const int16_t* inputs, const int16_t* times, const float* delta, std::size_t n, const float* w, int n_in,
                    int n_out, int n_steps, int delay, int threads, const Kernels& kernels, float* grad, float* below);

// First-spike times of one layer of real weights with a threshold per neuron: (n, n_in) -> (n, n_out).
void layer_times(const int16_t* inputs, std::size_t n, const float* w, int n_in, int n_out, const float* threshold,
                 int n_steps, int delay, int threads, const Kernels& kernels, int16_t* times);

}  // namespace bitspike::s4nn
