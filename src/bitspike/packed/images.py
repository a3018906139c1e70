"""Images as a user has them, and as packed networks take them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bitspike.coding.spike_list import SpikeList
from bitspike.data.recordings import Audio, Events
from bitspike.errors import DataError, UsageError
from bitspike.packed.base import Packed
from bitspike.packed.decisions import Array

ROUNDING = 1e-6  # floats may leave [0, 1] by so much


class ImagePacked(Packed):
    """A packed network whose inputs are the pixels of still images, in their order."""

    takes = "images"

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse a shape that does not have as many pixels as there are inputs."""
        if math.prod(shape) != self.n_in:
            raise UsageError(f"input_shape {shape} does not make {self.n_in} inputs")

    def inputs(self, x: Any, shape: tuple[int, ...]) -> Array:
        """Images as uint8 rows `(n, n_in)`."""
        return as_images(x, shape, self.n_in)


def as_images(x: Any, shape: tuple[int, ...], n_in: int) -> Array:
    """Images as uint8 `(n, n_in)`: from `(n, *shape)`, `(n, n_in)` or one image; floats in [0, 1] are rounded."""
    if type(x) is not np.ndarray:
        x = _array(x)
    if x.shape == shape or x.shape == (n_in,):
        images = x.reshape(1, n_in)
    elif x.shape[1:] == shape or x.shape[1:] == (n_in,):
        images = x.reshape(x.shape[0], n_in)
    else:
        raise DataError(
            f"images have shape {x.shape}; this model needs (n, {', '.join(map(str, shape))}), "
            f"(n, {n_in}) or one image"
        )
    return images if images.dtype == np.uint8 else _levels(images)


def _array(x: Any) -> Array:
    if isinstance(x, Events | Audio | SpikeList):
        raise DataError(f"the input is {type(x).__name__}; this model needs images")
    try:
        return np.asarray(x)
    except (ValueError, TypeError) as error:
        raise DataError(f"the input, {type(x).__name__}, is not an array of images: {error}") from error


def _levels(images: Array) -> Array:
    """Floats in [0, 1], or integers already in range, as uint8."""
    if images.dtype == np.bool_:
        raise DataError("images are bool; give uint8 0..255, or floats in [0, 1]")
    is_float = np.issubdtype(images.dtype, np.floating)
    if not is_float and not np.issubdtype(images.dtype, np.integer):
        raise DataError(f"images are {images.dtype}; give uint8 0..255, or floats in [0, 1]")
    top, slack = (1, ROUNDING) if is_float else (255, 0)
    if not ((images >= -slack) & (images <= top + slack)).all():  # NaN fails both
        fault = "NaN" if is_float and np.isnan(images).any() else f"values outside 0..{top}"
        raise DataError(f"images hold {fault}; give uint8 0..255, or floats in [0, 1]")
    return np.rint(images.clip(0, 1) * 255.0).astype(np.uint8) if is_float else images.astype(np.uint8)
