"""The packed network of BiSNN: layers of spike response neurons and the readout of the last one; needs no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bitspike.errors import UsageError
from bitspike.ops.operators import Conv, Dense
from bitspike.ops.srm.neuron import SRMNeuron
from bitspike.packed.average import logarithm
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.lif.network import (
    LARGEST,
    MAX_STEPS,
    MAX_WIDTH,
    Constant,
    check_weights,
    snap,
    unpacked,
)
from bitspike.packed.weights import EXACT


@dataclass(frozen=True, eq=False)
class SRMPackedLayer:
    """A dense layer or a convolution, its weights and biases, and max-pooling of its potentials by `pool` x `pool`.

    binary: `signs` as in `LIFPackedLayer`, `bias_signs` uint8 `(ceil(c / 8),)`, c the output neurons (filters). real:
    `weights` float32 in the operator's `weight_shape`, on a grid on which all their sums are exact; `bias` float32
    `(c,)`. A layer without biases has neither.
    """

    operator: Dense | Conv
    kind: Literal["binary", "real"]
    pool: int = 1
    signs: Array | None = None
    weights: Array | None = None
    bias_signs: Array | None = None
    bias: Array | None = None

    def __post_init__(self) -> None:
        op = self.operator
        if self.kind not in ("binary", "real"):
            raise UsageError(f"layer kind is {self.kind!r}; it must be 'binary' or 'real'")
        check_weights(op, self.kind, self.signs, self.weights)
        largest = 1 if isinstance(op, Dense) else min(op.out_height, op.out_width)
        if not 1 <= self.pool <= largest:
            raise UsageError(f"pooling by {self.pool} does not fit; this layer allows 1 to {largest}")
        if self.weights is not None and not _is_exact(self.weights):
            raise UsageError(
                "real weights are not on a grid on which their sums are exact; round them by `snap`"
            )
        if self.bias_signs is not None:
            check_bits("bias_signs", self.bias_signs, (), self.channels)
        if (self.bias_signs if self.kind == "real" else self.bias) is not None:
            raise UsageError(f"a layer of kind {self.kind!r} has biases of the other kind")
        bias = self.bias
        if bias is not None and not (bias.dtype == np.float32 and bias.shape == (self.channels,)):
            raise UsageError(f"bias is {bias.dtype} {bias.shape}; expected float32 ({self.channels},)")
        if bias is not None and not (np.abs(bias) <= LARGEST).all():  # NaN fails
            raise UsageError(f"a bias is NaN or larger than {LARGEST:g}")

    @property
    def channels(self) -> int:
        """Output neurons of a dense layer, filters of a convolution; each has one bias."""
        return self.operator.weight_shape[-1]

    @property
    def n_out(self) -> int:
        """Neurons after pooling, those whose spikes go on."""
        op = self.operator
        if isinstance(op, Dense):
            return op.n_out
        return (op.out_height // self.pool) * (op.out_width // self.pool) * op.n_filters

    @property
    def scale(self) -> np.float32:
        """c = 1/sqrt(fan-in), rounded to float32."""
        return np.float32(1 / math.sqrt(math.prod(self.operator.weight_shape[:-1])))

    @property
    def n_synapses(self) -> int:
        """Stored weights and biases; those of a convolution are shared."""
        has_bias = self.bias is not None or self.bias_signs is not None
        return math.prod(self.operator.weight_shape) + (self.channels if has_bias else 0)

    def dense(self) -> Array:
        """The weights as float32 in the operator's shape, +1 and -1 for a binary layer."""
        if self.signs is not None:
            return unpacked(self.signs, self.operator)
        assert self.weights is not None
        return self.weights

    def biases(self) -> Array:
        """float32 `(c,)`; zeros where there are none."""
        if self.bias_signs is not None:
            return plus_minus(self.bias_signs, self.channels)
        return np.zeros(self.channels, np.float32) if self.bias is None else self.bias


@dataclass(frozen=True, eq=False)
class SRMPacked:
    """Layers from input to output over a window of `n_steps`, and the readout of the last one.

    `readout` uint8 `(n_out, ceil(n_readouts / 8))` and `readout_bias` uint8 `(ceil(n_readouts / 8),)`: bit k % 8
    (lowest first) of byte k // 8 is 1 for +1, 0 for -1; unused bits are 0. One readout: its sigmoid is the probability
    of the second of two classes, or the value of a regression (`n_classes` 1). More: one per class, their softmax.
    `coding` as in `LIFPacked`, but no constant current.
    """

    layers: tuple[SRMPackedLayer, ...]
    neuron: SRMNeuron
    readout: Array
    readout_bias: Array
    n_readouts: int
    burn_in: int
    n_steps: int
    n_classes: int
    coding: Any = None

    def __post_init__(self) -> None:
        if not self.layers:
            raise UsageError("a network needs at least one layer")
        for index, (below, above) in enumerate(zip(self.layers, self.layers[1:], strict=False), start=2):
            if below.n_out != above.operator.n_in:
                raise UsageError(
                    f"layer {index} has {above.operator.n_in} inputs but the layer before has {below.n_out} neurons"
                )
        if not 2 <= self.n_steps <= MAX_STEPS:
            raise UsageError(f"n_steps is {self.n_steps}; it must lie between 2 and {MAX_STEPS}")
        if not 0 <= self.burn_in < self.n_steps:
            raise UsageError(f"burn_in is {self.burn_in}; it must lie between 0 and {self.n_steps - 1}")
        if self.coding is not None and self.coding.n_steps != self.n_steps:
            raise UsageError(f"the coding has {self.coding.n_steps} steps but the network has {self.n_steps}")
        if isinstance(self.coding, Constant):
            raise UsageError(
                "these neurons take spikes, not a constant current; use coding Poisson for images"
            )
        if not 1 <= self.n_readouts <= MAX_WIDTH:
            raise UsageError(f"n_readouts is {self.n_readouts}; it must lie between 1 and {MAX_WIDTH}")
        if self.n_classes not in ((1, 2) if self.n_readouts == 1 else (self.n_readouts,)):
            raise UsageError(f"{self.n_readouts} readouts do not make {self.n_classes} classes")
        check_bits("readout", self.readout, (self.n_out,), self.n_readouts)
        check_bits("readout_bias", self.readout_bias, (), self.n_readouts)

    @property
    def n_in(self) -> int:
        """Input neurons."""
        return self.layers[0].operator.n_in

    @property
    def n_out(self) -> int:
        """Neurons of the last layer, which the readouts read."""
        return self.layers[-1].n_out

    @property
    def readout_scale(self) -> np.float32:
        """c_ro = 1/sqrt(n_out), rounded to float32."""
        return np.float32(1 / math.sqrt(self.n_out))


