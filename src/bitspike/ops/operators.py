"""What joins two layers of spike trains: dense, convolution, pooling. Importing this needs no torch.

Neurons of a map `(height, width, channels)` are numbered channels last: (y * width + x) * channels + c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitspike.errors import UsageError

LAYER = re.compile(r"([1-9]\d{0,8})|([1-9]\d{0,8})C([1-9]\d{0,8})(?:p(\d{1,9}))?|P([1-9]\d{0,8})")
"""How settings write a layer: "800" dense, "15C5" or "15C5p2" convolution, "P2" pooling."""

Geometry = tuple[int, int, int, int, int]  # height, width, channels, size, padding: what kernels ask


@dataclass(frozen=True)
class Dense:
    """Every neuron to every neuron; weights `(n_in, n_out)`."""

    n_in: int
    n_out: int

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.n_in, self.n_out)

    def fan_out(self) -> NDArray[np.int64]:
        """Synapses of each input neuron, `(n_in,)`."""
        return np.full(self.n_in, self.n_out, np.int64)

    def geometry(self) -> Geometry:
        """That of a convolution of one place, whose channels are the inputs."""
        return (1, 1, self.n_in, 1, 0)

    def pooled(self, size: int) -> int:
        """Neurons left by pooling of `size` x `size`; a dense layer has no map, so only 1 fits."""
        if size != 1:
            raise UsageError(f"pooling by {size} does not fit; this layer allows 1 to 1")
        return self.n_out


@dataclass(frozen=True)
class Conv:
    """Cross-correlation, stride 1, zero padding; weights `(size, size, channels, n_filters)`."""

    height: int
    width: int
    channels: int
    n_filters: int
    size: int
    padding: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or self.padding < 0 or min(self.out_height, self.out_width) < 1:
            raise UsageError(
                f"a convolution of size {self.size} does not fit maps of {self.height} x {self.width}"
            )

    @property
    def out_height(self) -> int:
        return self.height + 2 * self.padding - self.size + 1

    @property
    def out_width(self) -> int:
        return self.width + 2 * self.padding - self.size + 1

    @property
    def n_in(self) -> int:
        return self.height * self.width * self.channels

    @property
    def n_out(self) -> int:
        return self.out_height * self.out_width * self.n_filters

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.size, self.size, self.channels, self.n_filters)

    def fan_out(self) -> NDArray[np.int64]:
        """Synapses of each input neuron, `(n_in,)`; fewer at the border."""

        def taps(size: int, out: int) -> NDArray[np.int64]:
            place = np.arange(size) + self.padding
            taken: NDArray[np.int64] = np.minimum(place, out - 1) - np.maximum(place - self.size + 1, 0) + 1
            return np.maximum(taken, 0)

        per_place = np.outer(taps(self.height, self.out_height), taps(self.width, self.out_width))
        return np.repeat(per_place.reshape(-1) * self.n_filters, self.channels)

    def geometry(self) -> Geometry:
        """Height, width and channels of the map below, size of the filters, padding."""
        return (self.height, self.width, self.channels, self.size, self.padding)

    def pooled(self, size: int) -> int:
        """Neurons left by pooling of `size` x `size`, a rest at the border lost; what does not fit: `UsageError`."""
        largest = min(self.out_height, self.out_width)
        if not 1 <= size <= largest:
            raise UsageError(f"pooling by {size} does not fit; this layer allows 1 to {largest}")
        return (self.out_height // size) * (self.out_width // size) * self.n_filters


@dataclass(frozen=True)
class Pool:
    """The sum of the spikes in a window, per channel; windows do not overlap, a rest at the border is lost."""

    height: int
    width: int
    channels: int
    size: int

    def __post_init__(self) -> None:
        if self.size < 1 or min(self.out_height, self.out_width) < 1:
            raise UsageError(f"pooling by {self.size} does not fit maps of {self.height} x {self.width}")

    @property
    def out_height(self) -> int:
        return self.height // self.size

    @property
    def out_width(self) -> int:
        return self.width // self.size

    @property
    def n_in(self) -> int:
        return self.height * self.width * self.channels

    @property
    def n_out(self) -> int:
        return self.out_height * self.out_width * self.channels

    @property
    def weight_shape(self) -> None:
        return None

    def fan_out(self) -> NDArray[np.int64]:
        """One synapse per input neuron within a window, `(n_in,)`."""
        inside = np.zeros((self.height, self.width, self.channels), np.int64)
        inside[: self.out_height * self.size, : self.out_width * self.size] = 1
        return inside.reshape(-1)

    def geometry(self) -> Geometry:
        """Height, width and channels of the map below, size of the windows, no padding."""
        return (self.height, self.width, self.channels, self.size, 0)


Operator = Dense | Conv | Pool
