"""Images as lists of spikes: one spike per pixel that is bright enough, the brighter the earlier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bitspike.coding.direct import check_window
from bitspike.coding.image_coding import ImageCoding
from bitspike.coding.spike_list import SpikeList
from bitspike.errors import DataError, UsageError


@dataclass(frozen=True)
class Latency(ImageCoding):
    """A pixel of intensity I >= `least` spikes in step floor((255 - I) n_steps / (256 - least)), others never.

    `FirstSpike` gives the same kind of code as times, for networks of one spike per neuron; this one gives spikes.
    """

    disturbances: ClassVar[tuple[str, ...]] = ("jitter", "deletion")
    n_steps: int = 16
    """steps of the window, 2 to 32767; brighter pixels spike earlier"""
    least: int = 26
    """intensity, 1 to 255, from which on a pixel spikes"""

    def __post_init__(self) -> None:
        check_window(self.n_steps)
        if type(self.least) is not int or not 1 <= self.least <= 255:
            raise UsageError(f"coding.least is {self.least!r}; give an intensity, 1 to 255")

    def encode(self, images: Any) -> SpikeList:
        """The spikes of uint8 images `(n, ...)`, an array or a tensor, sorted by step, then pixel; else `DataError`."""
        values = np.asarray(images)
        if values.dtype != np.uint8 or values.ndim < 2:
            raise DataError(f"images are {values.dtype} {values.shape}; coding needs uint8 (n, ...)")
        rows = values.reshape(len(values), int(np.prod(values.shape[1:])))
        image, pixel = np.nonzero(rows >= self.least)
        level = rows[image, pixel].astype(np.int32)
        step = (255 - level) * self.n_steps // (256 - self.least)
        order = np.argsort(image * self.n_steps + step, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(image, minlength=len(rows)))])
        return SpikeList(
            step[order].astype(np.int16), pixel[order].astype(np.int32), offsets.astype(np.int64), self.n_steps,
            rows.shape[1],
        )  # fmt: skip
