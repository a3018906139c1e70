"""Packed layers of spike response neurons, and the stack that they make with the readout of the last one."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitspike.errors import UsageError
from bitspike.ops.operators import Conv, Dense
from bitspike.ops.srm.neuron import SRMNeuron
from bitspike.packed.decisions import Array
from bitspike.packed.lif.layers import check_weights
from bitspike.packed.weights import LARGEST, Reals, Signs, Weights
from bitspike.packed.window import MAX_WIDTH, Constant, WindowPacked


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


@dataclass(frozen=True, eq=False)
class SRMStack(WindowPacked):
    """Layers from input to output over a window of `n_steps`, and the readout of the last one.

    `readout` of shape `(n_out, K)` and `readout_bias` `(K,)`. One readout (K = 1): its sigmoid is the probability of
    the second of two classes, or the value of a regression (`outputs` 1). More: one per class, their softmax.
    `coding` as in `WindowPacked`, but no constant current. Steps before `burn_in` do not count.
    """

    layers: tuple[SRMPackedLayer, ...]
    neuron: SRMNeuron
    readout: Signs
    readout_bias: Signs
    burn_in: int
    n_steps: int
    outputs: int
    coding: Any = None

    def __post_init__(self) -> None:
        if not self.layers:
            raise UsageError("a network needs at least one layer")
        for index, (below, above) in enumerate(itertools.pairwise(self.layers), start=2):
            if below.n_out != above.operator.n_in:
                raise UsageError(
                    f"layer {index} has {above.operator.n_in} inputs but the layer before has {below.n_out} neurons"
                )
        self.check_window()
        if not 0 <= self.burn_in < self.n_steps:
            raise UsageError(f"burn_in is {self.burn_in}; it must lie between 0 and {self.n_steps - 1}")
        if isinstance(self.coding, Constant):
            raise UsageError(
                "these neurons take spikes, not a constant current; use coding Poisson for images"
            )
        if not 1 <= self.n_readouts <= MAX_WIDTH:
            raise UsageError(f"n_readouts is {self.n_readouts}; it must lie between 1 and {MAX_WIDTH}")
        if self.n_classes not in ((1, 2) if self.n_readouts == 1 else (self.n_readouts,)):
            raise UsageError(f"{self.n_readouts} readouts do not make {self.n_classes} classes")
        if self.readout.shape != (self.n_out, self.n_readouts):
            raise UsageError(f"readout is {self.readout.shape}; expected ({self.n_out}, {self.n_readouts})")

    @property
    def n_out(self) -> int:
        """Neurons of the last layer, which the readouts read."""
        return self.layers[-1].n_out

    @property
    def n_classes(self) -> int:
        """Outputs; 1 of a regression."""
        return self.outputs

    @property
    def n_readouts(self) -> int:
        """K."""
        return self.readout_bias.n

    @property
    def regression(self) -> bool:
        """Is the decision a value?"""
        return self.n_classes == 1

    @property
    def readout_scale(self) -> np.float32:
        """c_ro = 1/sqrt(n_out), rounded to float32."""
        return np.float32(1 / math.sqrt(self.n_out))
