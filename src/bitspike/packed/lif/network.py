"""The packed network of spike trains: operators, neurons and weights, without torch and without training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from bitspike.errors import UsageError
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.operators import Operator, Pool
from bitspike.packed.decisions import Array
from bitspike.packed.weights import EXACT

MAX_STEPS = 32767
MAX_WIDTH = 2**24 - 1
LARGEST = 1e12  # of a weight, and of a neuron's constants: nothing overflows float32


@runtime_checkable
class Constant(Protocol):
    """A coding that turns a still image into a constant current (`Direct`)."""

    @property
    def current_per_level(self) -> float: ...


@runtime_checkable
class Drawn(Protocol):
    """A coding that draws spike trains from a still image (`Poisson`)."""

    def n_channels(self, n_pixels: int) -> int: ...
    def limits(self) -> Array: ...
    def trains(self, images: Array) -> Array: ...


class Window(Protocol):
    """What an input must fit: a packed network of spike trains of any kind."""

    @property
    def coding(self) -> Any: ...
    @property
    def n_in(self) -> int: ...
    @property
    def n_steps(self) -> int: ...


@dataclass(frozen=True, eq=False)
class LIFPackedLayer:
    """An operator, its weights, and the neurons behind it.

    binary: `signs` uint8 `(rows, ceil(last / 8))`, a row for all indices of the weights but the last; bit f % 8 (lowest
    first) of byte f // 8 is 1 where the weight is +1, 0 where it is -1; unused bits are 0. real: `weights` float32 in
    the operator's `weight_shape`. pool: neither, every weight is 1.
    """

    operator: Operator
    kind: Literal["binary", "real", "pool"]
    neuron: Neuron
    signs: Array | None = None
    weights: Array | None = None

    def __post_init__(self) -> None:
        check_weights(self.operator, self.kind, self.signs, self.weights)
        n = self.neuron
        for name in ("threshold", "tau_m", "tau_s", "lateral", "epsilon"):
            if not getattr(n, name) <= LARGEST:
                raise UsageError(f"{name} is {getattr(n, name)}; at most {LARGEST:g}")

    @property
    def n_synapses(self) -> int:
        """Stored weights; those of a convolution are shared, a pool has none."""
        shape = self.operator.weight_shape
        return 0 if shape is None else math.prod(shape)

    def dense(self) -> Array | None:
        """The weights as float32 in the operator's shape, +1 and -1 for a binary layer; None for a pool."""
        return self.weights if self.signs is None else unpacked(self.signs, self.operator)


@dataclass(frozen=True, eq=False)
class LIFPacked:
    """Layers from input to output over a window of `n_steps`; `coding` says what enters.

    A coding with `current_per_level` (`Direct`) or `trains` (`Poisson`) takes uint8 images `(n, n_pixels)`; with any
    other, or None, the input is a `SpikeList`. Only the last layer may have lateral inhibition.
    """

    layers: tuple[LIFPackedLayer, ...]
    n_steps: int
    coding: Any = None

    def __post_init__(self) -> None:
        if not self.layers:
            raise UsageError("a network needs at least one layer")
        for index, (below, above) in enumerate(zip(self.layers, self.layers[1:], strict=False), start=2):
            if below.operator.n_out != above.operator.n_in:
                raise UsageError(
                    f"layer {index} has {above.operator.n_in} inputs but the layer before has "
                    f"{below.operator.n_out} neurons"
                )
            if below.neuron.lateral:
                raise UsageError(f"layer {index - 1} has lateral inhibition; only the last layer may have it")
        if not 2 <= self.n_steps <= MAX_STEPS:
            raise UsageError(f"n_steps is {self.n_steps}; it must lie between 2 and {MAX_STEPS}")
        if self.coding is not None and self.coding.n_steps != self.n_steps:
            raise UsageError(f"the coding has {self.coding.n_steps} steps but the network has {self.n_steps}")

    @property
    def n_in(self) -> int:
        """Input neurons."""
        return self.layers[0].operator.n_in

    @property
    def n_classes(self) -> int:
        return self.layers[-1].operator.n_out


