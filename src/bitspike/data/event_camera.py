"""A simulated event camera: still images, seen by an eye that moves, become address events.

The pixel is that of ESIM (Rebecq, Gehrig and Scaramuzza, CoRL 2018); mismatch, refractory period and background noise
as in v2e (Hu, Liu and Delbruck, CVPRW 2021). All arithmetic is in integers, so both back ends give the same events.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bitspike.data.recordings import EVENT, Events, append
from bitspike.errors import BackendError, DataError, UsageError
from bitspike.ops.counter import STEP, mix64
from bitspike.ops.native import default_threads

UNIT = 1 << 16  # of a log intensity of 1
CHUNK = 1 << 20  # pixels at a time
TRIANGLE = ((-1.0, -1.0), (0.0, 1.0), (1.0, -1.0), (-1.0, -1.0))

Words = NDArray[np.uint64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class EventCamera:
    """A camera whose gaze runs along straight saccades, as that of N-MNIST; the sensor has the image's size.

    `path`: corners (x, y) of the gaze, px; pixel (x, y) sees the image at (x, y) + gaze, bilinear (steps of 1/256 px
    and 1/16 grey level), black outside. Each saccade lasts `saccade_us` and is seen at `samples` instants (not more
    than microseconds); in between the log intensity L = log(I + offset), I in 0..255, runs straight.

    A pixel reports ON each time L has risen by its `threshold` since its last report, OFF when it has fallen by as
    much; the event's time is that of the crossing, in whole microseconds rounded up. `mismatch`: thresholds differ
    between pixels and polarities by this share (standard deviation, at least a tenth of the threshold remains).
    `noise`: background events per pixel and second, Poisson, of either polarity. An event less than `refractory_us`
    after the pixel's last one is lost.

    Thresholds depend on `seed` and pixel, noise on `seed` and the image's number: the same number, the same recording.
    """

    path: tuple[tuple[float, float], ...] = TRIANGLE
    saccade_us: int = 100_000
    samples: int = 32
    threshold: float = 0.5
    mismatch: float = 0.05
    offset: float = 50.0
    refractory_us: int = 1000
    noise: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= len(self.path) <= 16 or any(len(corner) != 2 for corner in self.path):
            raise UsageError("event camera: path is 2 to 16 corners (x, y)")
        if not all(abs(value) <= 64 for corner in self.path for value in corner):
            raise UsageError(f"event camera: path has a corner beyond 64 px: {self.path}")
        for name, least, most in (
            ("saccade_us", 1, 10**6),
            ("samples", 1, 1000),
            ("refractory_us", 0, 10**7),
        ):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise UsageError(f"event camera: {name} is {value!r}; a whole number, {least} to {most}")
        if self.samples > self.saccade_us:
            raise UsageError(
                f"event camera: {self.samples} samples in a saccade of {self.saccade_us} us; take fewer"
            )
        if type(self.seed) is not int or not 0 <= self.seed < 1 << 63:
            raise UsageError(f"event camera: seed is {self.seed!r}; a whole number, 0 or more")
        for name, low, high in (
            ("threshold", 0.01, 10),
            ("mismatch", 0, 1),
            ("offset", 1, 10_000),
            ("noise", 0, 100),
        ):
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"event camera: {name} is {getattr(self, name)}; choose {low:g} to {high:g}")

    @property
    def duration_us(self) -> int:
        """Length of a recording."""
        return (len(self.path) - 1) * self.saccade_us

    def record(self, images: NDArray[np.uint8], first: int = 0, backend: str = "auto") -> Events:
        """Recordings of images uint8 `(n, h, w)`, the first of number `first`; events sorted by t, y, x, OFF before ON.

        `backend` auto, native or reference. Other images raise `DataError`, a back end that is not there
        `BackendError`.
        """
        if images.dtype != np.uint8 or images.ndim != 3 or images.size == 0:
            raise DataError(
                f"images are {images.dtype} of shape {images.shape}; the camera sees grey: give uint8 "
                "(n, height, width)"
            )
        n, height, width = images.shape
        if max(height, width) >= 1 << 15:
            raise DataError(f"images are {height} x {width}; the camera has less than 32768 pixels a side")
        native = _native_runs(backend)
        camera_key = mix64(np.array([self.seed + 1], np.uint64) * STEP)
        keys = mix64(camera_key + (np.arange(first, first + n, dtype=np.uint64) + np.uint64(1)) * STEP)
        on, off = self._thresholds(mix64(camera_key), height * width)
        n_noise = self._noise_counts(keys, height * width)
        values, lengths = np.empty(0, EVENT), np.empty(n, np.int64)
        size = max(1, CHUNK // (height * width))
        for start in range(0, n, size):
            rows = slice(start, start + size)
            arguments = (
                np.ascontiguousarray(images[rows]),
                keys[rows],
                n_noise[rows],
                *self._clock(),
                on,
                off,
            )
            recorded, lengths[rows] = self._native(*arguments) if native else self._reference(*arguments)
            append(values, recorded)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Events(values, offsets, (height, width))

    def _clock(self) -> tuple[NDArray[np.int32], Ints, NDArray[np.int32]]:
        """Gaze (x, y) in 1/256 px `(instants, 2)`, instants in us, and log intensity of every 1/16 grey level."""
        corners = np.array(self.path, np.float64)
        share = np.arange(1, self.samples + 1)[:, None] / self.samples
        legs = [begin + share * (end - begin) for begin, end in pairwise(corners)]
        gaze = np.rint(256 * np.concatenate([corners[:1], *legs])).astype(np.int32)
        instants = np.arange(len(gaze), dtype=np.int64) * self.saccade_us // self.samples
        log = np.rint(UNIT * np.log(np.arange(16 * 255 + 1) / 16 + self.offset)).astype(np.int32)
        return gaze, instants, log

    def _thresholds(self, key: Words, n_pixels: int) -> NDArray[np.int32]:
        """ON and OFF, `(2, n_pixels)`, in 1 / UNIT; the deviate is the sum of twelve uniform 16-bit numbers."""
        words = mix64(key + (np.arange(6 * n_pixels, dtype=np.uint64) + np.uint64(1)) * STEP)
        parts = [(words >> np.uint64(16 * k)) & np.uint64(0xFFFF) for k in range(4)]
        deviate = np.sum(parts, axis=0).reshape(2, n_pixels, 3).sum(axis=2).astype(np.int64) - 6 * 65535
        base = round(UNIT * self.threshold)
        spread = np.rint(base * self.mismatch * (deviate / 65536))
        thresholds: NDArray[np.int32] = np.maximum(base + spread, base / 10).astype(np.int32)
        return thresholds

    def _noise_counts(self, keys: Words, n_pixels: int) -> Ints:
        mean = self.noise * self.duration_us / 1e6 * n_pixels
        if not mean:
            return np.zeros(len(keys), np.int64)
        from scipy.special import pdtr

        chance = pdtr(np.arange(math.ceil(mean + 12 * math.sqrt(mean) + 30)), mean)
        uniform = ((mix64(keys + STEP) >> np.uint64(32)).astype(np.float64) + 0.5) / 2**32
        return np.searchsorted(chance, uniform, side="right").astype(np.int64)

    def _native(
        self, images: NDArray[np.uint8], keys: Words, n_noise: Ints, gaze: NDArray[np.int32], instants: Ints,
        log: NDArray[np.int32], on: NDArray[np.int32], off: NDArray[np.int32],
    ) -> tuple[NDArray[np.void], Ints]:  # fmt: skip
        from bitspike import _native

        content, lengths = _native.event_camera(
            images, keys, n_noise, gaze, instants, log, on, off, self.refractory_us, default_threads()
        )
        return content.view(EVENT), lengths

    def _reference(
        self, images: NDArray[np.uint8], keys: Words, n_noise: Ints, gaze: NDArray[np.int32], instants: Ints,
        log: NDArray[np.int32], on: NDArray[np.int32], off: NDArray[np.int32],
    ) -> tuple[NDArray[np.void], Ints]:  # fmt: skip
        """Events of images and how many each has."""
        n, height, width = images.shape
        margin = int(np.abs(gaze).max()) // 256 + 2
        wide = np.pad(images, ((0, 0), (margin, margin), (margin, margin))).astype(np.int64)
        found = [_noise(keys, n_noise, int(instants[-1]), height * width)]
        before = reported = np.empty((0, 0), np.int64)
        for (x, y), begin, end in zip(gaze, [0, *instants], instants, strict=False):
            now = log[_levels(wide, int(x), int(y), margin, height, width)].reshape(n, -1).astype(np.int64)
            if end == 0:
                before, reported = now, now.copy()
            for rises, sign, threshold in ((True, 1, on), (False, -1, off)):
                while (fires := sign * (now - reported) >= threshold).any():
                    row, pixel = np.nonzero(fires)
                    reported[row, pixel] += sign * threshold[pixel]
                    ahead, whole = (
                        now[row, pixel] - reported[row, pixel],
                        now[row, pixel] - before[row, pixel],
                    )
                    time = end - ahead * (end - begin) // whole
                    found.append(np.stack([row, time, pixel, np.full(len(row), rises)]))
            before = now
        row, time, pixel, p = kept(np.concatenate(found, axis=1), self.refractory_us)
        events = np.empty(len(row), EVENT)
        events["t"], events["x"], events["y"], events["p"] = time, pixel % width, pixel // width, p
        return events, np.bincount(row, minlength=n)


def _levels(wide: Ints, x: int, y: int, margin: int, height: int, width: int) -> Ints:
    """Intensities in 1/16 grey level that the pixels see at the gaze (x, y), in 1/256 px."""
    top, left, fy, fx = margin + (y >> 8), margin + (x >> 8), y & 255, x & 255
    corner = [
        [wide[:, top + i : top + i + height, left + j : left + j + width] for j in (0, 1)] for i in (0, 1)
    ]
    upper, lower = ((256 - fx) * one[0] + fx * one[1] for one in corner)
    return ((256 - fy) * upper + fy * lower) >> 12


def _noise(keys: Words, n_noise: Ints, duration: int, n_pixels: int) -> Ints:
    """Background events: rows of image, time, pixel and polarity."""
    row = np.repeat(np.arange(len(keys)), n_noise)
    count = np.arange(len(row)) - np.repeat(np.cumsum(n_noise) - n_noise, n_noise)
    words = mix64(keys[row] + (count.astype(np.uint64) + np.uint64(2)) * STEP)
    pixel = ((words & np.uint64(0xFFFFFFFF)) * np.uint64(n_pixels)) >> np.uint64(32)
    time = (
        ((words >> np.uint64(32)) & np.uint64(0x7FFFFFFF)) * np.uint64(duration) >> np.uint64(31)
    ) + np.uint64(1)
    return np.stack(
        [row, time.astype(np.int64), pixel.astype(np.int64), (words >> np.uint64(63)).astype(np.int64)]
    )


def kept(found: Ints, refractory: int) -> Ints:
    """Events (image, time, pixel, polarity) `(4, n)`, sorted, without those too soon after their pixel's last."""
    row, time, pixel, p = found
    found = found[:, np.lexsort((p, time, pixel, row))]
    row, time, pixel, p = found
    opens = np.flatnonzero(np.diff(row, prepend=-1) | np.diff(pixel, prepend=-1))  # of each pixel's events
    lengths = np.diff(opens, append=len(row))
    last = np.full(len(opens), -(1 << 40))
    keep = np.zeros(len(row), np.bool_)
    for k in range(int(lengths.max(initial=0))):
        some = np.flatnonzero(lengths > k)
        at = opens[some] + k
        good = time[at] - last[some] >= refractory
        keep[at] = good
        last[some[good]] = time[at[good]]
    found = found[:, keep]
    row, time, pixel, p = found
    return found[:, np.lexsort((p, pixel, time, row))]


def _native_runs(backend: str) -> bool:
    built = importlib.util.find_spec("bitspike._native") is not None
    if backend not in ("auto", "native", "reference") or (backend == "native" and not built):
        raise BackendError(f"backend {backend!r} is not there; use auto or reference")
    return built and backend != "reference"
