"""The packed network of BiSNN: layers of spike response neurons and the readout of the last one; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from bitspike.coding.spike_list import SpikeList
from bitspike.errors import UsageError
from bitspike.ops.operators import Conv, Dense
from bitspike.ops.srm.neuron import SRMNeuron
from bitspike.packed.base import Known
from bitspike.packed.container import Tensors
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.operations import Operations, updates
from bitspike.packed.srm import file, reference
from bitspike.packed.srm.layers import SRMPackedLayer, SRMStack
from bitspike.packed.srm.native import SRMEngine
from bitspike.packed.weights import Reals, Signs, Weights, snap_window


class SRMPacked(SRMStack):
    """Layers of spike response neurons that decide by the mean probability (`reference`), then the lowest index."""

    decision: ClassVar[str] = "mean probability, index"
    fields: ClassVar[Mapping[str, Any]] = {
        "coding": str, "settings": dict, "input": [int], "neuron": dict, "layers": [dict], "readouts": int,
        "burn_in": int, "classes": [str],
    }  # fmt: skip

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
        return Operations(srm_updates=updates(self.operators, self.n_steps))

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
