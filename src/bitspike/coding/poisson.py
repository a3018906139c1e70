"""Poisson (Bernoulli per step) spike trains from images, random numbers by counter: equal keys give equal trains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from bitspike.coding.direct import check_window
from bitspike.coding.first_spike import require_uint8
from bitspike.coding.image_coding import ImageCoding
from bitspike.errors import UsageError
from bitspike.ops.counter import STEP, mix64

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Poisson(ImageCoding):
    """A pixel of intensity I fires in each of the steps 1 .. n_steps-1 with probability rate * I / 255, by itself.

    `signed`: v = 2 I / 255 - 1 drives two channels, the first (pixel) with probability rate * max(v, 0), the second
    (pixel + number of pixels) with rate * max(-v, 0). `frozen`: an image has one train, drawn once, used in every
    epoch (as published); else training draws anew at every presentation. Decisions always use the image's own train, so
    that the same image gets the same answer everywhere. HM2-BP specification, section 4.

    Step t of channel j uses 16 bits, (t % 4) of mix64(key + (j * ceil(n_steps / 4) + t // 4 + 1) * 0x9E3779B97F4A7C15)
    (splitmix64): it fires iff they are below round(65536 * probability).
    """

    disturbances: ClassVar[tuple[str, ...]] = ("deletion",)
    n_steps: int = 400
    """steps of the window, 2 to 32767"""
    rate: float = 1 / 5.5
    """probability of a spike per step at full intensity"""
    signed: bool = False
    """two channels per pixel, for intensities above and below the middle"""
    frozen: bool = False
    """an image has one train, the same in every epoch; else a new one at every presentation"""

    def __post_init__(self) -> None:
        check_window(self.n_steps)
        if not 0 < self.rate <= 1:
            raise UsageError(f"coding.rate is {self.rate}; a probability per step, above 0 and at most 1")

    def encode(self, images: Tensor) -> Tensor:
        """The uint8 images themselves, any shape; trains are drawn where they are used. Another dtype: `DataError`."""
        require_uint8(images)
        return images

    def channels_of(self, n_pixels: int) -> int:
        """Input neurons of an image of `n_pixels` intensities: as many, twice as many where `signed`."""
        return 2 * n_pixels if self.signed else n_pixels

    def n_channels(self, n_pixels: int) -> int:
        """Another name of `channels_of`."""
        return self.channels_of(n_pixels)

    def map_shape(self, input_shape: tuple[int, ...], n_inputs: int) -> tuple[int, ...]:
        """As of every coding of images; (n_inputs,) where `signed`, whose two sides are no map."""
        return (n_inputs,) if self.signed else super().map_shape(input_shape, n_inputs)

    def limits(self) -> NDArray[np.int32]:
        """round(65536 * probability) of every intensity, `(sides, 256)`; two sides where `signed`."""
        level = np.arange(256) / 255
        sides = [np.maximum(2 * level - 1, 0), np.maximum(1 - 2 * level, 0)] if self.signed else [level]
        return np.rint(65536 * self.rate * np.stack(sides)).astype(np.int32)

    def trains(self, images: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """The trains of images `(n, …)` by which decisions are made: `spikes` under `content_keys`."""
        return self.spikes(images, content_keys(images))

    def spikes(self, images: NDArray[np.uint8], keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """The trains of images `(n, …)`, read as rows of pixels, under keys `(n,)`: `(n, n_steps, channels)`.

        The slow truth that the kernel is compared with.
        """
        images = _rows(images)
        limit = self.limits()[:, images].transpose(1, 0, 2).reshape(len(images), -1)  # (n, channels)
        groups = -(-self.n_steps // 4)
        counter = np.arange(limit.shape[1] * groups, dtype=np.uint64).reshape(-1, groups)
        drawn = mix64(keys[:, None, None] + (counter + np.uint64(1)) * STEP)
        parts = np.stack([(drawn >> np.uint64(16 * k)) & np.uint64(0xFFFF) for k in range(4)], axis=3)
        fires: NDArray[np.bool_] = (
            parts.reshape(len(images), -1, groups * 4)[:, :, : self.n_steps].astype(np.int32)
            < limit[:, :, None]
        )
        fires[:, :, 0] = False
        return np.ascontiguousarray(fires.transpose(0, 2, 1))


def content_keys(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """A key per image `(n, …)` from its pixels: mix64(sum over pixels j of mix64((256 * j + I_j + 1) * step))."""
    images = _rows(images)
    place = np.arange(images.shape[1], dtype=np.uint64) * np.uint64(256) + np.uint64(1)
    keys = np.empty(len(images), np.uint64)
    for start in range(0, len(images), 1000):
        part = images[start : start + 1000].astype(np.uint64)
        keys[start : start + 1000] = mix64((part + place) * STEP).sum(axis=1, dtype=np.uint64)
    return mix64(keys)


def _rows(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images `(n, …)` as `(n, n_pixels)`, channels last."""
    return images.reshape(len(images), math.prod(images.shape[1:]))
