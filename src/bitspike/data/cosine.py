"""Cosine population coding: a feature in [0, 1] becomes the intensities of units whose receptive fields overlap.

It lives beside the data, below `bitspike.coding` (which re-exports it), for the synthetic data sets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bitspike.data.population import real_features
from bitspike.errors import DataError, UsageError


@dataclass(frozen=True)
class CosinePopulation:
    """`units` (K, at least 2) receptive fields per feature, the centres c_k = k d evenly from 0 to 100, d = 100/(K-1).

    Unit k fires per step with probability 0.5 + 0.5 cos(clip(pi (100 x - c_k) / (width d), -pi, pi)): 1 at its centre,
    0 from a distance of `width` spacings on. Features outside [0, 1] count as its nearest end. Jang, Skatchkovsky and
    Simeone, "BiSNN", arXiv 2012.08300 (width 1 for two moons, 4 for the regression).
    """

    units: int = 10
    width: float = 1.0

    def __post_init__(self) -> None:
        if type(self.units) is not int or not 2 <= self.units <= 1 << 16:
            raise UsageError(f"cosine population: units is {self.units!r}; give a whole number, 2 or more")
        if not 0 < self.width < math.inf:
            raise UsageError(f"cosine population: width is {self.width}; give spacings of centres, above 0")

    def probabilities(self, features: ArrayLike) -> NDArray[np.float64]:
        """Spikes per step, float64 `(n, d * units)`, of features `(n, d)`; NaN raises `DataError`."""
        x = np.clip(real_features(features), 0, 1)
        spacing = 100 / (self.units - 1)
        centres = np.arange(self.units) * spacing
        angle = np.pi * (100 * x[:, :, None] - centres) / (self.width * spacing)  # (n, d, units)
        chance: NDArray[np.float64] = 0.5 + 0.5 * np.cos(np.clip(angle, -np.pi, np.pi))
        return chance.reshape(len(x), -1)

    def encode(self, features: ArrayLike) -> NDArray[np.uint8]:
        """Intensities round(255 * probability), uint8 `(n, d * units)`: the trains are `Poisson(n_steps, rate=1.0)`.

        A probability is thereby rounded to a multiple of 1/255.
        """
        intensity: NDArray[np.uint8] = np.rint(255 * self.probabilities(features)).astype(np.uint8)
        return intensity


def min_max(values: ArrayLike, low: ArrayLike, high: ArrayLike) -> NDArray[np.float64]:
    """(values - low) / (high - low), float64; low = high raises `DataError`."""
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if not (low < high).all():
        raise DataError("a range to scale by is empty: every feature needs two different values")
    scaled: NDArray[np.float64] = (np.asarray(values, np.float64) - low) / (high - low)
    return scaled
