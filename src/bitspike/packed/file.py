"""The file `model.bitspike`: a safetensors file, described byte by byte in docs/format.md."""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bitspike.errors import FormatError, UsageError
from bitspike.packed import committee
from bitspike.packed.committee import CommitteeContents
from bitspike.packed.conformal import Quantiles, check_quantiles, quantile_field, take_quantiles
from bitspike.packed.container import Taker, check_fields, join, split
from bitspike.packed.decisions import Array
from bitspike.packed.first_spike.network import MAX_STEPS, FirstSpikePacked, FirstSpikePackedLayer
from bitspike.packed.lif import file as train_format
from bitspike.packed.lif.file import VERSION, TrainContents
from bitspike.packed.srm import file as srm_format
from bitspike.packed.srm.file import SRMContents

DECISION = "earliest, margin, index"
MAX_FILE = 1 << 31


@dataclass(frozen=True, eq=False)
class Contents:
    """What a model file holds: the network, how images become its input, and what its classes are called."""

    network: FirstSpikePacked
    coding: Literal["first_spike", "pixel"]
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    temperature: float = 1.0
    recipe: str = ""
    binarise: bool = False  # coding "pixel": 255 where a pixel is 128 or more, else 0
    conformal: Quantiles = ()

    def __post_init__(self) -> None:
        network = self.network
        if self.coding not in ("first_spike", "pixel"):
            raise UsageError(f"coding is {self.coding!r}; it must be 'first_spike' or 'pixel'")
        if not self.input_shape or min(self.input_shape) < 1 or math.prod(self.input_shape) != network.n_in:
            raise UsageError(f"input_shape {self.input_shape} does not make {network.n_in} inputs")
        if len(self.classes) != network.n_classes:
            raise UsageError(
                f"{len(self.classes)} classes are named but the network has {network.n_classes} outputs"
            )
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise UsageError(f"temperature is {self.temperature}; it must be positive and finite")
        if self.binarise and self.coding != "pixel":
            raise UsageError("binarise belongs to coding 'pixel'")
        check_quantiles(self.conformal)
        if self.coding == "pixel":
            if any(layer.kind != "binary" for layer in network.layers):
                raise UsageError("coding 'pixel' is for binary layers; this network has a real one")
            if network.n_steps != 1 or network.delay != 0:
                raise UsageError("coding 'pixel' knows no time: n_steps must be 1 and delay 0")
            if max(reach(self.coding, index, layer) for index, layer in enumerate(network.layers)) >= 2**24:
                raise UsageError("a layer is so wide that its sums leave the integers float32 holds exactly")


def reach(coding: str, index: int, layer: FirstSpikePackedLayer) -> int:
    """The largest |U| that a binary layer can see."""
    return layer.n_in * (255 if coding == "pixel" and index == 0 else 1)


AnyContents = Contents | TrainContents | SRMContents | CommitteeContents


def encode(contents: AnyContents) -> bytes:
    """The bytes of the model file; equal contents give equal bytes."""
    if isinstance(contents, TrainContents):
        return train_format.encode(contents)
    if isinstance(contents, SRMContents):
        return srm_format.encode(contents)
    if isinstance(contents, CommitteeContents):
        return committee.encode(contents, encode)
    network, tensors = contents.network, dict[str, Array]()
    for index, layer in enumerate(network.layers):
        name = f"{index + 1}."
        if layer.signs is None:
            assert layer.weights is not None
            tensors[name + "weights"] = layer.weights
        else:
            tensors[name + "signs"] = layer.signs
        if layer.signs is None or index == len(network.layers) - 1:
            tensors[name + "thresholds"] = layer.thresholds
        else:
            fires_at = layer.fires_at(reach(contents.coding, index, layer))
            tensors[name + "fires_at"] = fires_at.astype(_threshold_dtype(contents.coding, index, layer))
    metadata = {
        "format": VERSION,
        "coding": contents.coding,
        "n_steps": network.n_steps,
        "delay": network.delay,
        "input": list(contents.input_shape),
        "widths": [network.n_in, *(layer.n_out for layer in network.layers)],
        "kinds": [layer.kind for layer in network.layers],
        "classes": list(contents.classes),
        "temperature": contents.temperature,
        "decision": DECISION,
        "recipe": contents.recipe,
    }
    if contents.coding == "pixel":
        metadata["binarise"] = contents.binarise
    return join(metadata | quantile_field(contents.conformal), tensors)


def decode(data: bytes) -> AnyContents:
    """Read the bytes of a model file; whatever breaks the format raises `FormatError` and says what."""
    try:
        return _decode(data)
    except UsageError as error:
        raise FormatError(str(error)) from error


