"""Sound as spikes: Lyon's ear, then BSA in every channel. Importing this needs no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bitspike.coding.bsa import bsa
from bitspike.coding.direct import check_window
from bitspike.coding.lyon import cochleagrams, ear_filters
from bitspike.coding.spike_list import SpikeList
from bitspike.contracts import Coding
from bitspike.data.recordings import Audio
from bitspike.errors import DataError, UsageError

MAX_RATIO = 1 << 17  # of two sampling rates, in lowest terms; 44,099 to 12,500 Hz is below


@dataclass(frozen=True)
class Cochlea(Coding):
    """The speech front end of HM2-BP (specification, section 7.3): `n_channels` spike trains, high to low frequency.

    Sound of another rate is resampled to `rate` (Hz), `DataError` where their ratio in lowest terms is above 131,072.
    A frame of the ear stands for `decimation` samples (200 at 12.5 kHz: 16 ms) and becomes `repeat` steps; `smoothing`
    is the time constant of its low-pass, in frames. `ear_q` is the quality of the filters, `step` their distance in
    bandwidths (ear_q / 32). `gain` and `threshold` are BSA's.

    Options beyond the published front end: `stretch` interpolates a recording's frames so that they fill the window;
    `normalise` divides a recording by its largest amplitude instead of by 32768.
    """

    of_images: ClassVar[bool] = False
    takes: ClassVar[str] = "sound"
    disturbances: ClassVar[tuple[str, ...]] = ("deletion", "jitter")
    n_steps: int = 700
    """steps of the window"""
    rate: int = 12_500
    """samples per second; sound of another rate is resampled"""
    decimation: int = 200
    """samples of a frame of the ear (200 at 12.5 kHz: 16 ms)"""
    smoothing: float = 3.0
    """time constant of the low-pass, in frames"""
    ear_q: float = 8.0
    """quality of the filters"""
    step: float = 0.25
    """distance of the filters, in bandwidths"""
    gain: float = 2000.0
    """gain before spikes are made (BSA)"""
    repeat: int = 10
    """steps of a frame"""
    threshold: float = 0.6
    """threshold of BSA"""
    stretch: bool = False
    """interpolate the frames of a recording so that they fill the window"""
    normalise: bool = False
    """divide a recording by its largest amplitude instead of by 32768"""

    def __post_init__(self) -> None:
        check_window(self.n_steps)
        for name, least, most in (
            ("rate", 2_000, 200_000),  # the lowest rate whose channels are worth the name
            ("decimation", 4, 100_000),
            ("smoothing", 0.01, 1000),
            ("ear_q", 1, 100),
            ("step", 0.01, 10),
            ("gain", 1e-6, 1e9),
            ("repeat", 1, 1000),
            ("threshold", 0, 0.999),
        ):
            if not least <= getattr(self, name) <= most:
                raise UsageError(f"coding.{name} is {getattr(self, name)}; choose {least:g} to {most:g}")
        if self.stretch and self.repeat > self.n_steps:
            raise UsageError(f"coding.repeat is {self.repeat}, above the {self.n_steps} steps to fill")
        ear_filters(self.rate, self.ear_q, self.step)

    @property
    def n_channels(self) -> int:
        """Channels of the ear: 78 by default."""
        return len(ear_filters(self.rate, self.ear_q, self.step)[1])

    def map_shape(self, input_shape: tuple[int, ...], n_inputs: int) -> tuple[int, ...]:
        """What the first layer sees: (n_inputs,), one neuron per channel; a shape of two or more: `UsageError`."""
        if len(input_shape) > 1:
            raise UsageError(f"inputs of shape {input_shape} are not sound; choose another coding or data")
        return (n_inputs,)

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one input of a packed model, whatever the data set's `shape`: (n_channels,)."""
        return (self.n_channels,)

    def encode(self, sound: Audio) -> SpikeList:
        """The spikes of recordings; a recording's are the same in any company. Other input raises `DataError`."""
        if not isinstance(sound, Audio):
            raise DataError(
                f"the cochlea hears sound; {type(sound).__name__} was given, choose another coding"
            )
        found: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = [(np.empty(0, np.int64),) * 2] * len(sound)
        for rows in _groups(np.diff(sound.offsets) * self.rate // sound.rate):
            frames = self.frames(sound[rows])
            for row, spikes in zip(
                rows, bsa(frames, self.gain, self.repeat, self.threshold, self.n_steps), strict=True
            ):
                steps, channels = np.nonzero(spikes)
                found[row] = steps, channels
        return SpikeList(
            np.concatenate([np.empty(0, np.int64), *(steps for steps, _ in found)]).astype(np.int16),
            np.concatenate([np.empty(0, np.int64), *(channels for _, channels in found)]).astype(np.int32),
            np.concatenate([[0], np.cumsum([len(steps) for steps, _ in found])]).astype(np.int64),
            self.n_steps,
            self.n_channels,
        )

    def frames(self, sound: Audio) -> list[NDArray[np.float32]]:
        """The cochleagram of each recording, `(frames, n_channels)`, as BSA gets it, before its gain."""
        amplitudes = [self._amplitude(sound, k) for k in range(len(sound))]
        ear = cochleagrams(amplitudes, self.rate, self.ear_q, self.step, self.decimation, self.smoothing)
        return [_stretched(frames, self.n_steps // self.repeat) for frames in ear] if self.stretch else ear

    def _amplitude(self, sound: Audio, row: int) -> NDArray[np.float64]:
        samples = sound.values[sound.offsets[row] : sound.offsets[row + 1]].astype(np.float64)
        full = np.abs(samples).max(initial=1) if self.normalise else 32768
        if sound.rate != self.rate and len(samples):
            from scipy.signal import resample_poly

            common = math.gcd(self.rate, sound.rate)
            if max(self.rate, sound.rate) // common > MAX_RATIO:  # the filter has 20 taps for each
                raise DataError(
                    f"sound of {sound.rate} samples per second takes too much to resample to {self.rate}, "
                    "they have too little in common; resample it before"
                )
            samples = resample_poly(samples, self.rate // common, sound.rate // common)
        amplitude: NDArray[np.float64] = samples / full
        return amplitude


def _groups(lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Numbers of recordings of similar length to go through the ear together: at most 32, and 160,000 samples."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        n = int(np.clip(160_000 // max(lengths[order[start]], 1), 1, 32))
        yield order[start : start + n]
        start += n


def _stretched(frames: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """`n` frames from any number, linear between their middles; none stay none."""
    if not len(frames):
        return frames
    place = np.clip((np.arange(n) + 0.5) * len(frames) / n - 0.5, 0, len(frames) - 1)
    left = place.astype(np.int64)
    right = np.minimum(left + 1, len(frames) - 1)
    share = (place - left).astype(np.float32)[:, None]
    return np.asarray(frames[left] * (1 - share) + frames[right] * share)
