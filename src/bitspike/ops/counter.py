"""Counter-based random numbers: equal keys give equal numbers, whatever the order, the device or the threads.

Importing this needs no torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

STEP = np.uint64(0x9E3779B97F4A7C15)
EPS = 1e-6  # uniform numbers keep this distance from 0 and 1


def mix64(z: NDArray[Any]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64, on uint64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


def key(seed: int, step: int, tensor: int) -> int:
    """The key of one tensor's draw in one step: mix64(mix64(mix64(seed) + step) + tensor), modulo 2^64."""
    value = seed
    for part in (0, step, tensor):  # mix64 on Python's integers, ten times faster than on an array of one
        z = (value + part) % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        value = z ^ (z >> 31)
    return value


def uniform(key: int, n: int) -> NDArray[np.float32]:
    """`n` uniform numbers, float32, at least `EPS` away from 0 and 1.

    Number i: h = the low (i even) or high (i odd) 32 bits of mix64(key + (i // 2 + 1) * STEP), then
    ((h >> 8) + 0.5) * 2^-24, clipped to [EPS, 1 - EPS].
    """
    numbers: NDArray[np.float32] = uniforms(np.array([key], np.uint64), 0, n)[0]
    return numbers


def uniforms(keys: NDArray[np.uint64], first: int, n: int) -> NDArray[np.float32]:
    """Numbers `first` (even) to first + n - 1 of `uniform` of every key, `(len(keys), n)`."""
    counter = np.arange(first // 2 + 1, first // 2 + (n + 1) // 2 + 1, dtype=np.uint64)
    words = mix64(keys[:, None] + counter * STEP)
    halves = np.stack([words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)], axis=2)
    return _numbers(halves.reshape(len(keys), -1)[:, :n])


def _numbers(halves: NDArray[np.uint64]) -> NDArray[np.float32]:
    numbers = ((halves >> np.uint64(8)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-24)
    clipped: NDArray[np.float32] = numbers.clip(np.float32(EPS), np.float32(1 - EPS))
    return clipped
