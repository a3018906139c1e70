"""Operations of a decision that are not additions over synapses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bitspike.ops.operators import Operator
from bitspike.packed.decisions import Array


@dataclass(frozen=True)
class Operations:
    """Means over inputs: products of grey levels and weights, where pixels enter as numbers; updates of neurons.

    `neuron_updates`: of leaky integrate-and-fire neurons; `srm_updates`: of spike response neurons.
    """

    input_macs: float = 0.0
    neuron_updates: float = 0.0
    srm_updates: float = 0.0

    def __add__(self, other: Operations) -> Operations:
        return Operations(
            self.input_macs + other.input_macs,
            self.neuron_updates + other.neuron_updates,
            self.srm_updates + other.srm_updates,
        )

    def times(self, factor: int) -> Operations:
        """Those of `factor` equal networks."""
        return Operations(self.input_macs * factor, self.neuron_updates * factor, self.srm_updates * factor)


def products(first: Operator, images: Array) -> float:
    """Grey levels above 0 times the weights they meet, of images uint8 `(n, pixels)` that enter by `first`."""
    active = (images > 0).mean(axis=0, dtype=np.float64)
    return float(active @ first.fan_out().astype(np.float64))


def updates(operators: Sequence[Operator], n_steps: int) -> float:
    """Neurons of all layers, each updated in each of `n_steps`."""
    return float(n_steps * sum(op.n_out for op in operators))
