"""The packed network of BiSNN: layers of spike response neurons and the readout of the last one; needs no torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bitspike.errors import UsageError
from bitspike.ops.operators import Conv, Dense
from bitspike.ops.srm.neuron import SRMNeuron
from bitspike.packed.base import Known
from bitspike.packed.container import Tensors
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.operations import Operations, of_window
from bitspike.packed.srm import file, reference
from bitspike.packed.srm.layer import SRMPackedLayer
from bitspike.packed.srm.native import SRMEngine
from bitspike.packed.weights import Reals, Signs, Weights, snap_window
from bitspike.packed.window import MAX_WIDTH, Constant, WindowPacked

if TYPE_CHECKING:
    from bitspike.coding.spike_list import SpikeList


@dataclass(frozen=True, eq=False)
class SRMPacked(WindowPacked):
    """Layers from input to output over a window of `n_steps`, and the readout of the last one. See `reference`.

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

    decision: ClassVar[str] = "mean probability, index"
    fields: ClassVar[Mapping[str, Any]] = {
        "coding": str, "settings": dict, "input": [int], "neuron": dict, "layers": [dict], "readouts": int,
        "burn_in": int, "classes": [str],
    }  # fmt: skip

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
    def n_in(self) -> int:
        """Input neurons."""
        return self.layers[0].operator.n_in

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
    def one_bit(self) -> bool:
        """Do all synapses hold one bit?"""
        return all(layer.kind == "binary" for layer in self.layers)

    @property
    def operators(self) -> tuple[Dense | Conv, ...]:
        """Those of the layers."""
        return tuple(layer.operator for layer in self.layers)

    @property
    def readout_scale(self) -> np.float32:
        """c_ro = 1/sqrt(n_out), rounded to float32."""
        return np.float32(1 / math.sqrt(self.n_out))

    def decide(self, inputs: Array | SpikeList) -> Decisions:
        """The slow truth, `reference.decide`."""
        return reference.decide(self, inputs)

    def over_time(self, inputs: Array | SpikeList) -> Array:
        """Mean probabilities had the answer been demanded after step burn_in + k: float32 `(n, n_times, K)`."""
        return reference.over_time(self, inputs)

    def engine(self, isa: str | None = None) -> SRMEngine:
        """The native engine."""
        return SRMEngine(self, isa)

    def sizes(self) -> dict[str, int]:
        """Synapses stored (biases and readout included) and their bits; no thresholds."""
        layers = [(layer.n_synapses, layer.weights.bits_each) for layer in self.layers]
        layers.append((self.readout.n + self.readout_bias.n, 1))
        return {
            "synapses": sum(count for count, _ in layers),
            "synapse_bits": sum(count * bits for count, bits in layers),
            "thresholds": 0,
        }

    def operations(self, inputs: Any) -> Operations:
        """Updates of all neurons in every step."""
        return of_window(self.operators, self.n_steps)

    def to_parts(self, shape: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Array]]:
        """What a model file holds of the network."""
        return file.to_parts(self, shape)

    @classmethod
    def from_parts(cls, metadata: Mapping[str, Any], tensors: Tensors, known: Known) -> SRMPacked:
        """The network of a file."""
        return cls(**file.from_parts(metadata, tensors, known))


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

    `binary`: weights and biases from 0 up become +1, others -1, as sign(0) = +1. Else weights are rounded by
    `snap_window`, biases to float32. `readout` `(n_out, n_readouts)` and `readout_bias` `(n_readouts,)` are +1 or -1.
    """
    packed = []
    for number, (op, pool, weight, bias) in enumerate(layers, start=1):
        weight, bias = np.asarray(weight), None if bias is None else np.asarray(bias)
        if weight.shape != op.weight_shape or (bias is not None and bias.shape != weight.shape[-1:]):
            found = f"{weight.shape} and biases {None if bias is None else bias.shape}"
            raise UsageError(f"layer {number} has weights {found}; expected {op.weight_shape}")
        weights: Weights = Signs.of(weight >= 0) if binary else Reals(snap_window(weight))
        biases: Weights | None = None
        if bias is not None:
            biases = Signs.of(bias >= 0) if binary else Reals(bias.astype(np.float32))
        packed.append(SRMPackedLayer(op, weights, biases, pool))
    readout, readout_bias = np.asarray(readout), np.asarray(readout_bias)
    for name, array in (("readout", readout), ("readout_bias", readout_bias)):
        if not (np.abs(array) == 1).all():
            raise UsageError(f"{name} holds something else than +1 and -1")
    return SRMPacked(
        tuple(packed),
        neuron,
        Signs.of(readout > 0),
        Signs.of(readout_bias > 0),
        burn_in,
        n_steps,
        n_classes,
        coding,
    )
