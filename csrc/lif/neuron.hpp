// The constants of leaky integrate-and-fire neurons.
#pragma once

namespace bitspike::lif {

// Of the forward pass (ops/lif/neuron.py); limit = threshold - epsilon, rate = 1 / tau_s.
struct Lif {
    float beta_m, beta_s, rate, limit;
    int refractory;
    float lateral;
};

// Of the adjoint (reference.adjoint_constants).
struct Back {
    float decay_m, decay_s, gain;
    int late, refractory;
};

}  // namespace bitspike::lif
