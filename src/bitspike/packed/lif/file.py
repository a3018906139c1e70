"""Leaky integrate-and-fire networks in the file `model.bitspike` (docs/format.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitspike.errors import FormatError
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.operators import Conv, Dense, Operator, Pool
from bitspike.packed.base import Known
from bitspike.packed.codings import coding_name, read_coding
from bitspike.packed.container import Tensors, weight_name, weight_tensor
from bitspike.packed.decisions import Array
from bitspike.packed.fields import check_size, operator_field, plain, read_operator, read_settings
from bitspike.packed.lif.layers import LIFPackedLayer, LIFStack

OPERATORS: dict[str, type[Operator]] = {"dense": Dense, "conv": Conv, "pool": Pool}


def to_parts(network: LIFStack, shape: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Array]]:
    """What a model file holds of the network."""
    check_size(network.operators, network.n_steps)
    tensors, layers = dict[str, Array](), []
    for number, layer in enumerate(network.layers, start=1):
        if layer.weights is not None:
            tensors[f"{number}.{weight_name(layer.kind)}"] = weight_tensor(layer.weights)
        operator = operator_field(layer.operator, OPERATORS)
        layers.append({"kind": layer.kind, **operator, "neuron": plain(layer.neuron)})
    fields = {
        "coding": coding_name(network.coding),
        "settings": plain(network.coding),
        "input": list(shape),
        "layers": layers,
    }
    return fields, tensors


def from_parts(
    metadata: Mapping[str, Any], tensors: Tensors, known: Known
) -> tuple[tuple[LIFPackedLayer, ...], Any]:
    """The layers and the coding of a file."""
    coding = read_coding(metadata, known)
    heads = [_head(entry, f"layer {number}") for number, entry in enumerate(metadata["layers"], start=1)]
    check_size([op for _, op, _ in heads], coding.n_steps)
    layers = []
    for number, (kind, op, neuron) in enumerate(heads, start=1):
        shape = op.weight_shape
        if (shape is None) != (kind == "pool"):
            raise FormatError(
                f"layer {number}: kind is {kind!r:.100} but the operator is a {type(op).__name__}"
            )
        weights = None if shape is None else tensors.take_weights(kind, str(number), shape)
        layers.append(LIFPackedLayer(op, weights, neuron))
    return tuple(layers), coding


def _head(entry: dict[str, Any], where: str) -> tuple[str, Operator, Neuron]:
    op: Operator = read_operator(entry, OPERATORS, {"kind", "neuron"}, where)
    if type(entry["kind"]) is not str:
        raise FormatError(f"{where}: kind is {entry['kind']!r:.100}; expected text")
    return entry["kind"], op, read_settings(Neuron, entry["neuron"], f"{where}, neuron")
