"""Raw inputs of a data set through a coding."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bitspike.contracts import Coding
from bitspike.errors import UsageError
from bitspike.networks.inputs import encode_images, joined

AT_ONCE = 10_000


def encode(coding: Coding, raw: Any) -> Any:
    """Coded inputs: a tensor `(n, features)` or spikes of uint8 images `(n, h, w[, c])`, spikes of recordings."""
    if isinstance(raw, np.ndarray) != coding.of_images:
        kind = "images" if isinstance(raw, np.ndarray) else type(raw).__name__.lower()
        raise UsageError(
            f"coding {type(coding).__name__} does not encode {kind}; choose another coding or data"
        )
    if not coding.of_images:
        return coding.encode(raw)
    parts = torch.split(torch.tensor(raw).flatten(1), AT_ONCE)
    return joined([encode_images(coding, part) for part in parts])
