"""The packed binary network without time (BNN, coding "pixel"): one matrix product per layer, exact in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bitspike.errors import BackendError, DataError, UsageError
from bitspike.packed.base import Engine, Known
from bitspike.packed.container import Tensors
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.first_spike import file
from bitspike.packed.first_spike.layers import FirstSpikePackedLayer, LayerStack
from bitspike.packed.operations import Operations, products
from bitspike.packed.weights import EXACT

BRIGHTEST = 255


@dataclass(frozen=True, eq=False)
class HeavisidePacked(LayerStack):
    """Binary layers on pixels 0 to 255: U_j = sum_i b_ij x_i, a hidden unit is 1 where U > theta, else 0.

    The decision is the largest U - theta of the last layer, ties to the lowest index. With `binarise` a pixel counts as
    255 from 128 up, else 0. There is no time: `decision_time` is n_steps, 1; every input and hidden unit that is not 0
    is a spike. S4NN and BS4NN specification, section 13.
    """

    binarise: bool = False

    decision: ClassVar[str] = "earliest, margin, index"
    fields: ClassVar[Mapping[str, Any]] = {**file.FIELDS, "binarise": bool}
    trailing: ClassVar[tuple[str, ...]] = ("binarise",)
    exact_potentials = False  # the trained network scales them
    n_steps = 1
    one_bit = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(layer.kind != "binary" for layer in self.layers):
            raise UsageError("coding 'pixel' is for binary layers; this network has a real one")
        if (
            max(layer.n_in * reach for layer, reach in zip(self.layers, self._reaches(), strict=True))
            >= EXACT
        ):
            raise UsageError("a layer is so wide that its sums leave the integers float32 holds exactly")

    def _reaches(self) -> list[int]:
        """The largest input of every layer."""
        return [BRIGHTEST, *(1 for _ in self.layers[1:])]

    def pixels(self, inputs: Array) -> Array:
        """The numbers that enter, from uint8 rows `(n, n_in)`; others raise `DataError`."""
        if inputs.ndim != 2 or inputs.shape[1] != self.n_in or inputs.dtype != np.uint8:
            raise DataError(f"images are {inputs.dtype} {inputs.shape}; expected uint8 (n, {self.n_in})")
        return np.where(inputs >= 128, BRIGHTEST, 0) if self.binarise else inputs

    def decide(self, inputs: Array) -> Decisions:
        """Decide from uint8 rows `(n, n_in)`, in integers."""
        signal = self.pixels(inputs).astype(np.int64)
        n_spikes, n_synops = np.zeros(len(signal), np.int64), np.zeros(len(signal), np.int64)
        for layer in self.layers:
            spikes = (signal != 0).sum(axis=1)
            n_spikes += spikes
            n_synops += spikes * layer.n_out
            potential = signal @ layer.weights.dense().astype(np.int64)
            margin = potential.astype(np.float32) - layer.thresholds
            signal = (potential >= layer.fires_at(int(np.abs(potential).max(initial=0)))).astype(np.int64)
        return _decisions(margin, n_spikes, n_synops)

    def engine(self, isa: str | None = None) -> Engine:
        """There is none; `best` runs in numpy."""
        raise BackendError(
            "there is no native engine for coding 'pixel', it runs in numpy; use backend 'auto'"
        )

    def best(self) -> PixelEngine:
        """Matrix products in float32."""
        return PixelEngine(self)

    def operations(self, inputs: Array) -> Operations:
        """Products of the grey levels that enter; an image in black and white enters as spikes."""
        return Operations() if self.binarise else Operations(products(self.layers[0].operator, inputs))

    def to_parts(self, shape: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Array]]:
        """Fields and tensors as of first spikes, and `binarise`."""
        head = {"coding": "pixel", "n_steps": 1, "delay": 0}
        fields, tensors = file.layers_to_parts(self.layers, self._reaches(), shape)
        return {**head, **fields, "binarise": self.binarise}, tensors

    @classmethod
    def reads(cls, metadata: Mapping[str, Any]) -> bool:
        """Is this the class of a file with such metadata?"""
        return metadata.get("decision") == cls.decision and metadata.get("coding") == "pixel"

    @classmethod
    def from_parts(cls, metadata: Mapping[str, Any], tensors: Tensors, known: Known) -> HeavisidePacked:
        """The network of a file."""
        if metadata["n_steps"] != 1 or metadata["delay"] != 0:
            raise UsageError("coding 'pixel' knows no time: n_steps must be 1 and delay 0")
        return cls(file.layers_from_parts(metadata, tensors, BRIGHTEST), metadata["binarise"])


class PixelEngine(Engine):
    """`HeavisidePacked` in float32, which holds every sum exactly, for each is an integer below 2^24."""

    def __init__(self, network: HeavisidePacked) -> None:
        self._network = network
        self._dense = [layer.weights.dense() for layer in network.layers]

    def decide(self, inputs: Array, threads: int | None = None) -> Decisions:
        """Decide from uint8 rows `(n, n_in)`."""
        signal = self._network.pixels(inputs).astype(np.float32)
        n_spikes, n_synops = np.zeros(len(signal), np.int64), np.zeros(len(signal), np.int64)
        for layer, weights in zip(self._network.layers, self._dense, strict=True):
            spikes = np.count_nonzero(signal, axis=1)
            n_spikes += spikes
            n_synops += spikes * layer.n_out
            margin = signal @ weights - layer.thresholds
            signal = (margin > 0).astype(np.float32)
        return _decisions(margin, n_spikes, n_synops)


def from_weights(positive: Sequence[Array], thresholds: Sequence[Array], binarise: bool) -> HeavisidePacked:
    """The packed network of trained weights: `positive` bool `(n_in, n_out)`, True for +1.

    `thresholds` float32 `(n_out,)`: what U, an integer, must exceed.
    """
    pairs = zip(positive, thresholds, strict=True)
    return HeavisidePacked(
        tuple(FirstSpikePackedLayer.binary(plus, level) for plus, level in pairs), binarise
    )


def _decisions(margin: Array, n_spikes: Array, n_synops: Array) -> Decisions:
    n = len(margin)
    return Decisions(
        labels=margin.argmax(axis=1),
        decision_time=np.full(n, HeavisidePacked.n_steps, np.int64),
        silent=np.zeros(n, np.bool_),
        tied=margin == margin.max(axis=1, keepdims=True),
        potentials=margin,
        n_spikes=n_spikes,
        n_synops=n_synops,
    )
