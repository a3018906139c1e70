"""The packed network of first spikes, without torch and without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from bitspike.coding.first_spike import FirstSpike, time_table
from bitspike.errors import DataError, FormatError
from bitspike.packed.base import Known
from bitspike.packed.container import Tensors
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.first_spike import file, reference
from bitspike.packed.first_spike.layers import MAX_STEPS, FirstSpikePackedLayer, FirstSpikeStack
from bitspike.packed.first_spike.native import FirstSpikeEngine


class FirstSpikePacked(FirstSpikeStack):
    """Layers of first spikes that decide: the earliest output, then the largest margin, then the lowest index."""

    decision: ClassVar[str] = "earliest, margin, index"
    fields: ClassVar[Mapping[str, Any]] = file.FIELDS

    @property
    def coding(self) -> FirstSpike:
        """How images become spike times."""
        return FirstSpike(self.n_steps)

    def times(self, images: Array) -> Array:
        """Spike times int16 of uint8 rows `(n, n_in)`, same shape, in steps; `n_steps`: never."""
        if images.ndim != 2 or images.shape[1] != self.n_in:
            raise DataError(f"images are {images.dtype} {images.shape}; expected uint8 (n, {self.n_in})")
        return np.asarray(time_table(self.n_steps)[images])

    def decide(self, inputs: Array) -> Decisions:
        """Decide from uint8 rows `(n, n_in)`, or from spike times `(n, n_in)`, integers 0..n_steps of another type."""
        return reference.decide(self, self.times(inputs) if inputs.dtype == np.uint8 else inputs)

    def engine(self, isa: str | None = None) -> FirstSpikeEngine:
        """The native engine; it takes uint8 rows or int16 spike times."""
        return FirstSpikeEngine(self, isa)

    def to_parts(self, shape: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Array]]:
        """What a model file holds of the network."""
        head = {"coding": "first_spike", "n_steps": self.n_steps, "delay": self.delay}
        fields, tensors = file.layers_to_parts(self.layers, [1] * len(self.layers), shape)
        return {**head, **fields}, tensors

    @classmethod
    def reads(cls, metadata: Mapping[str, Any]) -> bool:
        """Is this the class of a file with such metadata?"""
        return metadata.get("decision") == cls.decision and metadata.get("coding") == "first_spike"

    @classmethod
    def from_parts(cls, metadata: Mapping[str, Any], tensors: Tensors, known: Known) -> FirstSpikePacked:
        """The network of a file."""
        n_steps = metadata["n_steps"]
        if not 1 <= n_steps <= MAX_STEPS:
            raise FormatError(f"n_steps is {n_steps}; it must lie between 1 and {MAX_STEPS}")
        return cls(file.layers_from_parts(metadata, tensors, 1), n_steps, metadata["delay"])


def from_weights(
    weights: Sequence[Array], thresholds: Sequence[Array], binary: bool, n_steps: int, delay: int
) -> FirstSpikePacked:
    """The packed network of trained weights float32 `(n_in, n_out)` and thresholds float32 `(n_out,)`.

    `binary`: weights above 0 become +1, others -1. Real ones are taken as they are (`weights.snap` rounds them).
    """
    layers = [
        FirstSpikePackedLayer.binary(np.asarray(weight) > 0, level) if binary
        else FirstSpikePackedLayer.real(weight, level)
        for weight, level in zip(weights, thresholds, strict=True)
    ]  # fmt: skip
    return FirstSpikePacked(tuple(layers), n_steps, delay)
