"""The published distortion of the HM2-BP convolutional run: elastic field, scale, rotation. Imported without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bitspike.contracts import Augmentation
from bitspike.data.pixels import require_images, sample
from bitspike.errors import DataError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SIGMA = 4.0  # px, of the Gaussian that smooths the elastic field
REACH = 10  # px, half of its 21 x 21 window


@dataclass(frozen=True)
class Distortion(Augmentation):
    """Images moved by a random displacement field: elastic + scale + rotation; all 0 does nothing.

    With noise n uniform in [-1, 1) per pixel and r_x, r_y uniform in [-1, 1), at (x, y) from the centre:

        d_x = elastic (g * n_x) + scale max(r_x, 0) x + (cos a - 1) x - sin a y
        d_y = elastic (g * n_y) + scale max(r_y, 0) y + sin a x + (cos a - 1) y,    a = rotation r_x

    g = exp(-(x^2 + y^2) / (2 4^2)) / (2 pi 4) on 21 x 21 pixels, zero outside the image: with 3.4 the elastic part has
    an rms of 0.55 px inside. The result at p is the image at p - d(p), bilinear, black outside, so scale only enlarges.
    `elastic` in px, `rotation` in degrees, `scale` a share; without rotation r_x, r_y are not cut at 0.

    `share`: "image" draws every image its own field, horizontal and vertical noise apart; "epoch" draws one for all
    images of a call, n_x = n_y, as published: to share it over the batches of an epoch, call with a generator in the
    same state. HM2-BP specification, section 7.2, whose text leaves the sign of d open.
    """

    scale: float = 0.12
    """largest enlargement, as a share"""
    rotation: float = 12.0
    """largest angle, in degrees"""
    elastic: float = 3.4
    """strength of the elastic field, in px (3.4: an rms of 0.55 px)"""
    share: Literal["image", "epoch"] = "image"
    """a field for every image, or one for all images of an epoch, as published"""

    def __post_init__(self) -> None:
        for name in ("scale", "rotation", "elastic"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise UsageError(f"augment.{name} is {value}; give the largest distortion, 0 or more")
        if self.scale >= 1:
            raise UsageError(f"augment.scale is {self.scale}; it is a share of the size, below 1")
        if self.share not in ("image", "epoch"):
            raise UsageError(f"augment.share is {self.share!r}; a field is drawn per 'image' or per 'epoch'")

    @property
    def active(self) -> bool:
        """Whether anything is done at all."""
        return bool(self.scale or self.rotation or self.elastic)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Distorted copies, on their device, of images uint8 `(n, h, w)` or `(n, h, w, c)`.

        All channels of an image move alike. Random numbers are drawn on the CPU by `generator`, which is one of the
        CPU: they are equal on every device and decide all, up to the device's rounding.
        """
        require_images(images)
        if not self.active:
            return images
        n, height, width = images.shape[:3]
        n_fields = n if self.share == "image" else 1
        return self.apply(images, self.field(height, width, generator, n_fields, images.device))

    def field(
        self,
        height: int,
        width: int,
        generator: torch.Generator,
        n: int = 1,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """`n` displacement fields `(n, 2, height, width)` float32 on `device`: d_x, then d_y, in px.

        Random numbers are drawn on the CPU.
        """
        import torch

        uniform = torch.rand((2, n, 1), generator=generator) * 2 - 1
        angle = uniform[0] * math.radians(self.rotation)
        factor = self.scale * (uniform.clamp(min=0) if self.rotation else uniform)
        across, sine = angle.cos() - 1, angle.sin()
        x, y = torch.arange(width) - (width - 1) / 2, torch.arange(height) - (height - 1) / 2
        across, sine, factor, x, y = (tensor.to(device) for tensor in (across, sine, factor, x, y))
        n_noises = 2 if self.share == "image" else 1
        noise = torch.rand((height, n * n_noises * width), generator=generator).mul_(2).sub_(1).to(device)
        smooth = (_gaussian(height).to(device) @ noise).view(-1, width)
        smooth = smooth @ (self.elastic * _gaussian(width)).to(device)
        elastic = smooth.view(height, n, n_noises, width).permute(1, 2, 0, 3)
        affine_x = ((across + factor[0]) * x)[:, None, :] - (sine * y)[:, :, None]
        affine_y = ((across + factor[1]) * y)[:, :, None] + (sine * x)[:, None, :]
        return elastic + torch.stack([affine_x, affine_y], dim=1)

    def apply(self, images: Tensor, field: Tensor) -> Tensor:
        """Images uint8 `(n, h, w)` or `(n, h, w, c)` moved by fields `(n, 2, h, w)`, or all by one `(1, 2, h, w)`."""
        import torch

        require_images(images)
        n, height, width = images.shape[:3]
        if field.shape not in ((n, 2, height, width), (1, 2, height, width)):
            raise DataError(f"fields of shape {tuple(field.shape)} do not fit images {tuple(images.shape)}")
        columns, rows = (torch.arange(size, device=images.device) + 0.5 for size in (width, height))
        grid = torch.stack(
            [(columns - field[:, 0]) * (2 / width) - 1, (rows[:, None] - field[:, 1]) * (2 / height) - 1],
            dim=3,
        )
        return sample(images, grid)


def _gaussian(size: int) -> Tensor:
    """Smoothing along one axis as a banded matrix `(size, size)`: the window is the product of its two axes."""
    import torch

    distance = (torch.arange(size)[:, None] - torch.arange(size)).float()
    kernel = torch.exp(distance**2 / (-2 * SIGMA**2)) / math.sqrt(2 * math.pi * SIGMA)
    return torch.where(distance.abs() <= REACH, kernel, 0.0)
