"""The bytes around a model: a safetensors file whose only metadata entry is a JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from bitspike.errors import FormatError, UsageError
from bitspike.files import parse_json
from bitspike.packed.decisions import Array
from bitspike.packed.weights import Reals, Signs, Weights, stored_shape

MAX_HEADER = 1 << 20
_DTYPES = {"U8": np.uint8, "I16": np.int16, "I32": np.int32, "F32": np.float32}


def join(metadata: dict[str, Any], tensors: dict[str, Array]) -> bytes:
    """The bytes of a model file; equal contents give equal bytes."""
    # One entry, because safetensors writes several in no fixed order.
    text = json.dumps(metadata, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    little = {
        key: np.ascontiguousarray(value.astype(value.dtype.newbyteorder("<")))
        for key, value in tensors.items()
    }
    return safetensors.numpy.save(little, metadata={"bitspike": text})


def split(data: bytes) -> tuple[dict[str, Any], Tensors]:
    """Metadata and tensors of the bytes of a model file; what is none raises `FormatError`."""
    return _metadata(data), _tensors(data)


def check_fields(metadata: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse, with `FormatError`, other fields than `expected`, or of other types; [int] is a list of integers."""
    if set(metadata) != set(expected):
        raise FormatError(f"metadata fields {sorted(metadata)}; expected {sorted(expected)}")
    for name, kind in expected.items():
        value, is_list = metadata[name], isinstance(kind, list)
        outer = list if is_list else kind
        if type(value) is not outer:
            raise FormatError(f"metadata field {name} is {value!r:.200}; expected {outer.__name__}")
        if is_list and any(type(item) is not kind[0] for item in value):
            raise FormatError(f"metadata field {name} holds something that is not {kind[0].__name__}")


class Tensors(dict[str, Array]):
    """The tensors of a file by name; a reader takes those it knows, and none may be left."""

    def take(self, name: str, shape: Sequence[int], dtype: type) -> Array:
        """Take a tensor of this shape and type out; another one, or none, raises `FormatError`."""
        tensor = self.pop(name, None)
        if tensor is None:
            raise FormatError(f"tensor {name} is missing")
        if tensor.dtype != np.dtype(dtype) or tensor.shape != tuple(shape):
            raise FormatError(
                f"tensor {name} is {tensor.dtype} {tensor.shape}; expected {np.dtype(dtype)} {tuple(shape)}"
            )
        return tensor.astype(dtype)

    def take_weights(self, kind: str, owner: str, shape: tuple[int, ...], bias: bool = False) -> Weights:
        """Take the weights (or biases) of a layer out: `OWNER.signs` if `kind` is binary, `OWNER.weights` if real."""
        if kind not in ("binary", "real"):
            raise FormatError(f"layer {owner}: kind is {kind!r:.100}; expected 'binary' or 'real'")
        name = f"{owner}.{weight_name(kind, bias)}"
        try:
            if kind == "binary":
                return Signs(self.take(name, stored_shape(shape), np.uint8), shape)
            return Reals(self.take(name, shape, np.float32))
        except UsageError as error:
            raise FormatError(f"tensor {name}: {error}") from error


def weight_name(kind: str, bias: bool = False) -> str:
    """What a layer's tensor of weights, or of biases, is called."""
    names = {"binary": ("signs", "bias_signs"), "real": ("weights", "bias")}
    return names[kind][bias]


def weight_tensor(weights: Weights) -> Array:
    """What a file holds of weights."""
    return weights.bits if isinstance(weights, Signs) else weights.values


def _metadata(data: bytes) -> dict[str, Any]:
    if len(data) < 8:
        raise FormatError(f"{len(data)} bytes; a model file has at least 8")
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER, len(data) - 8):
        raise FormatError(
            f"the header claims {length} bytes; the file has {len(data)}, headers at most {MAX_HEADER}"
        )
    try:
        header = parse_json(data[8 : 8 + length])
        metadata = parse_json(header["__metadata__"]["bitspike"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(
            f"the header is not that of a bitspike model ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(metadata, dict):
        raise FormatError("the metadata are not a JSON object")
    return metadata


def _tensors(data: bytes) -> Tensors:
    try:
        entries = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError) as error:
        raise FormatError(f"not a safetensors file: {error}") from error
    tensors = Tensors()
    for name, entry in entries:
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None:
            raise FormatError(f"tensor {name} has dtype {entry['dtype']}; expected one of {sorted(_DTYPES)}")
        if len(entry["shape"]) > 8:
            raise FormatError(f"tensor {name} has {len(entry['shape'])} dimensions; at most 8 are possible")
        flat = np.frombuffer(entry["data"], np.dtype(dtype).newbyteorder("<"))
        tensors[name] = flat.reshape(entry["shape"])
    return tensors
