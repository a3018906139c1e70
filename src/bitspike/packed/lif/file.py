"""Networks of spike trains in the file `model.bitspike`: codings direct, poisson, events and sound (docs/format.md)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, get_type_hints

import numpy as np

from bitspike.coding import Cochlea, Direct, EventBins, Poisson
from bitspike.errors import FormatError, UsageError
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.operators import Conv, Dense, Operator, Pool
from bitspike.packed.conformal import Quantiles, check_quantiles, quantile_field, take_quantiles
from bitspike.packed.container import Taker, check_fields, join
from bitspike.packed.decisions import Array
from bitspike.packed.lif.network import LIFPacked, LIFPackedLayer, Window

VERSION = 1
DECISION = "count, membrane, index"
MAX_NEURONS = 1 << 22  # of a network, inputs included
MAX_STATES = 1 << 31  # neurons times steps
MAX_WEIGHTS = 1 << 28  # of a layer, filters rounded up to 16

TrainCoding = Direct | Poisson | EventBins | Cochlea
NAMES: dict[str, type[TrainCoding]] = {
    "direct": Direct, "poisson": Poisson, "events": EventBins, "sound": Cochlea,
}  # fmt: skip
OPERATORS: dict[str, type[Operator]] = {"dense": Dense, "conv": Conv, "pool": Pool}


@dataclass(frozen=True, eq=False)
class TrainContents:
    """What a model file of spike trains holds; the network's `coding` says how an input becomes spikes.

    `input_shape`: (height, width) of an image or its number of features, (polarities, height, width) of events,
    (channels,) of sound.
    """

    network: LIFPacked
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    temperature: float = 1.0
    recipe: str = ""
    conformal: Quantiles = ()

    def __post_init__(self) -> None:
        network = self.network
        check_contents(network, self.input_shape, self.temperature)
        if len(self.classes) != network.n_classes:
            raise UsageError(
                f"{len(self.classes)} classes are named but the network has {network.n_classes} outputs"
            )
        check_quantiles(self.conformal)
        check_size([layer.operator for layer in network.layers], network.n_steps)

    @property
    def coding(self) -> str:
        """direct, poisson, events or sound."""
        return coding_name(self.network.coding)


def coding_name(coding: TrainCoding) -> str:
    """A coding's name in the file."""
    return next(name for name, kind in NAMES.items() if type(coding) is kind)


def check_contents(network: Window, shape: tuple[int, ...], temperature: float) -> None:
    """Refuse an input shape that the coding does not make the network's inputs of, and an impossible temperature."""
    coding = network.coding
    if not isinstance(coding, TrainCoding):
        raise UsageError(f"coding is {type(coding).__name__}; it must be one of {sorted(NAMES)}")
    if not shape or min(shape) < 1:
        raise UsageError(f"input_shape {shape} is the shape of no input")
    n_in = math.prod(shape)
    channels = coding.n_channels(n_in) if isinstance(coding, Poisson) else n_in
    if isinstance(coding, EventBins | Cochlea):
        channels = coding.n_channels if coding.n_channels == n_in else -1
    if channels != network.n_in:
        raise UsageError(f"input_shape {shape} does not make {network.n_in} inputs")
    if not (math.isfinite(temperature) and temperature > 0):
        raise UsageError(f"temperature is {temperature}; it must be positive and finite")


