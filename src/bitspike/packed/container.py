"""The bytes around a model: a safetensors file whose only metadata entry is a JSON object."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from bitspike.errors import FormatError
from bitspike.packed.decisions import Array

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


def split(data: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """Metadata and tensors of the bytes of a model file; what is none raises `FormatError`."""
    return _metadata(data), _tensors(data)


def check_fields(metadata: dict[str, Any], expected: dict[str, type], lists: dict[str, type]) -> None:
    """Refuse, with `FormatError`, other fields than `expected`, or of other types; `lists` has the type of items."""
    if set(metadata) != set(expected):
        raise FormatError(f"metadata fields {sorted(metadata)}; expected {sorted(expected)}")
    for name, kind in expected.items():
        if type(metadata[name]) is not kind:
            raise FormatError(f"metadata field {name} is {metadata[name]!r}; expected {kind.__name__}")
    for name, kind in lists.items():
        if any(type(item) is not kind for item in metadata[name]):
            raise FormatError(f"metadata field {name} holds something that is not {kind.__name__}")


class Taker:
    """Takes the tensors of one layer (its number), or of the readout, out of the dictionary and checks them."""

    def __init__(self, tensors: dict[str, Array], owner: int | str) -> None:
        self.tensors, self.owner = tensors, owner

    def __call__(self, name: str, shape: Sequence[int], dtype: type) -> Array:
        full = f"{self.owner}.{name}"
        tensor = self.tensors.pop(full, None)
        if tensor is None:
            raise FormatError(f"tensor {full} is missing")
        if tensor.dtype != np.dtype(dtype) or tensor.shape != tuple(shape):
            raise FormatError(
                f"tensor {full} is {tensor.dtype} {tensor.shape}; expected {np.dtype(dtype)} {tuple(shape)}"
            )
        return tensor.astype(dtype)


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
