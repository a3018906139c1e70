"""What all codings of still images share. Importing this needs no torch."""

from __future__ import annotations

from typing import ClassVar

from bitspike.contracts import Coding
from bitspike.errors import UsageError


class ImageCoding(Coding):
    """A coding of uint8 images `(n, height, width)` or `(n, height, width, channels)`, or of rows of their pixels.

    Rows are in C order, channels last: pixel (y * width + x) * channels + c of a row is channel c at (x, y). Every
    intensity is coded by itself, so a coding keeps that order.

    `takes` says what is encoded: "images", "events" or "sound". `disturbances` names how an evaluation may disturb
    coded inputs: "jitter" shifts spikes in time, "deletion" loses spikes, "noise" adds Gaussian noise to intensities.
    """

    of_images: ClassVar[bool] = True
    takes: ClassVar[str] = "images"
    disturbances: ClassVar[tuple[str, ...]] = ()

    def channels_of(self, n_pixels: int) -> int:
        """Input neurons of an image of `n_pixels` intensities: as many."""
        return n_pixels

    def map_shape(self, input_shape: tuple[int, ...], n_inputs: int) -> tuple[int, ...]:
        """What the first layer sees: (height, width, channels) of images, 1 channel of grey ones; else (n_inputs,).

        `input_shape` is that of one image; more than three sizes raise `UsageError`.
        """
        if len(input_shape) > 3:
            raise UsageError(
                f"inputs of shape {input_shape} are not images; give (height, width) or (height, width, channels)"
            )
        if len(input_shape) == 2:
            return (*input_shape, 1)
        return tuple(input_shape) if len(input_shape) == 3 else (n_inputs,)

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one input of a packed model: that of one image in the data set, `shape`."""
        return tuple(shape)