def check_size(operators: list[Operator], n_steps: int) -> None:
    """Refuse networks so large that deciding would ask for gigabytes; files can claim any size."""
    if not 1 <= len(operators) <= 64:
        raise UsageError(f"{len(operators)} layers; 1 to 64 are possible")
    neurons = operators[0].n_in + sum(op.n_out for op in operators)
    if min(op.n_in for op in operators) < 1 or neurons > MAX_NEURONS or neurons * n_steps > MAX_STATES:
        raise UsageError(
            f"{neurons} neurons in {n_steps} steps; at most {MAX_NEURONS}, times steps {MAX_STATES}"
        )
    for number, op in enumerate(operators, start=1):
        shape = op.weight_shape or (1, 1)
        if math.prod(shape[:-1]) * -(-shape[-1] // 16) * 16 > MAX_WEIGHTS:
            raise UsageError(f"layer {number} has weights of shape {shape}; at most {MAX_WEIGHTS}")


def encode(contents: TrainContents) -> bytes:
    """The bytes of the model file; equal contents give equal bytes."""
    network, tensors = contents.network, dict[str, Array]()
    layers = []
    for number, layer in enumerate(network.layers, start=1):
        if layer.signs is not None:
            tensors[f"{number}.signs"] = layer.signs
        if layer.weights is not None:
            tensors[f"{number}.weights"] = layer.weights
        name = next(name for name, kind in OPERATORS.items() if type(layer.operator) is kind)
        layers.append({"kind": layer.kind, name: plain(layer.operator), "neuron": plain(layer.neuron)})
    metadata = {
        "format": VERSION,
        "coding": contents.coding,
        "settings": plain(network.coding),
        "input": list(contents.input_shape),
        "layers": layers,
        "classes": list(contents.classes),
        "temperature": contents.temperature,
        "decision": DECISION,
        "recipe": contents.recipe,
    }
    return join(metadata | quantile_field(contents.conformal), tensors)


def decode(metadata: dict[str, Any], tensors: dict[str, Array]) -> TrainContents:
    """The contents of a file of one of the codings `NAMES`, whose format version has been checked."""
    conformal = take_quantiles(metadata)
    check_fields(
        metadata,
        {
            "format": int, "coding": str, "settings": dict, "input": list, "layers": list, "classes": list,
            "temperature": float, "decision": str, "recipe": str,
        },
        {"input": int, "layers": dict, "classes": str},
    )  # fmt: skip
    if metadata["decision"] != DECISION:
        raise FormatError(f"decision rule {metadata['decision']!r} is unknown; expected {DECISION!r}")
    coding = read_settings(NAMES[metadata["coding"]], metadata["settings"], "settings")
    heads = [_head(entry, number) for number, entry in enumerate(metadata["layers"], start=1)]
    check_size([op for _, op, _ in heads], coding.n_steps)
    layers = []
    for number, (kind, op, neuron) in enumerate(heads, start=1):
        take, shape = Taker(tensors, number), op.weight_shape
        signs = weights = None
        if shape is not None and kind == "binary":
            signs = take("signs", (math.prod(shape[:-1]), -(-shape[-1] // 8)), np.uint8)
        if shape is not None and kind == "real":
            weights = take("weights", shape, np.float32)
        layers.append(LIFPackedLayer(op, kind, neuron, signs, weights))
    if tensors:
        raise FormatError(f"tensors that do not belong here: {sorted(tensors)}")
    return TrainContents(
        network=LIFPacked(tuple(layers), coding.n_steps, coding),
        input_shape=tuple(metadata["input"]),
        classes=tuple(metadata["classes"]),
        temperature=metadata["temperature"],
        recipe=metadata["recipe"],
        conformal=conformal,
    )


def _head(entry: dict[str, Any], number: int) -> tuple[Any, Operator, Neuron]:
    where = f"layer {number}"
    names = [name for name in OPERATORS if name in entry]
    if len(names) != 1 or set(entry) != {"kind", "neuron", names[0]} or type(entry["kind"]) is not str:
        raise FormatError(
            f"{where} has fields {sorted(entry)}; expected kind, neuron and one of {sorted(OPERATORS)}"
        )
    operator: Operator = read_settings(OPERATORS[names[0]], entry[names[0]], f"{where}, {names[0]}")
    return entry["kind"], operator, read_settings(Neuron, entry["neuron"], f"{where}, neuron")


def plain(settings: Any) -> dict[str, Any]:
    """The fields of a frozen dataclass of numbers, each of its declared type."""
    hints = get_type_hints(type(settings))
    return {name: hints[name](value) for name, value in asdict(settings).items()}


def read_settings(kind: type[Any], entry: Any, where: str) -> Any:
    """A dataclass of numbers from its JSON object; whatever it refuses raises `FormatError`."""
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    if type(entry) is not dict or set(entry) != set(names):
        raise FormatError(f"{where} is {entry!r:.200}; expected the fields {names}")
    for name in names:
        if type(entry[name]) is not hints[name] or abs(entry[name]) > 1e15:
            raise FormatError(f"{where}: {name} is {entry[name]!r:.100}; expected {hints[name].__name__}")
    try:
        return kind(**entry)
    except (UsageError, ArithmeticError) as error:
        raise FormatError(f"{where}: {error}") from error
