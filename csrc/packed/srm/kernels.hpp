// Packed inference of BiSNN: the prepared network, and its run. The numbers are those of
// bitspike/packed/srm/reference.py, bit for bit.
#pragma once
#include "common/isa.hpp"
#include "packed/engine.hpp"
#include "packed/trains/network.hpp"

namespace bitspike::packed::srm {

using trains::Inputs;
using trains::Synapses;

struct Layer {
    Synapses synapses;         // n_out and ids count the neurons before pooling
    float scale;               // c
    const float* bias;         // (lanes); minus infinity where there is no neuron
    const std::int32_t* pools; // (lanes): the neuron after pooling, -1 for none; null without pooling
    int n_out;                 // neurons after pooling
};

struct Network {
    const Layer* layers;
    int n_layers, n_in, n_steps, burn_in, n_readouts;
    float alpha, beta, gamma;
    Synapses readout;  // of the last layer's spikes; n_out is n_readouts
    const float* offset;  // (lanes of the readout)
    float readout_scale;
};

// Null pointers are results that nobody asked for.
struct Outputs {
    float* probabilities;  // (n, n_readouts): means from burn_in to the end
    float* over_time;      // (n, n_steps - burn_in, n_readouts): means up to each step
    std::int64_t* n_spikes;
    std::int64_t* n_synops;
};

using Kernels = Engine<Network, Inputs, Outputs>;

BITSPIKE_VARIANTS(const Kernels&, kernels);

}  // namespace bitspike::packed::srm
