"""The packed network of leaky integrate-and-fire neurons, without torch and without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from bitspike.coding.spike_list import SpikeList
from bitspike.errors import UsageError
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.operators import Operator
from bitspike.packed.base import Known
from bitspike.packed.container import Tensors
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.lif import file, reference
from bitspike.packed.lif.layers import LIFPackedLayer, LIFStack
from bitspike.packed.lif.native import LIFEngine
from bitspike.packed.operations import Operations, products, updates
from bitspike.packed.weights import Reals, Signs, snap_window
from bitspike.packed.window import Constant


class LIFPacked(LIFStack):
    """Layers of spike trains that decide: the largest score (`reference.scores`), then the lowest index."""

    decision: ClassVar[str] = "count, membrane, index"
    fields: ClassVar[Mapping[str, Any]] = {
        "coding": str, "settings": dict, "input": [int], "layers": [dict], "classes": [str],
    }  # fmt: skip

    def decide(self, inputs: Array | SpikeList) -> Decisions:
        """The slow truth, `reference.decide`."""
        return reference.decide(self, inputs)

    def engine(self, isa: str | None = None) -> LIFEngine:
        """The native engine."""
        return LIFEngine(self, isa)

    def sizes(self) -> dict[str, int]:
        """Synapses stored (those of a convolution are shared, a pool has none), their bits, thresholds."""
        weights = [layer.weights for layer in self.layers if layer.weights is not None]
        return {
            "synapses": sum(one.n for one in weights),
            "synapse_bits": sum(one.n * one.bits_each for one in weights),
            "thresholds": len(self.layers),
        }

    def operations(self, inputs: Any) -> Operations:
        """Updates of all neurons in every step, and products of the pixels where they enter as a current."""
        macs = products(self.operators[0], inputs) if isinstance(self.coding, Constant) else 0.0
        return Operations(macs, updates(self.operators, self.n_steps))

    def to_parts(self, shape: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Array]]:
        """What a model file holds of the network."""
        return file.to_parts(self, shape)

    @classmethod
    def from_parts(cls, metadata: Mapping[str, Any], tensors: Tensors, known: Known) -> LIFPacked:
        """The network of a file."""
        layers, coding = file.from_parts(metadata, tensors, known)
        return cls(layers, coding.n_steps, coding)


def from_weights(
    operators: Sequence[Operator],
    neurons: Sequence[Neuron],
    weights: Sequence[Array | None],
    binary: bool,
    coding: Any,
    n_steps: int,
) -> LIFPacked:
    """The packed network of trained weights, one per operator in its `weight_shape`, None for pools.

    `binary`: weights above 0 become +1, others -1. Real weights are rounded by `snap_window`.
    """
    layers = []
    for index, (op, neuron, weight) in enumerate(zip(operators, neurons, weights, strict=True)):
        packed: Signs | Reals | None = None
        if op.weight_shape is not None:
            weight = np.asarray(weight)
            if weight.shape != op.weight_shape:
                raise UsageError(f"layer {index + 1} has weights {weight.shape}; expected {op.weight_shape}")
            direct = index == 0 and isinstance(coding, Constant)
            packed = Signs.of(weight > 0) if binary else Reals(snap_window(weight, direct))
        layers.append(LIFPackedLayer(op, packed, neuron))
    return LIFPacked(tuple(layers), n_steps, coding)
