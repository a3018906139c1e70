"""The file `model.bitspike`: a safetensors file, described byte by byte in docs/format.md."""

from __future__ import annotations

import json
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from bitspike.errors import FormatError, UsageError
from bitspike.ops.packed.network import MAX_STEPS, Array, PackedLayer, PackedNetwork

VERSION = 1
DECISION = "earliest, margin, index"
MAX_HEADER = 1 << 20
MAX_FILE = 1 << 31
_DTYPES = {"U8": np.uint8, "I16": np.int16, "I32": np.int32, "F32": np.float32}


@dataclass(frozen=True, eq=False)
class Contents:
    """What a model file holds: the network, how images become its input, and what its classes are called."""

    network: PackedNetwork
    coding: Literal["first_spike", "pixel"]
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    temperature: float = 1.0
    recipe: str = ""
    binarise: bool = False  # coding "pixel": 255 where a pixel is 128 or more, else 0

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
        if self.coding == "pixel":
            if any(layer.kind != "binary" for layer in network.layers):
                raise UsageError("coding 'pixel' is for binary layers; this network has a real one")
            if network.n_steps != 1 or network.delay != 0:
                raise UsageError("coding 'pixel' knows no time: n_steps must be 1 and delay 0")
            if max(reach(self.coding, index, layer) for index, layer in enumerate(network.layers)) >= 2**24:
                raise UsageError("a layer is so wide that its sums leave the integers float32 holds exactly")


def reach(coding: str, index: int, layer: PackedLayer) -> int:
    """The largest |U| that a binary layer can see."""
    return layer.n_in * (255 if coding == "pixel" and index == 0 else 1)


def encode(contents: Contents) -> bytes:
    """The bytes of the model file; equal contents give equal bytes."""
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
    # One entry, because safetensors writes several in no fixed order.
    text = json.dumps(metadata, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    little = {
        key: np.ascontiguousarray(value.astype(value.dtype.newbyteorder("<")))
        for key, value in tensors.items()
    }
    return safetensors.numpy.save(little, metadata={"bitspike": text})


def decode(data: bytes) -> Contents:
    """Read the bytes of a model file; whatever breaks the format raises `FormatError` and says what."""
    try:
        return _decode(data)
    except UsageError as error:
        raise FormatError(str(error)) from error


def write(contents: Contents, path: Path | str) -> int:
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


def read(path: Path | str) -> Contents:
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


def _decode(data: bytes) -> Contents:
    metadata, tensors = _metadata(data), _tensors(data)
    if metadata.get("format") != VERSION or type(metadata["format"]) is not int:
        raise FormatError(
            f"format version {metadata.get('format')!r}; this release reads version {VERSION} only"
        )
    expected = {
        "format": int, "coding": str, "n_steps": int, "delay": int, "input": list, "widths": list,
        "kinds": list, "classes": list, "temperature": float, "decision": str, "recipe": str,
    }  # fmt: skip
    if metadata.get("coding") == "pixel":
        expected["binarise"] = bool
    if set(metadata) != set(expected):
        raise FormatError(f"metadata fields {sorted(metadata)}; expected {sorted(expected)}")
    for name, kind in expected.items():
        if type(metadata[name]) is not kind:
            raise FormatError(f"metadata field {name} is {metadata[name]!r}; expected {kind.__name__}")
    for name, kind in (("input", int), ("widths", int), ("kinds", str), ("classes", str)):
        if any(type(item) is not kind for item in metadata[name]):
            raise FormatError(f"metadata field {name} holds something that is not {kind.__name__}")
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
        take = _Taker(tensors, index + 1)
        if kind == "real":
            weights = take("weights", (n_in, n_out), np.float32)
            layers.append(
                PackedLayer("real", n_in, n_out, take("thresholds", (n_out,), np.float32), weights=weights)
            )
            continue
        if kind != "binary":
            raise FormatError(f"layer {index + 1} is of kind {kind!r}; expected 'binary' or 'real'")
        signs = take("signs", (n_in, -(-n_out // 8)), np.uint8)
        if index == len(kinds) - 1:
            thresholds = take("thresholds", (n_out,), np.float32)
        else:
            bare = PackedLayer("binary", n_in, n_out, np.zeros(n_out, np.float32), signs=signs)
            fires_at = take("fires_at", (n_out,), _threshold_dtype(metadata["coding"], index, bare)).astype(
                np.int64
            )
            bound = reach(metadata["coding"], index, bare)
            if fires_at.min() < -bound or fires_at.max() > bound + 1:
                raise FormatError(f"layer {index + 1} has a threshold outside {-bound}..{bound + 1}")
            thresholds = (fires_at - 1).astype(np.float32)  # U > F - 1 is U >= F
        layers.append(PackedLayer("binary", n_in, n_out, thresholds, signs=signs))
    if tensors:
        raise FormatError(f"tensors that do not belong here: {sorted(tensors)}")
    return Contents(
        network=PackedNetwork(tuple(layers), metadata["n_steps"], metadata["delay"]),
        coding=metadata["coding"],
        input_shape=tuple(metadata["input"]),
        classes=tuple(metadata["classes"]),
        temperature=metadata["temperature"],
        recipe=metadata["recipe"],
        binarise=metadata.get("binarise", False),
    )


def _metadata(data: bytes) -> dict[str, Any]:
    if len(data) < 8:
        raise FormatError(f"{len(data)} bytes; a model file has at least 8")
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER, len(data) - 8):
        raise FormatError(
            f"the header claims {length} bytes; the file has {len(data)}, headers at most {MAX_HEADER}"
        )
    try:
        header = json.loads(data[8 : 8 + length].decode("utf-8"))
        text = header["__metadata__"]["bitspike"]
        metadata = json.loads(text, parse_constant=_refuse)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(
            f"the header is not that of a bitspike model ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(metadata, dict):
        raise FormatError("the metadata are not a JSON object")
    return metadata


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def _tensors(data: bytes) -> dict[str, Array]:
    try:
        entries = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError) as error:
        raise FormatError(f"not a safetensors file: {error}") from error
    tensors = {}
    for name, entry in entries:
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None:
            raise FormatError(f"tensor {name} has dtype {entry['dtype']}; expected one of {sorted(_DTYPES)}")
        tensors[name] = np.frombuffer(entry["data"], np.dtype(dtype).newbyteorder("<")).reshape(
            entry["shape"]
        )
    return tensors


def _threshold_dtype(coding: str, index: int, layer: PackedLayer) -> type:
    """int16 where every threshold that makes a difference fits, else int32."""
    return np.int16 if reach(coding, index, layer) + 1 <= 32767 else np.int32


class _Taker:
    """Takes the tensors of one layer out of the dictionary and checks them."""

    def __init__(self, tensors: dict[str, Array], number: int) -> None:
        self.tensors, self.number = tensors, number

    def __call__(self, name: str, shape: tuple[int, ...], dtype: type) -> Array:
        full = f"{self.number}.{name}"
        tensor = self.tensors.pop(full, None)
        if tensor is None:
            raise FormatError(f"tensor {full} is missing")
        if tensor.dtype != np.dtype(dtype) or tensor.shape != shape:
            raise FormatError(
                f"tensor {full} is {tensor.dtype} {tensor.shape}; expected {np.dtype(dtype)} {shape}"
            )
        return tensor.astype(dtype)
