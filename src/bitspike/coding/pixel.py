"""No coding at all: intensities as numbers, for the binary neural network that does not spike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bitspike.coding.first_spike import require_uint8
from bitspike.contracts import Coding

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Pixel(Coding):
    """The intensity itself, 0 to 255, in one step."""

    of_images: ClassVar[bool] = True
    n_steps: ClassVar[int] = 1

    def encode(self, images: Tensor) -> Tensor:
        """The uint8 values 0..255 as float32, unscaled, same shape; another dtype raises `DataError`."""
        require_uint8(images)
        return images.float()