def write(contents: AnyContents, path: Path | str) -> int:
    """Write a model file: beside its place, flushed to disk, then renamed. Returns its size in bytes."""
    path, data = Path(path), encode(contents)
    handle, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return len(data)


def read(path: Path | str) -> AnyContents:
    """Read a model file; a missing or damaged one raises `FormatError` naming the file."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE:
                raise FormatError(f"{size} bytes; a model file has at most {MAX_FILE}")
            data = file.read(MAX_FILE)
        return decode(data)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from error
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error


def _decode(data: bytes, is_member: bool = False) -> AnyContents:
    metadata, tensors = split(data)
    if metadata.get("format") != VERSION or type(metadata["format"]) is not int:
        raise FormatError(
            f"format version {metadata.get('format')!r}; this release reads version {VERSION} only"
        )
    if metadata.get("decision") == committee.DECISION:
        if is_member:
            raise FormatError("a committee is no member of a committee")
        return committee.decode(metadata, tensors, lambda member: _decode(member, is_member=True))
    if metadata.get("decision") == srm_format.DECISION:
        return srm_format.decode(metadata, tensors)
    if str(metadata.get("coding")) in train_format.NAMES:
        return train_format.decode(metadata, tensors)
    expected = {
        "format": int, "coding": str, "n_steps": int, "delay": int, "input": list, "widths": list,
        "kinds": list, "classes": list, "temperature": float, "decision": str, "recipe": str,
    }  # fmt: skip
    if metadata.get("coding") == "pixel":
        expected["binarise"] = bool
    conformal = take_quantiles(metadata)
    check_fields(metadata, expected, {"input": int, "widths": int, "kinds": str, "classes": str})
    if metadata["decision"] != DECISION:
        raise FormatError(f"decision rule {metadata['decision']!r} is unknown; expected {DECISION!r}")
    if not 1 <= metadata["n_steps"] <= MAX_STEPS:
        raise FormatError(f"n_steps is {metadata['n_steps']}; it must lie between 1 and {MAX_STEPS}")
    widths, kinds = metadata["widths"], metadata["kinds"]
    if len(widths) != len(kinds) + 1 or not 1 <= len(kinds) <= 64:
        raise FormatError(
            f"{len(widths)} widths and {len(kinds)} layers; expected 1 to 64 layers and one width more"
        )
    if min(widths) < 1 or max(widths) >= 2**24:
        raise FormatError("a width lies outside 1..2^24 - 1")

    layers = []
    for index, kind in enumerate(kinds):
        n_in, n_out = widths[index], widths[index + 1]
        take = Taker(tensors, index + 1)
        if kind == "real":
            weights = take("weights", (n_in, n_out), np.float32)
            layers.append(
                FirstSpikePackedLayer(
                    "real", n_in, n_out, take("thresholds", (n_out,), np.float32), weights=weights
                )
            )
            continue
        if kind != "binary":
            raise FormatError(f"layer {index + 1} is of kind {kind!r}; expected 'binary' or 'real'")
        signs = take("signs", (n_in, -(-n_out // 8)), np.uint8)
        if index == len(kinds) - 1:
            thresholds = take("thresholds", (n_out,), np.float32)
        else:
            bare = FirstSpikePackedLayer("binary", n_in, n_out, np.zeros(n_out, np.float32), signs=signs)
            fires_at = take("fires_at", (n_out,), _threshold_dtype(metadata["coding"], index, bare)).astype(
                np.int64
            )
            bound = reach(metadata["coding"], index, bare)
            if fires_at.min() < -bound or fires_at.max() > bound + 1:
                raise FormatError(f"layer {index + 1} has a threshold outside {-bound}..{bound + 1}")
            thresholds = (fires_at - 1).astype(np.float32)  # U > F - 1 is U >= F
        layers.append(FirstSpikePackedLayer("binary", n_in, n_out, thresholds, signs=signs))
    if tensors:
        raise FormatError(f"tensors that do not belong here: {sorted(tensors)}")
    return Contents(
        network=FirstSpikePacked(tuple(layers), metadata["n_steps"], metadata["delay"]),
        coding=metadata["coding"],
        input_shape=tuple(metadata["input"]),
        classes=tuple(metadata["classes"]),
        temperature=metadata["temperature"],
        recipe=metadata["recipe"],
        binarise=metadata.get("binarise", False),
        conformal=conformal,
    )


def _threshold_dtype(coding: str, index: int, layer: FirstSpikePackedLayer) -> type:
    """int16 where every threshold that makes a difference fits, else int32."""
    return np.int16 if reach(coding, index, layer) + 1 <= 32767 else np.int32
