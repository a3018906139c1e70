// Packed inference of leaky integrate-and-fire neurons: the prepared network, and its run.
#pragma once
#include "common/isa.hpp"
#include "lif/neuron.hpp"
#include "packed/engine.hpp"
#include "packed/trains/network.hpp"

namespace bitspike::packed::lif {

using trains::Inputs;
using trains::Kind;
using trains::Synapses;

struct Layer : Synapses {
    bitspike::lif::Lif lif;
    float threshold;
    float least;  // a constant current below it can never make a neuron fire
};

struct Network {
    const Layer* layers;
    int n_layers, n_in, n_classes, n_steps;
};

using Kernels = Engine<Network, Inputs, Outputs>;

BITSPIKE_VARIANTS(const Kernels&, kernels);

}  // namespace bitspike::packed::lif
