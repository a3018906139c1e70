"""Images as augmentation samples them: channels before the map, as floats. Importing this needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitspike.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


def require_images(images: Tensor) -> None:
    """Refuse, with `DataError`, anything but uint8 `(n, h, w)` or `(n, h, w, c)`."""
    import torch

    if images.dtype != torch.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"images are {images.dtype} of shape {tuple(images.shape)}; give uint8 (n, h, w) or (n, h, w, c)"
        )


def sample(images: Tensor, grid: Tensor) -> Tensor:
    """Images uint8 `(n, h, w)` or `(n, h, w, c)` at the points of a grid: bilinear, black outside, rounded.

    `grid` `(n, h, w, 2)`, or `(1, h, w, 2)` for all images alike: x, y from -1 to 1, the outer edges of the outermost
    pixels, as `torch.nn.functional.grid_sample` has them. All channels of an image are sampled at the same points.
    """
    import torch
    from torch.nn.functional import grid_sample

    maps = images[:, None] if images.ndim == 3 else images.movedim(3, 1)  # (n, c, h, w)
    shape = maps.shape
    if len(grid) == 1:  # all images as channels of one
        maps = maps.reshape(1, -1, *shape[2:])
    sampled = grid_sample(maps.float(), grid, "bilinear", "zeros", align_corners=False)
    sampled = sampled.view(shape).add_(0.5).to(torch.uint8)
    return sampled[:, 0] if images.ndim == 3 else sampled.movedim(1, 3).contiguous()