def from_weights(
    layers: Sequence[tuple[Dense | Conv, int, Array, Array | None]],
    neuron: SRMNeuron,
    readout: Array,
    readout_bias: Array,
    burn_in: int,
    binary: bool,
    coding: Any,
    n_steps: int,
    n_classes: int,
) -> SRMPacked:
    """The packed network of trained weights; a layer is (operator, pool, weights in its `weight_shape`, bias or None).

    `binary`: weights and biases from 0 up become +1, others -1, as sign(0) = +1. Else weights are rounded by `snap`,
    biases to float32. `readout` `(n_out, n_readouts)` and `readout_bias` `(n_readouts,)` are +1 or -1.
    """
    packed = []
    for number, (op, pool, weight, bias) in enumerate(layers, start=1):
        weight, bias = np.asarray(weight), None if bias is None else np.asarray(bias)
        if weight.shape != op.weight_shape or (bias is not None and bias.shape != weight.shape[-1:]):
            found = f"{weight.shape} and biases {None if bias is None else bias.shape}"
            raise UsageError(f"layer {number} has weights {found}; expected {op.weight_shape}")
        if binary:
            signs = to_bits(weight.reshape(-1, weight.shape[-1]) >= 0)
            bias_signs = None if bias is None else to_bits(bias >= 0)
            packed.append(SRMPackedLayer(op, "binary", pool, signs=signs, bias_signs=bias_signs))
        else:
            real = None if bias is None else bias.astype(np.float32)
            packed.append(SRMPackedLayer(op, "real", pool, weights=snap(weight), bias=real))
    readout, readout_bias = np.asarray(readout), np.asarray(readout_bias)
    for name, array in (("readout", readout), ("readout_bias", readout_bias)):
        if not (np.abs(array) == 1).all():
            raise UsageError(f"{name} holds something else than +1 and -1")
    return SRMPacked(
        tuple(packed), neuron, to_bits(readout > 0), to_bits(readout_bias > 0), readout.shape[-1],
        burn_in, n_steps, n_classes, coding,
    )  # fmt: skip


def decisions(
    probabilities: Array, n_steps: int, n_classes: int, n_spikes: Array, n_synops: Array
) -> Decisions:
    """The decisions that follow from mean probabilities float32 `(n, n_readouts)`.

    label: the likeliest class, then the lowest index. potentials: float32(ln max(p, 1e-30)), so that their softmax is
    p; of a regression p itself. decision_time is n_steps - 1, nothing is silent, tied are the classes that share the
    largest probability.
    """
    p = probabilities
    if p.shape[1] < n_classes:  # one readout, two classes
        p = np.concatenate([np.float32(1) - p, p], axis=1)
    return Decisions(
        labels=p.argmax(axis=1),
        decision_time=np.full(len(p), n_steps - 1, np.int64),
        silent=np.zeros(len(p), bool),
        tied=np.equal(p, p.max(axis=1, keepdims=True)),
        potentials=p if n_classes == 1 else logarithm(p),
        n_spikes=n_spikes,
        n_synops=n_synops,
    )


def to_bits(positive: Array) -> Array:
    """Bits of a bool array along its last axis, lowest first; unused bits are 0."""
    return np.packbits(positive, axis=-1, bitorder="little")


def plus_minus(bits: Array, count: int) -> Array:
    """float32 +1 and -1 of the first `count` bits along the last axis."""
    return np.unpackbits(bits, axis=-1, count=count, bitorder="little").astype(np.float32) * 2 - 1


def check_bits(name: str, bits: Array, rows: tuple[int, ...], count: int) -> None:
    """Refuse what is not `count` bits per row with unused bits 0."""
    shape = (*rows, -(-count // 8))
    if bits.dtype != np.uint8 or bits.shape != shape:
        raise UsageError(f"{name} is {bits.dtype} {bits.shape}; expected uint8 {shape}")
    if count % 8 and (bits[..., -1] >> (count % 8)).any():
        raise UsageError(f"{name} has unused bits that are not 0 at the end of a row")


def _is_exact(weights: Array) -> bool:
    """Whether every partial sum of a neuron's weights is exact in float32, whatever the order."""
    size = np.abs(weights.astype(np.float64))
    total = float(size.reshape(-1, size.shape[-1]).sum(axis=0).max())
    if total == 0:
        return True
    units = np.ldexp(size, math.floor(math.log2((EXACT - 1) / total)))
    return bool((units == np.rint(units)).all())
