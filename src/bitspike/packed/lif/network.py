"""The packed network of leaky integrate-and-fire neurons, without torch and without training."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bitspike.errors import UsageError
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.operators import Operator
from bitspike.packed.base import Known
from bitspike.packed.container import Tensors
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.lif import file, reference
from bitspike.packed.lif.layer import LIFPackedLayer
from bitspike.packed.lif.native import LIFEngine
from bitspike.packed.operations import Operations, of_window
from bitspike.packed.weights import Reals, Signs, snap_window
from bitspike.packed.window import Constant, WindowPacked

if TYPE_CHECKING:
    from bitspike.coding.spike_list import SpikeList

snap = snap_window  # another name


@dataclass(frozen=True, eq=False)
class LIFPacked(WindowPacked):
    """Layers from input to output; only the last one may have lateral inhibition. See `WindowPacked` and `reference`.

    The decision is the largest score, `reference.scores`, then the lowest index.
    """

    layers: tuple[LIFPackedLayer, ...]
    n_steps: int
    coding: Any = None

    decision: ClassVar[str] = "count, membrane, index"
    fields: ClassVar[Mapping[str, Any]] = {
        "coding": str, "settings": dict, "input": [int], "layers": [dict], "classes": [str],
    }  # fmt: skip

    def __post_init__(self) -> None:
        if not self.layers:
            raise UsageError("a network needs at least one layer")
        for index, (below, above) in enumerate(itertools.pairwise(self.layers), start=2):
            if below.operator.n_out != above.operator.n_in:
                raise UsageError(
                    f"layer {index} has {above.operator.n_in} inputs but the layer before has "
                    f"{below.operator.n_out} neurons"
                )
            if below.neuron.lateral:
                raise UsageError(f"layer {index - 1} has lateral inhibition; only the last layer may have it")
        self.check_window()

    @property
    def n_in(self) -> int:
        """Input neurons."""
        return self.layers[0].operator.n_in

    @property
    def n_classes(self) -> int:
        """Outputs."""
        return self.layers[-1].operator.n_out

    @property
    def one_bit(self) -> bool:
        """Do all synapses hold one bit?"""
        return all(layer.kind != "real" for layer in self.layers)

    @property
    def operators(self) -> tuple[Operator, ...]:
        """Those of the layers."""
        return tuple(layer.operator for layer in self.layers)

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
        return of_window(self.operators, self.n_steps, inputs if isinstance(self.coding, Constant) else None)

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
