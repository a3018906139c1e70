"""The packed network of circuits that fire by chance; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from bitspike.coding.spike_list import SpikeList
from bitspike.packed.base import Known
from bitspike.packed.container import Tensors
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.glm import file, reference
from bitspike.packed.glm.layers import GLMStack
from bitspike.packed.glm.native import GLMEngine
from bitspike.packed.operations import Operations
from bitspike.packed.weights import snap_window


class GLMPacked(GLMStack):
    """Circuits that decide by the largest sum over the steps of output probabilities, or spikes, then the lowest index.

    Draws follow from an input's own spikes and `draw_seed`: equal inputs get equal answers.
    """

    decision: ClassVar[str] = "sum over steps, index"
    fields: ClassVar[Mapping[str, Any]] = {
        "coding": str, "settings": dict, "input": [int], "groups": [dict], "connections": [dict], "filters": [int],
        "feedback": [int], "decision_by": str, "runs": int, "draw_seed": int, "classes": [str],
    }  # fmt: skip

    def decide(self, inputs: Array | SpikeList) -> Decisions:
        """The slow truth, `reference.decide`."""
        return reference.decide(self, inputs)

    def scores(self, inputs: Array | SpikeList) -> Array:
        """What decides, had the answer been demanded after each step: float32 `(n, n_steps, classes)`."""
        return reference.scores(self, inputs)

    def engine(self, isa: str | None = None) -> GLMEngine:
        """The native engine."""
        return GLMEngine(self, isa)

    def sizes(self) -> dict[str, int]:
        """Synapses that are there and their bits; as thresholds the biases, own feedback and scales of circuits."""
        own = () if self.feedback is None else self.feedback[1]
        scales = [one.scale for one in self.connections if one.scale is not None]
        return {
            "synapses": sum(one.n_synapses for one in self.connections),
            "synapse_bits": sum(one.n_synapses * one.weights.bits_each for one in self.connections),
            "thresholds": sum(numbers.size for numbers in (*self.biases, *own, *scales)),
        }

    def operations(self, inputs: Any) -> Operations:
        """An update of every row of every group but the input, in every step of every run."""
        rows = sum(group.rows for group in self.topology.groups[1:])
        return Operations(neuron_updates=float(self.n_steps * rows * self.runs))

    def to_parts(self, shape: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Array]]:
        """What a model file holds of the network."""
        return file.to_parts(self, shape)

    @classmethod
    def from_parts(cls, metadata: Mapping[str, Any], tensors: Tensors, known: Known) -> GLMPacked:
        """The network of a file."""
        return cls(**file.from_parts(metadata, tensors, known))


def snap_filters(weights: Array) -> Array:
    """Weights `(source, K, target)` rounded, filter by filter, to a grid on which their sums are exact."""
    return np.stack([snap_window(weights[:, k]) for k in range(weights.shape[1])], axis=1)
