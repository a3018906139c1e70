"""BiSNN networks in the file `model.bitspike`: codings poisson, events and sound (docs/format.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitspike.errors import FormatError, UsageError
from bitspike.ops.operators import Conv, Dense
from bitspike.ops.srm.neuron import SRMNeuron
from bitspike.packed.conformal import Quantiles, check_quantiles, quantile_field, take_quantiles
from bitspike.packed.container import Taker, check_fields, join
from bitspike.packed.decisions import Array
from bitspike.packed.lif.file import (
    MAX_WEIGHTS,
    NAMES,
    VERSION,
    check_contents,
    check_size,
    coding_name,
    plain,
    read_settings,
)
from bitspike.packed.srm.network import SRMPacked, SRMPackedLayer

DECISION = "mean probability, index"
_OPERATORS: dict[str, type[Dense | Conv]] = {"dense": Dense, "conv": Conv}


@dataclass(frozen=True, eq=False)
class SRMContents:
    """What a model file of a BiSNN network holds; `input_shape` as in `TrainContents`.

    A regression (`network.n_classes` 1) names no classes.
    """

    network: SRMPacked
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    temperature: float = 1.0
    recipe: str = ""
    conformal: Quantiles = ()

    def __post_init__(self) -> None:
        network = self.network
        check_contents(network, self.input_shape, self.temperature)
        if len(self.classes) != (0 if network.n_classes == 1 else network.n_classes):
            raise UsageError(f"{len(self.classes)} classes are named but the network has {network.n_classes}")
        if self.conformal and not self.classes:
            raise UsageError("a regression has no conformal sets of classes")
        check_quantiles(self.conformal)
        check_size([layer.operator for layer in network.layers], network.n_steps)
        _check_readout(network.n_out, network.n_readouts)

    @property
    def coding(self) -> str:
        """poisson, events or sound."""
        return coding_name(self.network.coding)


def encode(contents: SRMContents) -> bytes:
    """The bytes of the model file; equal contents give equal bytes."""
    network, tensors = contents.network, dict[str, Array]()
    layers = []
    for number, layer in enumerate(network.layers, start=1):
        for name in ("signs", "weights", "bias_signs", "bias"):
            array = getattr(layer, name)
            if array is not None:
                tensors[f"{number}.{name}"] = array
        operator = next(name for name, kind in _OPERATORS.items() if type(layer.operator) is kind)
        biased = layer.bias is not None or layer.bias_signs is not None
        layers.append(
            {"kind": layer.kind, operator: plain(layer.operator), "pool": layer.pool, "bias": biased}
        )
    tensors |= {"readout.signs": network.readout, "readout.bias_signs": network.readout_bias}
    metadata = {
        "format": VERSION,
        "coding": contents.coding,
        "settings": plain(network.coding),
        "input": list(contents.input_shape),
        "neuron": plain(network.neuron),
        "layers": layers,
        "readouts": network.n_readouts,
        "burn_in": network.burn_in,
        "classes": list(contents.classes),
        "temperature": contents.temperature,
        "decision": DECISION,
        "recipe": contents.recipe,
    }
    return join(metadata | quantile_field(contents.conformal), tensors)


def decode(metadata: dict[str, Any], tensors: dict[str, Array]) -> SRMContents:
    """The contents of a file with the decision rule `DECISION`, whose format version has been checked."""
    conformal = take_quantiles(metadata)
    check_fields(
        metadata,
        {
            "format": int, "coding": str, "settings": dict, "input": list, "neuron": dict, "layers": list,
            "readouts": int, "burn_in": int, "classes": list, "temperature": float, "decision": str, "recipe": str,
        },
        {"input": int, "layers": dict, "classes": str},
    )  # fmt: skip
    if metadata["coding"] not in NAMES:
        raise FormatError(f"coding {metadata['coding']!r} is unknown; expected one of {sorted(NAMES)}")
    coding: Any = read_settings(NAMES[metadata["coding"]], metadata["settings"], "settings")
    neuron: SRMNeuron = read_settings(SRMNeuron, metadata["neuron"], "neuron")
    heads = [_head(entry, number) for number, entry in enumerate(metadata["layers"], start=1)]
    check_size(list(heads), coding.n_steps)
    layers = []
    for number, (op, entry) in enumerate(zip(heads, metadata["layers"], strict=True), start=1):
        take, shape = Taker(tensors, number), op.weight_shape
        arrays: dict[str, Array] = {}
        if entry["kind"] == "binary":
            arrays["signs"] = take("signs", (math.prod(shape[:-1]), -(-shape[-1] // 8)), np.uint8)
            if entry["bias"]:
                arrays["bias_signs"] = take("bias_signs", (-(-shape[-1] // 8),), np.uint8)
        elif entry["kind"] == "real":
            arrays["weights"] = take("weights", shape, np.float32)
            if entry["bias"]:
                arrays["bias"] = take("bias", shape[-1:], np.float32)
        layers.append(SRMPackedLayer(op, entry["kind"], entry["pool"], **arrays))
    n_out, k, take = layers[-1].n_out, metadata["readouts"], Taker(tensors, "readout")
    _check_readout(n_out, k)
    network = SRMPacked(
        layers=tuple(layers),
        neuron=neuron,
        readout=take("signs", (n_out, -(-k // 8)), np.uint8),
        readout_bias=take("bias_signs", (-(-k // 8),), np.uint8),
        n_readouts=k,
        burn_in=metadata["burn_in"],
        n_steps=coding.n_steps,
        n_classes=len(metadata["classes"]) or 1,
        coding=coding,
    )
    if tensors:
        raise FormatError(f"tensors that do not belong here: {sorted(tensors)}")
    return SRMContents(
        network=network,
        input_shape=tuple(metadata["input"]),
        classes=tuple(metadata["classes"]),
        temperature=metadata["temperature"],
        recipe=metadata["recipe"],
        conformal=conformal,
    )


def _check_readout(n_out: int, n_readouts: int) -> None:
    if n_readouts < 1 or n_out * -(-n_readouts // 16) * 16 > MAX_WEIGHTS:
        raise UsageError(
            f"{n_readouts} readouts of {n_out} neurons; at least 1, at most {MAX_WEIGHTS} synapses"
        )


def _head(entry: dict[str, Any], number: int) -> Dense | Conv:
    where = f"layer {number}"
    names = [name for name in _OPERATORS if name in entry]
    kinds = {"kind": str, "pool": int, "bias": bool}
    if len(names) != 1 or set(entry) != {*kinds, names[0]}:
        expected = f"kind, pool, bias and one of {sorted(_OPERATORS)}"
        raise FormatError(f"{where} has fields {sorted(entry)}; expected {expected}")
    for name, kind in kinds.items():
        if type(entry[name]) is not kind:
            raise FormatError(f"{where}: {name} is {entry[name]!r:.100}; expected {kind.__name__}")
    operator: Dense | Conv = read_settings(_OPERATORS[names[0]], entry[names[0]], f"{where}, {names[0]}")
    return operator
