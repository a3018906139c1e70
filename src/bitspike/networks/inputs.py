"""Coded inputs by rows: tensors `(n, features)` or lists of spikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bitspike.coding import SpikeList
from bitspike.contracts import Coding
from bitspike.errors import UsageError


def encode_images(coding: Coding, images: Tensor) -> Any:
    """Uint8 images through a coding of images, as a tensor or as spikes; one of recordings raises `UsageError`."""
    if not coding.of_images:
        raise UsageError(
            f"coding {type(coding).__name__} does not encode images; choose another coding or data"
        )
    return coding.encode(images)


def joined(parts: Sequence[Any]) -> Any:
    """Coded inputs one after the other."""
    return SpikeList.concatenate(list(parts)) if isinstance(parts[0], SpikeList) else torch.cat(list(parts))


def to_device(inputs: Any, device: torch.device) -> Any:
    """Coded inputs where a network lies; lists of spikes stay, for what reads them moves what it makes of them."""
    return inputs.to(device) if isinstance(inputs, Tensor) else inputs


def take(inputs: Any, rows: Tensor) -> Any:
    """The coded inputs of these numbers."""
    if isinstance(inputs, SpikeList):
        return inputs[rows.numpy()]
    return inputs.index_select(0, rows.to(inputs.device))


def chunks(inputs: Any, size: int) -> list[Any]:
    """Coded inputs in order, `size` at a time."""
    return [inputs[start : start + size] for start in range(0, max(1, len(inputs)), size)]
