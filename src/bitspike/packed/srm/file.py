"""BiSNN networks in the file `model.bitspike`: codings of spikes, not of currents (docs/format.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitspike.errors import FormatError, UsageError
from bitspike.ops.operators import Conv, Dense
from bitspike.ops.srm.neuron import SRMNeuron
from bitspike.packed.base import Known
from bitspike.packed.codings import coding_name, read_coding
from bitspike.packed.container import Tensors, weight_name, weight_tensor
from bitspike.packed.decisions import Array
from bitspike.packed.fields import (
    MAX_WEIGHTS,
    check_size,
    operator_field,
    plain,
    read_operator,
    read_settings,
)
from bitspike.packed.srm.layers import SRMPackedLayer, SRMStack

OPERATORS: dict[str, type[Any]] = {"dense": Dense, "conv": Conv}
_ENTRY = {"kind": str, "pool": int, "bias": bool}


def to_parts(network: SRMStack, shape: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Array]]:
    """What a model file holds of the network."""
    check_size(network.operators, network.n_steps)
    _check_readout(network.n_out, network.n_readouts)
    tensors, layers = dict[str, Array](), []
    for number, layer in enumerate(network.layers, start=1):
        tensors[f"{number}.{weight_name(layer.kind)}"] = weight_tensor(layer.weights)
        if layer.bias is not None:
            tensors[f"{number}.{weight_name(layer.kind, bias=True)}"] = weight_tensor(layer.bias)
        operator = operator_field(layer.operator, OPERATORS)
        layers.append({"kind": layer.kind, **operator, "pool": layer.pool, "bias": layer.bias is not None})
    tensors |= {"readout.signs": network.readout.bits, "readout.bias_signs": network.readout_bias.bits}
    fields = {
        "coding": coding_name(network.coding),
        "settings": plain(network.coding),
        "input": list(shape),
        "neuron": plain(network.neuron),
        "layers": layers,
        "readouts": network.n_readouts,
        "burn_in": network.burn_in,
    }
    return fields, tensors


def from_parts(metadata: Mapping[str, Any], tensors: Tensors, known: Known) -> dict[str, Any]:
    """The arguments of `SRMPacked` of a file."""
    coding = read_coding(metadata, known)
    neuron = read_settings(SRMNeuron, metadata["neuron"], "neuron")
    heads = [_head(entry, f"layer {number}") for number, entry in enumerate(metadata["layers"], start=1)]
    check_size(heads, coding.n_steps)
    layers = []
    for number, (op, entry) in enumerate(zip(heads, metadata["layers"], strict=True), start=1):
        weights = tensors.take_weights(entry["kind"], str(number), op.weight_shape)
        bias = None
        if entry["bias"]:
            bias = tensors.take_weights(entry["kind"], str(number), op.weight_shape[-1:], bias=True)
        layers.append(SRMPackedLayer(op, weights, bias, entry["pool"]))
    n_out, n_readouts = layers[-1].n_out, metadata["readouts"]
    _check_readout(n_out, n_readouts)
    return {
        "layers": tuple(layers),
        "neuron": neuron,
        "readout": tensors.take_weights("binary", "readout", (n_out, n_readouts)),
        "readout_bias": tensors.take_weights("binary", "readout", (n_readouts,), bias=True),
        "burn_in": metadata["burn_in"],
        "n_steps": coding.n_steps,
        "outputs": len(metadata["classes"]) or 1,
        "coding": coding,
    }


def _check_readout(n_out: int, n_readouts: int) -> None:
    if n_readouts < 1 or n_out * -(-n_readouts // 16) * 16 > MAX_WEIGHTS:
        raise UsageError(
            f"{n_readouts} readouts of {n_out} neurons; at least 1, at most {MAX_WEIGHTS} synapses"
        )


def _head(entry: dict[str, Any], where: str) -> Dense | Conv:
    operator: Dense | Conv = read_operator(entry, OPERATORS, set(_ENTRY), where)
    for name, kind in _ENTRY.items():
        if type(entry[name]) is not kind:
            raise FormatError(f"{where}: {name} is {entry[name]!r:.100}; expected {kind.__name__}")
    return operator
