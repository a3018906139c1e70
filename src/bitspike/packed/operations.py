"""Operations of a decision that are not additions over synapses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bitspike.ops.operators import Operator
from bitspike.packed.decisions import Array


@dataclass(frozen=True)
class Operations:
    """Means over inputs: products of the input where it enters as a constant current, and updates of neurons."""

    input_macs: float = 0.0
    neuron_updates: float = 0.0

    def __add__(self, other: Operations) -> Operations:
        return Operations(self.input_macs + other.input_macs, self.neuron_updates + other.neuron_updates)

    def times(self, factor: int) -> Operations:
        """Those of `factor` equal networks."""
        return Operations(self.input_macs * factor, self.neuron_updates * factor)


def of_window(operators: Sequence[Operator], n_steps: int, images: Array | None = None) -> Operations:
    """Operations of a network whose neurons are updated in each of `n_steps`.

    `images` uint8 `(n, pixels)`: those that enter as a constant current; None where the input spikes.
    """
    macs = 0.0
    if images is not None:
        active = (images > 0).mean(axis=0, dtype=np.float64)
        macs = float(active @ operators[0].fan_out().astype(np.float64))
    return Operations(macs, float(n_steps * sum(op.n_out for op in operators)))
