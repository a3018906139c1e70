"""A packed layer of spike response neurons."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bitspike.errors import UsageError
from bitspike.ops.operators import Conv, Dense
from bitspike.packed.decisions import Array
from bitspike.packed.lif.layer import check_weights
from bitspike.packed.weights import Reals, Weights
from bitspike.packed.window import LARGEST


@dataclass(frozen=True, eq=False)
class SRMPackedLayer:
    """A dense layer or a convolution, its weights and biases, and max-pooling of its potentials by `pool` x `pool`.

    `weights` in the operator's `weight_shape`, real ones on a grid on which all their sums are exact; `bias` of the
    same kind `(c,)`, c the output neurons (filters), or None.
    """

    operator: Dense | Conv
    weights: Weights
    bias: Weights | None = None
    pool: int = 1

    def __post_init__(self) -> None:
        check_weights(self.operator, self.weights)
        self.operator.pooled(self.pool)
        if isinstance(self.weights, Reals):
            self.weights.require_exact()
        if self.bias is None:
            return
        if self.bias.kind != self.kind:
            raise UsageError(f"a layer of kind {self.kind!r} has biases of the other kind")
        if self.bias.shape != (self.channels,):
            raise UsageError(f"biases have shape {self.bias.shape}; expected ({self.channels},)")
        if isinstance(self.bias, Reals):
            self.bias.require_at_most(LARGEST, "a bias")

    @property
    def kind(self) -> str:
        """binary or real."""
        return self.weights.kind

    @property
    def channels(self) -> int:
        """Output neurons of a dense layer, filters of a convolution; each has one bias."""
        return self.operator.weight_shape[-1]

    @property
    def n_out(self) -> int:
        """Neurons after pooling, those whose spikes go on."""
        return self.operator.pooled(self.pool)

    @property
    def scale(self) -> np.float32:
        """c = 1/sqrt(fan-in), rounded to float32."""
        return np.float32(1 / math.sqrt(math.prod(self.operator.weight_shape[:-1])))

    @property
    def n_synapses(self) -> int:
        """Stored weights and biases; those of a convolution are shared."""
        return self.weights.n + (0 if self.bias is None else self.bias.n)

    def biases(self) -> Array:
        """float32 `(c,)`; zeros where there are none."""
        return np.zeros(self.channels, np.float32) if self.bias is None else self.bias.dense()
