"""Time-to-first-spike coding: one spike per pixel, brighter is earlier (S4NN specification, equation 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from bitspike.coding.image_coding import ImageCoding
from bitspike.errors import DataError, UsageError

if TYPE_CHECKING:
    from torch import Tensor


def first_spike_times(
    images: NDArray[np.uint8], n_steps: int, published: Literal["s4nn", "bs4nn"] = "s4nn"
) -> NDArray[np.int16]:
    """Spike times of uint8 intensities I, same shape, int16, in steps.

    `s4nn`:  t = floor((255 - I) * n_steps / 255), so black gives `n_steps`: never (specification, eq. 1).
    `bs4nn`: t = floor((255 - I) * (n_steps - 1) / 255), so black spikes in the last step, where it has no
    effect (the published BS4NN: 255 - I with 256 steps).
    Both in integer arithmetic. `n_steps` outside 1..32766 raises `UsageError`, another dtype `DataError`.
    """
    if not 1 <= n_steps <= 32766:
        raise UsageError(f"n_steps is {n_steps}; spike times are 16-bit integers, choose 1 to 32766")
    if published not in ("s4nn", "bs4nn"):
        raise UsageError(f"published is {published!r}; choose 's4nn' or 'bs4nn'")
    if images.dtype != np.uint8:
        raise DataError(f"images are {images.dtype}; first-spike coding needs uint8, 0 dark to 255 bright")
    last = n_steps if published == "s4nn" else n_steps - 1
    return ((255 - images.astype(np.int32)) * last // 255).astype(np.int16)


def time_table(n_steps: int) -> NDArray[np.int16]:
    """Spike time of every intensity 0..255, `(256,)`: what `FirstSpike(n_steps).encode` looks up."""
    return first_spike_times(np.arange(256, dtype=np.uint8), n_steps)


@dataclass(frozen=True)
class FirstSpike(ImageCoding):
    """t = floor((255 - I) * n_steps / 255); black gives `n_steps` (1 to 32766): never."""

    disturbances: ClassVar[tuple[str, ...]] = ("jitter", "deletion")
    n_steps: int = 16
    """steps of the window, 1 to 32766; brighter pixels spike earlier"""

    def __post_init__(self) -> None:
        if type(self.n_steps) is not int or not 1 <= self.n_steps <= 32766:
            raise UsageError(
                f"coding.n_steps is {self.n_steps!r}; spike times are 16-bit integers, choose 1 to 32766"
            )

    @property
    def max_levels(self) -> int:
        """How many different times the 256 intensities can get, "never" included."""
        return min(self.n_steps, 255) + 1

    def encode(self, images: Tensor) -> Tensor:
        """Spike times int16 of uint8 images, same shape and device; another dtype raises `DataError`."""
        import torch

        require_uint8(images)
        table = torch.from_numpy(time_table(self.n_steps)).to(images.device)
        return table.index_select(0, images.reshape(-1).int()).reshape(images.shape)


def require_uint8(images: Any) -> None:
    """Refuse, with `DataError`, anything but a uint8 tensor."""
    import torch

    if not isinstance(images, torch.Tensor) or images.dtype != torch.uint8:
        kind = images.dtype if isinstance(images, torch.Tensor) else type(images).__name__
        raise DataError(f"images are {kind}; coding needs a uint8 tensor, 0 dark to 255 bright")
