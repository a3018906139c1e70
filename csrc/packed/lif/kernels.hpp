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

struct Kernels {
    // Bytes of scratch memory (aligned to 64) that one part of a run needs; its content does not matter.
    std::size_t (*scratch_bytes)(const Network&, const Inputs&);
    // Decides samples begin..end; returns -1, or the first sample whose list has a spike outside the window or twice.
    std::int64_t (*run)(const Network&, const Inputs&, const Outputs&, std::size_t begin, std::size_t end, char* scratch);
};

BITSPIKE_VARIANTS(const Kernels&, kernels);

}  // namespace bitspike::packed::lif
