"""The neuron of BiSNN: spike response model with one trace per input. Importing this needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bitspike.errors import UsageError


@dataclass(frozen=True)
class SRMNeuron:
    """Time constants in steps: membrane, synapse, refractoriness. BiSNN specification, equations (1) to (5).

    P(t) = alpha P(t-1) + Q(t-1),  Q(t) = beta Q(t-1) + x(t)     per input
    R(t) = gamma R(t-1) + S(t-1)                                 per neuron
    U(t) = c (W P(t) + b) - R(t),  S(t) = [U(t) >= 0]            c = 1/sqrt(fan-in)
    with alpha = exp(-1/tau_mem), beta = exp(-1/tau_syn), gamma = exp(-1/tau_ref). All states start at 0, so a neuron
    without bias spikes in step 0, and an input spike acts from the next step on.
    """

    tau_mem: float = 10.0
    tau_syn: float = 6.0
    tau_ref: float = 2.0

    def __post_init__(self) -> None:
        for name in ("tau_mem", "tau_syn", "tau_ref"):
            value = getattr(self, name)
            if not 0 < value <= 1e6:  # NaN fails
                raise UsageError(f"{name} is {value}; a time constant in steps, above 0 and at most 1e6")

    @property
    def alpha(self) -> float:
        return math.exp(-1 / self.tau_mem)

    @property
    def beta(self) -> float:
        return math.exp(-1 / self.tau_syn)

    @property
    def gamma(self) -> float:
        return math.exp(-1 / self.tau_ref)
