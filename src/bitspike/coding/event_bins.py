"""Address events as spikes on a grid of time bins, the saccades of N-MNIST taken out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bitspike.coding.direct import check_window
from bitspike.coding.spike_list import SpikeList
from bitspike.contracts import Coding
from bitspike.data.recordings import Events
from bitspike.errors import DataError, UsageError

SACCADE_US = 105_000  # duration of each of the three
CHUNK = 1 << 18  # events at a time: the working arrays stay in the cache


@dataclass(frozen=True)
class EventBins(Coding):
    """An event at t us becomes a spike in step ceil(t / bin_us) + 1: one at most per channel and step.

    Nothing spikes in step 0; events beyond step n_steps - 1 are dropped. Channel (y * width + x) * 2 + p, p = 1 for ON:
    a map of two channels, channels last. (The authors number OFF events 1156 + 34 x + y and ON events 34 x + y, x and
    y from 0: the same channels in another order.)

    `stabilise` follows the three saccades of the N-MNIST camera, 105 ms each, and subtracts them before the event is
    counted: x by t/30000, t/30000 and 7 - (t - 210000)/15000 px in the first, second and third, y by t/15000,
    7 - (t - 105000)/15000 and 0 px, t in us. The result is rounded, halves up, in exact integers; what leaves the map
    is dropped. `height` and `width` in pixels are those of the sensor. HM2-BP specification, section 4.
    """

    of_images: ClassVar[bool] = False
    takes: ClassVar[str] = "events"
    disturbances: ClassVar[tuple[str, ...]] = ("deletion", "jitter")
    n_steps: int = 540
    """steps of the window"""
    bin_us: int = 600
    """microseconds of a step"""
    stabilise: bool = True
    """subtract the three saccades of the N-MNIST camera"""
    height: int = 34
    """height of the sensor, in pixels"""
    width: int = 34
    """width of the sensor, in pixels"""

    def __post_init__(self) -> None:
        check_window(self.n_steps)
        for name, most in (("bin_us", 10**9), ("height", 1 << 15), ("width", 1 << 15)):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise UsageError(f"coding.{name} is {value!r}; give a whole number, 1 to {most}")
        if self.n_channels >= 1 << 31:
            raise UsageError(f"coding: {self.height} x {self.width} pixels have too many channels")

    @property
    def n_channels(self) -> int:
        """Two polarities of every pixel."""
        return 2 * self.height * self.width

    def map_shape(self, input_shape: tuple[int, ...], n_inputs: int) -> tuple[int, ...]:
        """What the first layer sees: (height, width, polarities) of events (polarities, height, width).

        Of inputs without a shape (n_inputs,); any other shape raises `UsageError`.
        """
        if len(input_shape) < 2:
            return (n_inputs,)
        if len(input_shape) != 3:
            raise UsageError(
                f"inputs of shape {input_shape} are not events; give (polarities, height, width) of the sensor"
            )
        polarities, height, width = input_shape
        return (height, width, polarities)

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one input of a packed model, whatever the data set's `shape`: (2, height, width)."""
        return (2, self.height, self.width)

    def encode(self, events: Events) -> SpikeList:
        """The recordings' spikes, sorted by step, then channel; a sensor of another size raises `DataError`."""
        if events.sensor != (self.height, self.width):
            raise DataError(
                f"events come from a sensor of {events.sensor[0]} x {events.sensor[1]} pixels; the coding has "
                f"{self.height} x {self.width}"
            )
        steps = np.empty(len(events.values), np.int16)
        channels = np.empty(len(events.values), np.int32)
        ends = np.zeros(len(events) + 1, np.int64)
        n = 0
        for first, end in self._chunks(events.offsets):
            offsets = events.offsets[first : end + 1]
            keys = self._keys(events.values[offsets[0] : offsets[-1]], np.diff(offsets))
            rows, channels[n : n + len(keys)] = np.divmod(keys, self.n_channels)
            row, steps[n : n + len(keys)] = np.divmod(rows, self.n_steps)
            ends[first + 1 : end + 1] = n + np.cumsum(np.bincount(row, minlength=end - first))
            n += len(keys)
        return SpikeList(steps[:n], channels[:n], ends, self.n_steps, self.n_channels)

    def _chunks(self, offsets: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Ranges of recordings with about `CHUNK` events, few enough for keys of 31 bits where possible."""
        most = max(1, ((1 << 31) - 1) // (self.n_steps * self.n_channels))
        first, n = 0, len(offsets) - 1
        while first < n:
            full = int(np.searchsorted(offsets, offsets[first] + CHUNK, side="right")) - 1
            end = min(max(full, first + 1), first + most, n)
            yield first, end
            first = end

    def _keys(self, events: NDArray[Any], lengths: NDArray[np.int64]) -> NDArray[Any]:
        """(recording * n_steps + step) * n_channels + channel of every spike, sorted."""
        t, x, y = (events[name].astype(np.int32) for name in "txy")
        kept = (t >= 0) & (t <= (self.n_steps - 2) * self.bin_us)
        if self.stabilise:
            shift_x, shift_y = saccade(t)
            x, y = (x * 30_000 - shift_x + 15_000) // 30_000, (y * 30_000 - shift_y + 15_000) // 30_000
        kept &= (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
        kind: type[np.signedinteger[Any]] = np.int32
        if len(lengths) * self.n_steps * self.n_channels >= 1 << 31:
            kind = np.int64
        step = (t + (self.bin_us - 1)) // self.bin_us + 1
        keys = np.repeat(np.arange(len(lengths), dtype=kind) * self.n_steps, lengths) + step
        keys *= self.n_channels
        keys += (y * self.width + x) * 2 + events["p"]
        keys = np.sort(keys[kept])
        new = np.ones(len(keys), np.bool_)
        np.not_equal(keys[1:], keys[:-1], out=new[1:])
        return keys[new]


def saccade(t: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Shifts (x, y) of the N-MNIST camera at times t us, in px / 30000: whole numbers."""
    t = np.minimum(t, 10_000_000)  # more than the 23 bits of a time stamp
    x = np.where(t > 2 * SACCADE_US, 6 * SACCADE_US - 2 * t, t)
    y = 2 * np.minimum(t, np.maximum(2 * SACCADE_US - t, 0))
    return x, y
