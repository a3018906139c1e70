"""A still image as a constant current into the first layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bitspike.coding.first_spike import require_uint8
from bitspike.coding.image_coding import ImageCoding
from bitspike.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Direct(ImageCoding):
    """I(t) = W p in every step, p = rate * intensity / 255: the mean of `Poisson` at the same rate, without its noise.

    `n_steps` 2 to 32767; `rate` above 0, spikes per step that the current stands for at full intensity (may exceed 1).
    HM2-BP specification, section 8.4; a departure from the published input coding.
    """

    disturbances: ClassVar[tuple[str, ...]] = ("noise",)
    n_steps: int = 100
    """steps of the window, 2 to 32767"""
    rate: float = 0.727
    """spikes per step that the current stands for at full intensity; may exceed 1"""

    def __post_init__(self) -> None:
        check_window(self.n_steps)
        if not 0 < self.rate < 1000:
            raise UsageError(f"coding.rate is {self.rate}; give spikes per step at full intensity, above 0")

    @property
    def current_per_level(self) -> float:
        """rate / 255: the current of one grey level over a weight of 1."""
        return self.rate / 255

    def encode(self, images: Tensor) -> Tensor:
        """The uint8 images themselves, any shape; the current is made where it is used. Another dtype: `DataError`."""
        require_uint8(images)
        return images


def check_window(n_steps: int) -> None:
    """Refuse a window that is no window."""
    if type(n_steps) is not int or not 2 <= n_steps <= 32767:
        raise UsageError(f"coding.n_steps is {n_steps!r}; choose 2 to 32767 steps")
