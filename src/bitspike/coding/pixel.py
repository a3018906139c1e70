"""No coding at all: intensities as numbers, for the binary neural network that does not spike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bitspike.coding.first_spike import require_uint8
from bitspike.coding.image_coding import ImageCoding

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Pixel(ImageCoding):
    """The intensity itself, 0 to 255, in one step."""

    n_steps: ClassVar[int] = 1  # type: ignore[misc]  # of all others it is a field

    def encode(self, images: Tensor) -> Tensor:
        """The uint8 values 0..255 as float32, unscaled, same shape and device; another dtype raises `DataError`."""
        require_uint8(images)
        return images.float()
