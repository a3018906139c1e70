"""The leaky integrate-and-fire neuron with synaptic current and refractory period. Importing this needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bitspike.errors import UsageError


@dataclass(frozen=True)
class Neuron:
    """Constants of one layer; times in steps. The state (v, x) of a neuron starts at (0, 0), then for t = 1, 2, ...

        v <- v * beta_m;  x <- x * beta_s;  x <- x + I(t - 1);  v <- v + x * (1 / tau_s)
        v <- 0 where the neuron fired in t - 1 .. t - refractory
        v_pre(t) = v;  the neuron fires, and v <- 0, iff v > threshold - epsilon

    with beta = 1 - 1 / tau, in this order of operations. Nothing fires at t = 0. `lateral` w0: a spike of any other
    neuron of the layer at t - 1 adds -w0 to I(t - 1). HM2-BP specification, section 3.
    """

    threshold: float
    tau_m: float = 64.0
    tau_s: float = 8.0
    refractory: int = 2
    lateral: float = 0.0
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        for name in ("tau_m", "tau_s"):
            if not getattr(self, name) > 1:
                raise UsageError(f"network.{name} is {getattr(self, name)}; a time constant is above 1 step")
        if self.tau_m == self.tau_s:
            raise UsageError(f"network.tau_m and tau_s are both {self.tau_m}; they must differ")
        if not 0 <= self.refractory <= 63:
            raise UsageError(f"network.refractory is {self.refractory}; give 0 to 63 steps")
        if not self.threshold > self.epsilon >= 0:
            raise UsageError(
                f"a threshold is {self.threshold} with epsilon {self.epsilon}; thresholds are positive and larger"
            )
        if self.lateral < 0:
            raise UsageError(f"network.lateral is {self.lateral}; inhibition is given as a number from 0 up")

    @property
    def beta_m(self) -> float:
        return 1 - 1 / self.tau_m

    @property
    def beta_s(self) -> float:
        return 1 - 1 / self.tau_s

    @property
    def limit(self) -> np.float32:
        """What v must exceed to fire: threshold - epsilon, both rounded to float32 first."""
        return np.float32(self.threshold) - np.float32(self.epsilon)

    @property
    def constants(self) -> tuple[float, float, float, float, int, float]:
        """What the kernels take: beta_m, beta_s, 1/tau_s, `limit`, refractory, lateral."""
        return self.beta_m, self.beta_s, 1 / self.tau_s, float(self.limit), self.refractory, self.lateral
