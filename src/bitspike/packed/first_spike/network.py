"""The packed network: what a one-bit first-spike network is, without torch and without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from bitspike.errors import UsageError
from bitspike.packed.decisions import Array

MAX_STEPS = 32766


@dataclass(frozen=True, eq=False)
class FirstSpikePackedLayer:
    """One fully connected layer; a neuron fires when its potential is greater than its threshold (strict).

    binary: `signs` uint8 `(n_in, ceil(n_out / 8))`, bit j % 8 (lowest first) of byte j // 8 is 1 where the
    weight onto neuron j is +1, 0 where it is -1; unused bits are 0. real: `weights` float32 `(n_in,
    n_out)`. `thresholds` float32 `(n_out,)`.
    """

    kind: Literal["binary", "real"]
    n_in: int
    n_out: int
    thresholds: Array
    signs: Array | None = None
    weights: Array | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("binary", "real"):
            raise UsageError(f"layer kind is {self.kind!r}; it must be 'binary' or 'real'")
        if not 1 <= self.n_in < 2**24 or not 1 <= self.n_out < 2**24:
            raise UsageError(f"layer of {self.n_in} x {self.n_out}; widths must lie between 1 and 2^24 - 1")
        _expect("thresholds", self.thresholds, np.float32, (self.n_out,))
        if not np.isfinite(self.thresholds).all():
            raise UsageError("a threshold is NaN or infinite; thresholds must be finite")
        if self.kind == "binary":
            _expect("signs", self.signs, np.uint8, (self.n_in, -(-self.n_out // 8)))
            assert self.signs is not None
            if self.n_out % 8 and (self.signs[:, -1] >> (self.n_out % 8)).any():
                raise UsageError("signs has unused bits that are not 0 at the end of a row")
        else:
            _expect("weights", self.weights, np.float32, (self.n_in, self.n_out))
            if not np.isfinite(self.weights).all():  # type: ignore[arg-type]
                raise UsageError("a weight is NaN or infinite; weights must be finite")

    @staticmethod
    def binary(positive: Array, thresholds: Array) -> FirstSpikePackedLayer:
        """A binary layer from a bool array `(n_in, n_out)`, True where the weight is +1."""
        n_in, n_out = positive.shape
        signs = np.packbits(np.asarray(positive, bool), axis=1, bitorder="little")
        return FirstSpikePackedLayer("binary", n_in, n_out, np.asarray(thresholds, np.float32), signs=signs)

    @staticmethod
    def real(weights: Array, thresholds: Array) -> FirstSpikePackedLayer:
        """A real layer from weights `(n_in, n_out)`."""
        weights = np.ascontiguousarray(weights, np.float32)
        n_in, n_out = weights.shape
        return FirstSpikePackedLayer("real", n_in, n_out, np.asarray(thresholds, np.float32), weights=weights)

    def dense(self) -> Array:
        """The weights as float32 `(n_in, n_out)`; +1 and -1 for a binary layer."""
        if self.weights is not None:
            return self.weights
        assert self.signs is not None
        bits = np.unpackbits(self.signs, axis=1, count=self.n_out, bitorder="little")
        return bits.astype(np.float32) * 2 - 1

    def fires_at(self, reach: int) -> Array:
        """The integer potential from which a binary neuron fires, floor(threshold) + 1, int64 `(n_out,)`.

        Clipped to [-reach, reach + 1], which changes nothing for potentials within [-reach, reach].
        """
        lowest = np.floor(self.thresholds.astype(np.float64)) + 1
        fires_at: Array = np.clip(lowest, -reach, reach + 1).astype(np.int64)
        return fires_at


@dataclass(frozen=True, eq=False)
class FirstSpikePacked:
    """Layers from input to output; spikes of step `n_steps` never happen; each layer adds `delay` steps (0
    or 1).
    """

    layers: tuple[FirstSpikePackedLayer, ...]
    n_steps: int
    delay: int = 0

    def __post_init__(self) -> None:
        if not self.layers:
            raise UsageError("a network needs at least one layer")
        for index, (below, above) in enumerate(zip(self.layers, self.layers[1:], strict=False), start=2):
            if below.n_out != above.n_in:
                raise UsageError(
                    f"layer {index} has {above.n_in} inputs but the layer before has {below.n_out} neurons"
                )
        if not 1 <= self.n_steps <= MAX_STEPS:
            raise UsageError(f"n_steps is {self.n_steps}; it must lie between 1 and {MAX_STEPS}")
        if self.delay not in (0, 1):
            raise UsageError(f"delay is {self.delay}; it must be 0 or 1")

    @property
    def n_in(self) -> int:
        return self.layers[0].n_in

    @property
    def n_classes(self) -> int:
        return self.layers[-1].n_out


def _expect(name: str, array: Array | None, dtype: type, shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise UsageError(f"{name} is {found}; expected {np.dtype(dtype)} {shape}")
