"""Coded recordings: spikes as lists of steps and channels, one recording after the other. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitspike.errors import DataError


@dataclass(frozen=True, eq=False)
class SpikeList:
    """Spikes of recording k: `steps` and `channels` at `offsets[k]:offsets[k + 1]`; at most one per channel and step.

    `steps` int16 in 0..n_steps-1, `channels` int32 in 0..n_channels-1, `offsets` int64 `(n + 1,)`.
    """

    steps: NDArray[np.int16]
    channels: NDArray[np.int32]
    offsets: NDArray[np.int64]
    n_steps: int
    n_channels: int

    def __post_init__(self) -> None:
        rising = self.offsets.ndim == 1 and len(self.offsets) > 0 and self.offsets[0] == 0
        if not rising or (np.diff(self.offsets) < 0).any() or self.offsets[-1] != len(self.steps):
            raise DataError("spike list: offsets must rise from 0 to the number of spikes")
        if len(self.steps) != len(self.channels):
            raise DataError(f"spike list: {len(self.steps)} steps but {len(self.channels)} channels")
        for name, values, end in (
            ("step", self.steps, self.n_steps),
            ("channel", self.channels, self.n_channels),
        ):
            if values.size and (values.min() < 0 or values.max() >= end):
                raise DataError(f"spike list: a {name} lies outside 0..{end - 1}")

    @property
    def shape(self) -> tuple[int, int]:
        """Recordings and channels."""
        return len(self), self.n_channels

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: NDArray[Any] | slice) -> SpikeList:
        """The recordings of these numbers."""
        begins = self.offsets[:-1][rows]
        lengths = self.offsets[1:][rows] - begins
        taken = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.arange(taken[-1]) + np.repeat(begins - taken[:-1], lengths)
        return SpikeList(self.steps[places], self.channels[places], taken, self.n_steps, self.n_channels)

    @staticmethod
    def concatenate(parts: list[SpikeList]) -> SpikeList:
        """Join coded recordings of one kind."""
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return SpikeList(
            np.concatenate([part.steps for part in parts]),
            np.concatenate([part.channels for part in parts]),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            parts[0].n_steps,
            parts[0].n_channels,
        )

    def dense(self) -> NDArray[np.bool_]:
        """`(n, n_steps, n_channels)`, True where a spike is."""
        result = np.zeros((len(self), self.n_steps, self.n_channels), np.bool_)
        result[np.repeat(np.arange(len(self)), np.diff(self.offsets)), self.steps, self.channels] = True
        return result

    def words(self) -> NDArray[np.int64]:
        """`(n, n_steps, ceil(n_channels / 64))`: channel c is bit c % 64 of word c // 64."""
        n_words = -(-self.n_channels // 64)
        rows = np.repeat(np.arange(len(self)), np.diff(self.offsets)) * self.n_steps + self.steps
        bits = np.zeros((len(self) * self.n_steps, n_words * 8), np.uint8)
        place = rows * (n_words * 8) + self.channels // 8
        np.bitwise_or.at(bits.reshape(-1), place, (1 << (self.channels % 8)).astype(np.uint8))
        words: NDArray[np.int64] = (
            bits.view("<i8").astype(np.int64, copy=False).reshape(len(self), self.n_steps, n_words)
        )
        return words
