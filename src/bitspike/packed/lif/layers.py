"""Packed layers of leaky integrate-and-fire neurons, and the stack that they make."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitspike.errors import UsageError
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.operators import Operator
from bitspike.packed.decisions import Array
from bitspike.packed.weights import LARGEST, Reals, Weights
from bitspike.packed.window import MAX_WIDTH, WindowPacked


@dataclass(frozen=True, eq=False)
class LIFPackedLayer:
    """An operator, its weights in its `weight_shape` (of a pool None: every weight is 1), and the neurons behind it."""

    operator: Operator
    weights: Weights | None
    neuron: Neuron

    def __post_init__(self) -> None:
        check_weights(self.operator, self.weights)
        n = self.neuron
        for name in ("threshold", "tau_m", "tau_s", "lateral", "epsilon"):
            if not getattr(n, name) <= LARGEST:
                raise UsageError(f"{name} is {getattr(n, name)}; at most {LARGEST:g}")
        if not np.float32(n.threshold) > 0:
            raise UsageError(f"threshold is {n.threshold}; it must be above 0 in float32 too")

    @property
    def kind(self) -> str:
        """binary, real or pool."""
        return "pool" if self.weights is None else self.weights.kind

    def dense(self) -> Array | None:
        """The weights as float32 in the operator's shape; None for a pool."""
        return None if self.weights is None else self.weights.dense()


def check_weights(op: Operator, weights: Weights | None) -> None:
    """Refuse, with `UsageError`, weights that are not those of an operator."""
    shape = op.weight_shape
    if not (1 <= op.n_in <= MAX_WIDTH and 1 <= op.n_out <= MAX_WIDTH):
        raise UsageError(f"a layer is {op.n_in} x {op.n_out}; widths must lie between 1 and {MAX_WIDTH}")
    if shape is not None and math.prod(shape) >= 2**31:
        raise UsageError(f"weights of shape {shape} are too many; at most 2^31 - 1")
    found = None if weights is None else weights.shape
    if found != shape:
        raise UsageError(f"weights have shape {found}; the operator, a {type(op).__name__}, needs {shape}")
    if isinstance(weights, Reals):
        weights.require_at_most(LARGEST, "a weight")


@dataclass(frozen=True, eq=False)
class LIFStack(WindowPacked):
    """Layers from input to output over a window of `n_steps`; only the last one may have lateral inhibition."""

    layers: tuple[LIFPackedLayer, ...]
    n_steps: int
    coding: Any = None

    def __post_init__(self) -> None:
        if not self.layers:
            raise UsageError("a network needs at least one layer")
        for index, (below, above) in enumerate(itertools.pairwise(self.layers), start=2):
            if below.operator.n_out != above.operator.n_in:
                raise UsageError(
                    f"layer {index} has {above.operator.n_in} inputs but the layer before has "
                    f"{below.operator.n_out} neurons"
                )
            if below.neuron.lateral:
                raise UsageError(f"layer {index - 1} has lateral inhibition; only the last layer may have it")
        self.check_window()

    @property
    def n_classes(self) -> int:
        """Outputs."""
        return self.layers[-1].operator.n_out
