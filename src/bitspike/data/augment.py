"""Random distortions of training images: rotation, scale, shear, shift, elastic, flip. Needs no torch to import."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from bitspike.contracts import Augmentation
from bitspike.data.pixels import require_images, sample
from bitspike.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ELASTIC_SIGMA = 4.0  # px, of the Gaussian that smooths the elastic field
MODES_PER_PIXEL = 0.28  # cosine modes kept: those of amplitude exp(-(0.28 pi sigma)^2 / 2) = 0.002 and more


@dataclass(frozen=True)
class Augment(Augmentation):
    """Each image is sampled (bilinear, black outside) at its own randomly distorted grid; all 0 does nothing.

    `rotation` +- degrees; `scale` +- share, per axis; `shear` +- px of x per px of y; `shift` +- px, per
    axis, real; all uniform. `elastic`: a Gaussian random field smoothed with sigma 4 px, its rms amplitude
    uniform in +- `elastic` px. `flip`: mirrored left to right with probability 1/2.
    """

    rotation: float = 0.0
    """largest angle, in degrees"""
    scale: float = 0.0
    """largest change of size, as a share, per axis"""
    shear: float = 0.0
    """largest shear, px of x per px of y"""
    shift: float = 0.0
    """largest shift, in px, per axis"""
    elastic: float = 0.0
    """largest rms of the elastic field, in px"""
    flip: bool = False
    """mirror left to right with probability 1/2"""

    def __post_init__(self) -> None:
        for name in ("rotation", "scale", "shear", "shift", "elastic"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise UsageError(f"augment.{name} is {value}; give the largest distortion, 0 or more")
        if self.scale >= 1:
            raise UsageError(f"augment.scale is {self.scale}; it is a share of the size, below 1")

    @property
    def active(self) -> bool:
        """Whether anything is done at all."""
        return any(getattr(self, field.name) for field in fields(self))

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Distorted copies, on their device, of images uint8 `(n, h, w)` or `(n, h, w, c)`.

        All channels of an image move alike. Random numbers are drawn on the CPU by `generator`, which is one of the
        CPU: they are equal on every device and decide all, up to the device's rounding.
        """
        import torch

        require_images(images)
        if self.flip:
            mirrored = torch.rand(len(images), generator=generator) < 0.5
            mirrored = mirrored.view(-1, *[1] * (images.ndim - 1)).to(images.device)
            images = torch.where(mirrored, images.flip(2), images)
        if not (self.rotation or self.scale or self.shear or self.shift or self.elastic):
            return images
        n, height, width = images.shape[:3]
        # Both coordinates of the sampling grid are linear in products f_k(y) g_l(x) of cosine modes (the
        # first is 1) and of y and x themselves: two matrix products make the whole grid.
        share = MODES_PER_PIXEL if self.elastic else 0.0
        rows, columns = _basis(height, share), _basis(width, share)
        weights = self._weights(n, rows, columns, generator)  # (n, 2, row functions, column functions)
        rows, columns, weights = (tensor.to(images.device) for tensor in (rows, columns, weights))
        grid = rows @ (weights.flatten(0, 2) @ columns.T).reshape(n, 2, -1, width)
        return sample(images, grid.permute(0, 2, 3, 1))

    def _weights(self, n: int, rows: Tensor, columns: Tensor, generator: torch.Generator) -> Tensor:
        import torch

        (height, n_rows), (width, n_columns) = rows.shape, columns.shape
        uniform = torch.rand((7, n), generator=generator) * 2 - 1  # in [-1, 1)
        angle = uniform[0] * math.radians(self.rotation)
        scale_x, scale_y = 1 + uniform[1] * self.scale, 1 + uniform[2] * self.scale
        shear = uniform[3] * self.shear
        cosine, sine = angle.cos(), angle.sin()
        weights = torch.zeros((n, 2, n_rows, n_columns))
        if self.elastic:
            field = torch.randn((n, 2, n_rows - 1, n_columns - 1), generator=generator)
            field *= _rms_one(height, n_rows - 1)[:, None] * _rms_one(width, n_columns - 1)
            weights[:, :, :-1, :-1] = field * (uniform[6] * self.elastic)[:, None, None, None]
        # (x, y) <- rotation @ shear @ scale @ (x, y) + shift
        weights[:, 0, 0, -1] += cosine * scale_x
        weights[:, 0, -1, 0] += (cosine * shear - sine) * scale_y
        weights[:, 1, 0, -1] += sine * scale_x
        weights[:, 1, -1, 0] += (sine * shear + cosine) * scale_y
        weights[:, :, 0, 0] += uniform[4:6].T * self.shift
        return weights * torch.tensor([2 / width, 2 / height])[:, None, None]  # into [-1, 1]


def _basis(size: int, modes_per_pixel: float) -> Tensor:
    """Columns cos(pi k (i + 1/2) / size), k = 0, 1, …, then the centred coordinate: `(size, modes + 1)`."""
    import torch

    modes = max(1, math.ceil(modes_per_pixel * size))
    centre = torch.arange(size) + 0.5
    cosines = torch.cos(math.pi / size * centre[:, None] * torch.arange(modes))
    return torch.cat([cosines, centre[:, None] - size / 2], dim=1)


def _rms_one(size: int, modes: int) -> Tensor:
    """Deviations, for unit rms, of the modes of white noise smoothed by a Gaussian with reflecting border."""
    import torch

    order = torch.arange(modes)
    power = torch.exp(-((ELASTIC_SIGMA * math.pi / size * order) ** 2))
    deviation = torch.sqrt(power / power.sum())
    return torch.where(order == 0, deviation, deviation * math.sqrt(2))  # mean of cos^2 is 1/2