def check_weights(op: Operator, kind: str, signs: Array | None, weights: Array | None) -> None:
    """Refuse weights that are not those of an operator and of their kind; see `LIFPackedLayer`."""
    shape = op.weight_shape
    if not (1 <= op.n_in <= MAX_WIDTH and 1 <= op.n_out <= MAX_WIDTH):
        raise UsageError(f"a layer is {op.n_in} x {op.n_out}; widths must lie between 1 and {MAX_WIDTH}")
    if (shape is None) != (kind == "pool") or kind not in ("binary", "real", "pool"):
        raise UsageError(f"layer kind is {kind!r} but the operator is a {type(op).__name__}")
    if shape is not None and math.prod(shape) >= 2**31:
        raise UsageError(f"weights of shape {shape} are too many; at most 2^31 - 1")
    for name, array, owner, dtype, expected in (
        ("signs", signs, "binary", np.uint8, shape and (math.prod(shape[:-1]), -(-shape[-1] // 8))),
        ("weights", weights, "real", np.float32, shape),
    ):
        if kind != owner and array is not None:
            raise UsageError(f"a layer of kind {kind!r} has no {name}")
        if kind == owner and (
            not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != expected
        ):
            found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else array
            raise UsageError(f"{name} is {found}; expected {np.dtype(dtype)} {expected}")
    used = shape[-1] % 8 if shape is not None else 0
    if signs is not None and used and (signs[:, -1] >> used).any():
        raise UsageError("signs has unused bits that are not 0 at the end of a row")
    if weights is not None and not (np.abs(weights) <= LARGEST).all():  # NaN fails
        raise UsageError(f"a weight is NaN or larger than {LARGEST:g}")


def unpacked(signs: Array, op: Operator) -> Array:
    """Sign bits as float32 +1 and -1, in the operator's shape."""
    shape = op.weight_shape
    assert shape is not None
    bits = np.unpackbits(signs, axis=1, count=shape[-1], bitorder="little")
    return (bits.astype(np.float32) * 2 - 1).reshape(shape)


def from_weights(
    operators: Sequence[Operator],
    neurons: Sequence[Neuron],
    weights: Sequence[Array | None],
    binary: bool,
    coding: Any,
    n_steps: int,
) -> LIFPacked:
    """The packed network of trained weights, one per operator in its `weight_shape`, None for pools.

    `binary`: weights above 0 become +1, others -1. Real weights are rounded by `snap`.
    """
    layers = []
    for index, (op, neuron, weight) in enumerate(zip(operators, neurons, weights, strict=True)):
        if isinstance(op, Pool):
            layers.append(LIFPackedLayer(op, "pool", neuron))
            continue
        weight = np.asarray(weight)
        if weight.shape != op.weight_shape:
            raise UsageError(f"layer {index + 1} has weights {weight.shape}; expected {op.weight_shape}")
        if binary:
            rows = (weight > 0).reshape(-1, weight.shape[-1])
            layers.append(
                LIFPackedLayer(op, "binary", neuron, signs=np.packbits(rows, axis=1, bitorder="little"))
            )
        else:
            grid = snap(weight, direct=index == 0 and isinstance(coding, Constant))
            layers.append(LIFPackedLayer(op, "real", neuron, weights=grid))
    return LIFPacked(tuple(layers), n_steps, coding)


def snap(weights: Array, direct: bool = False) -> Array:
    """Round to the finest grid 2^-k on which every sum of a neuron's weights is exact in float32.

    k is the largest integer for which the sum of |w| over all indices but the last stays below 2^24 grid units, for
    every value of the last. `direct`: the weights multiply grey levels 0 to 255 and are summed in float64, so it is
    enough that each weight stays below 2^24 units and 255 times the sum below 2^53. float32 in, float32 out.
    """
    size = np.abs(weights.astype(np.float64)).reshape(-1, weights.shape[-1])
    if not np.isfinite(size).all():
        raise UsageError("a weight is NaN or infinite; the model cannot be packed")
    total, largest = float(size.sum(axis=0).max()), float(size.max())
    if largest == 0:
        return weights.astype(np.float32)
    moved = (len(size) + 1) / 2  # rounding moves each term by at most half a unit
    room = (EXACT - 1 - moved) / total
    if direct:
        room = min((EXACT - 1) / largest, (2**53 / 255 - 1 - moved) / total)
    if room <= 0:
        raise UsageError(f"a layer of {len(size)} real inputs is too wide to be summed exactly in float32")
    exponent = int(np.clip(np.floor(np.log2(room)), -100, 120))
    grid = np.ldexp(np.rint(np.ldexp(weights.astype(np.float64), exponent)), -exponent)
    return grid.astype(np.float32)
