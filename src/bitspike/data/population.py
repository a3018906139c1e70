"""Population coding: a real feature becomes the intensities of units with Gaussian receptive fields.

It lives beside `data.cosine`, below `bitspike.coding`, which re-exports both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bitspike.errors import DataError, UsageError


@dataclass(frozen=True)
class Population:
    """Gaussian receptive fields over each feature's range [low_d, high_d], `units` (at least 3) per feature.

    Unit i = 1..units has centre c_i = low + (2 i - 3)/2 * (high - low)/(units - 2) and width
    s = (high - low)/(1.5 (units - 2)); its intensity is round(255 exp(-(x - c_i)^2 / (2 s^2))). Features
    outside the range count as its nearest end. Bohte, Kok & La Poutre, Neurocomputing 48 (2002), section 4
    (beta = 1.5).
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    units: int = 12

    def __post_init__(self) -> None:
        if self.units < 3:
            raise UsageError(f"population.units is {self.units}; at least 3 receptive fields are needed")
        if not self.low or len(self.low) != len(self.high):
            raise UsageError(
                f"population has {len(self.low)} lower and {len(self.high)} upper ends; give one per feature"
            )
        if not all(np.isfinite(b - a) and a < b for a, b in zip(self.low, self.high, strict=True)):
            raise UsageError("population needs finite ranges with low < high in every feature")

    @classmethod
    def fit(cls, features: ArrayLike, units: int = 12) -> Population:
        """Take the ranges from training features `(n, d)`; a constant feature gets the range value +-0.5."""
        x = real_features(features)
        low, high = x.min(axis=0), x.max(axis=0)
        flat = low == high
        half = np.where(flat, np.maximum(0.5, np.abs(low) * 1e-6), 0.0)
        return cls(tuple((low - half).tolist()), tuple((high + half).tolist()), units)

    def encode(self, features: ArrayLike) -> NDArray[np.uint8]:
        """Intensities uint8 `(n, d * units)` of real features `(n, d)`; NaN raises `DataError`."""
        x = real_features(features)
        low, high = np.array(self.low), np.array(self.high)
        if x.shape[1] != low.size:
            raise DataError(f"features have {x.shape[1]} columns; this population was fitted to {low.size}")
        position = (
            (np.clip(x, low, high) - low) / (high - low) * (self.units - 2)
        )  # in spacings of the centres
        centres = np.arange(self.units) - 0.5
        distance = position[:, :, None] - centres  # (n, d, units)
        intensity: NDArray[np.uint8] = np.rint(255 * np.exp(-0.5 * (1.5 * distance) ** 2)).astype(np.uint8)
        return intensity.reshape(len(x), -1)


def real_features(features: ArrayLike) -> NDArray[np.float64]:
    """Features as a float64 table `(n, d)`; another shape, nothing, NaN and infinity raise `DataError`."""
    try:
        x = np.asarray(features, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"features are not numbers: {error}") from error
    if x.ndim != 2 or x.size == 0:
        raise DataError(
            f"features have shape {x.shape}; give a table (n, d) with at least one row and one column"
        )
    if not np.isfinite(x).all():
        row = int(np.argmax(~np.isfinite(x).all(axis=1)))
        raise DataError(f"features hold NaN or infinity (first in row {row}); drop or fill such rows")
    return x
