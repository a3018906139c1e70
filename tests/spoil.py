"""Model files taken apart, put together again, and damaged."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import strategies as st

from bitspike.errors import FormatError
from bitspike.packed.file import decode


def parts(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metadata and tensors, owned."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    tensors = {name: tensor.copy() for name, tensor in safetensors.numpy.load(data).items()}
    return json.loads(header["__metadata__"]["bitspike"]), tensors


def whole(metadata: dict[str, Any], tensors: dict[str, np.ndarray]) -> bytes:
    return safetensors.numpy.save(tensors, metadata={"bitspike": json.dumps(metadata)})


Spoil = Callable[[dict[str, Any], dict[str, np.ndarray]], Any]
HUGE = {"height": 4000, "width": 4000, "channels": 1, "n_filters": 1, "size": 1, "padding": 0}


def assert_refused(valid: bytes, spoil: Spoil, match: str) -> None:
    """The file is read as it is, and refused once `spoil` has changed its metadata or tensors."""
    metadata, tensors = parts(valid)
    decode(whole(metadata, tensors))
    spoil(metadata, tensors)
    with pytest.raises(FormatError, match=match):
        decode(whole(metadata, tensors))


def spoilt_bytes(data: st.DataObject, valid: bytes) -> bytes:
    """A few bytes changed, perhaps the end cut off."""
    spoilt = bytearray(valid)
    for _ in range(data.draw(st.integers(1, 4))):
        spoilt[data.draw(st.integers(0, len(valid) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(valid)), st.integers(0, len(valid))))
    return bytes(spoilt[:cut])


VALUES = st.one_of(
    st.integers(-3, 40), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(), st.text(max_size=3), st.none(), st.lists(st.integers(0, 3), max_size=3),
)  # fmt: skip


def spoilt_metadata(data: st.DataObject, valid: bytes) -> bytes:
    """Some field, however deep, holds something else."""
    metadata, tensors = parts(valid)
    place: Any = metadata
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.integers(0, 9)) == 0:
            break
        place = place[key]
    place[key] = data.draw(VALUES)
    return whole(metadata, tensors)
