"""Recordings of different lengths, one after the other in flat arrays: address events and sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitspike.errors import DataError

EVENT = np.dtype([("t", "<i4"), ("x", "<i2"), ("y", "<i2"), ("p", "?")])  # t in microseconds; p: ON


@dataclass(frozen=True, eq=False)
class Events:
    """Address events: recording k is `values[offsets[k]:offsets[k + 1]]`, dtype `EVENT`, sorted by time.

    `offsets` int64 `(n + 1,)`; `sensor` is (height, width), which every address lies within.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]
    sensor: tuple[int, int]

    def __post_init__(self) -> None:
        _check_offsets("events", self.values, self.offsets)
        if self.values.dtype != EVENT:
            raise DataError(f"events are {self.values.dtype}; give {EVENT}")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Recordings, polarities, height, width."""
        return (len(self), 2, *self.sensor)

    def __getitem__(self, rows: NDArray[Any] | slice) -> Events:
        """The recordings of these numbers."""
        return Events(*_take(self.values, self.offsets, rows), self.sensor)

    @staticmethod
    def join(recordings: Sequence[NDArray[Any]], sensor: tuple[int, int]) -> Events:
        """Recordings, one array of dtype `EVENT` each."""
        return Events(*_join(recordings, EVENT), sensor)


@dataclass(frozen=True, eq=False)
class Audio:
    """Sound, one channel: recording k is `values[offsets[k]:offsets[k + 1]]`, int16; `rate` in samples per second."""

    values: NDArray[np.int16]
    offsets: NDArray[np.int64]
    rate: int

    def __post_init__(self) -> None:
        _check_offsets("sound", self.values, self.offsets)
        if self.values.dtype != np.int16:
            raise DataError(f"sound is {self.values.dtype}; give int16")
        if self.rate < 1:
            raise DataError(f"the sampling rate is {self.rate}; give samples per second")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Recordings; their lengths differ."""
        return (len(self),)

    def __getitem__(self, rows: NDArray[Any] | slice) -> Audio:
        """The recordings of these numbers."""
        return Audio(*_take(self.values, self.offsets, rows), self.rate)

    @staticmethod
    def join(recordings: Sequence[NDArray[Any]], rate: int) -> Audio:
        """Recordings, one int16 array each."""
        return Audio(*_join(recordings, np.dtype(np.int16)), rate)


def append(values: NDArray[Any], more: NDArray[Any]) -> None:
    """Lengthen an array that nothing else refers to, in place, so that large recordings exist once."""
    n = len(values)
    values.resize(n + len(more), refcheck=False)
    values[n:] = more


def _check_offsets(what: str, values: NDArray[Any], offsets: NDArray[np.int64]) -> None:
    fits = offsets.ndim == 1 and len(offsets) > 0 and offsets.dtype == np.int64
    if not fits or offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 0).any():
        raise DataError(f"{what}: offsets must rise from 0 to the {len(values)} values, int64")


def _take(
    values: NDArray[Any], offsets: NDArray[np.int64], rows: NDArray[Any] | slice
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    chosen = np.arange(len(offsets) - 1)[rows]
    begins, lengths = offsets[chosen], np.diff(offsets)[chosen]
    taken = np.concatenate([[0], np.cumsum(lengths)])
    places = np.arange(taken[-1]) + np.repeat(begins - taken[:-1], lengths)
    return values[places], taken.astype(np.int64)


def _join(recordings: Sequence[NDArray[Any]], dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    lengths = [len(recording) for recording in recordings]
    values = np.concatenate([np.empty(0, dtype), *recordings]).astype(dtype, copy=False)
    return values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
