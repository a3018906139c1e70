"""Packed layers of neurons that fire at most once, and the stack that they make."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from bitspike.errors import UsageError
from bitspike.ops.operators import Dense
from bitspike.packed.base import Demand
from bitspike.packed.decisions import Array
from bitspike.packed.images import ImagePacked
from bitspike.packed.weights import LARGEST, Reals, Signs, Weights

MAX_STEPS = 32766


@dataclass(frozen=True, eq=False)
class FirstSpikePackedLayer:
    """One fully connected layer; a neuron fires when its potential is greater than its threshold (strict).

    `weights` of shape `(n_in, n_out)`; `thresholds` float32 `(n_out,)`.
    """

    operator: Dense
    weights: Weights
    thresholds: Array

    def __post_init__(self) -> None:
        if not 1 <= self.n_in < 2**24 or not 1 <= self.n_out < 2**24:
            raise UsageError(f"layer of {self.n_in} x {self.n_out}; widths must lie between 1 and 2^24 - 1")
        if self.weights.shape != self.operator.weight_shape:
            raise UsageError(
                f"weights have shape {self.weights.shape}; expected {self.operator.weight_shape}"
            )
        levels = self.thresholds
        if not isinstance(levels, np.ndarray) or levels.dtype != np.float32 or levels.shape != (self.n_out,):
            raise UsageError(f"thresholds are not a float32 array of shape ({self.n_out},)")
        if not np.isfinite(levels).all():
            raise UsageError("a threshold is NaN or infinite; thresholds must be finite")
        if float(np.abs(levels).max()) > LARGEST:
            raise UsageError(f"a threshold is larger than {LARGEST:g}")
        if isinstance(self.weights, Reals):
            self.weights.require_at_most(LARGEST, "a weight")

    @staticmethod
    def binary(positive: Array, thresholds: Array) -> FirstSpikePackedLayer:
        """A binary layer from a bool array `(n_in, n_out)`, True where the weight is +1."""
        signs = Signs.of(positive)
        return FirstSpikePackedLayer(Dense(*signs.shape), signs, np.asarray(thresholds, np.float32))

    @staticmethod
    def real(weights: Array, thresholds: Array) -> FirstSpikePackedLayer:
        """A real layer from weights `(n_in, n_out)`."""
        reals = Reals(np.ascontiguousarray(weights, np.float32))
        return FirstSpikePackedLayer(Dense(*reals.shape), reals, np.asarray(thresholds, np.float32))

    @property
    def kind(self) -> str:
        """binary or real."""
        return self.weights.kind

    @property
    def n_in(self) -> int:
        """Inputs."""
        return self.operator.n_in

    @property
    def n_out(self) -> int:
        """Neurons."""
        return self.operator.n_out

    def fires_at(self, reach: int) -> Array:
        """The integer potential from which a binary neuron fires, floor(threshold) + 1, int64 `(n_out,)`.

        Clipped to [-reach, reach + 1], which changes nothing for potentials within [-reach, reach].
        """
        lowest = np.floor(self.thresholds.astype(np.float64)) + 1
        fires_at: Array = np.clip(lowest, -reach, reach + 1).astype(np.int64)
        return fires_at


@dataclass(frozen=True, eq=False)
class LayerStack(ImagePacked):
    """Layers from input to output."""

    layers: tuple[FirstSpikePackedLayer, ...]

    def __post_init__(self) -> None:
        if not self.layers:
            raise UsageError("a network needs at least one layer")
        for index, (below, above) in enumerate(itertools.pairwise(self.layers), start=2):
            if below.n_out != above.n_in:
                raise UsageError(
                    f"layer {index} has {above.n_in} inputs but the layer before has {below.n_out} neurons"
                )

    @property
    def n_in(self) -> int:
        """Input neurons."""
        return self.layers[0].n_in

    @property
    def n_classes(self) -> int:
        """Outputs."""
        return self.layers[-1].n_out

    def sizes(self) -> dict[str, int]:
        """Synapses, their bits, thresholds."""
        return {
            "synapses": sum(layer.weights.n for layer in self.layers),
            "synapse_bits": sum(layer.weights.n * layer.weights.bits_each for layer in self.layers),
            "thresholds": sum(layer.n_out for layer in self.layers),
        }


@dataclass(frozen=True, eq=False)
class FirstSpikeStack(LayerStack):
    """Spikes of step `n_steps` never happen; each layer adds `delay` steps (0 or 1)."""

    n_steps: int
    delay: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.n_steps <= MAX_STEPS:
            raise UsageError(f"n_steps is {self.n_steps}; it must lie between 1 and {MAX_STEPS}")
        if self.delay not in (0, 1):
            raise UsageError(f"delay is {self.delay}; it must be 0 or 1")

    @property
    def demand(self) -> Demand:
        """Every layer's synapses, a neuron's row filled up to 512."""
        return Demand(synapses=sum(layer.n_in * -(-layer.n_out // 512) * 512 for layer in self.layers))

    @property
    def one_bit(self) -> bool:
        """Do all synapses hold one bit?"""
        return all(layer.kind == "binary" for layer in self.layers)
