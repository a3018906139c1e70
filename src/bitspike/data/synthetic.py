"""Data sets that are computed: two moons, population coded."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import make_moons

from bitspike.data.dataset import Dataset
from bitspike.data.population import Population
from bitspike.errors import UsageError


def two_moons(n: int = 1000, noise: float = 0.1, seed: int = 0, units: int = 12) -> Dataset:
    """`n` points of two interleaved half circles; the last fifth is test data.

    Coordinates get Gaussian noise of standard deviation `noise` and are population coded over the range
    of the training data: images `(n, 2, units)`, one row per coordinate.
    """
    if n < 20:
        raise UsageError(f"two_moons wants at least 20 points, not {n}")
    if not 0 <= noise < np.inf:
        raise UsageError(f"two_moons: noise is {noise}; it is a standard deviation, 0 or more")
    points, labels = make_moons(n, noise=noise, random_state=seed)
    n_train = n - n // 5
    images = Population.fit(points[:n_train], units).encode(points).reshape(n, 2, units)
    labels = labels.astype(np.int64)
    return Dataset(
        "two-moons",
        images[:n_train],
        labels[:n_train],
        images[n_train:],
        labels[n_train:],
        classes=("upper", "lower"),
        note="synthetic",
    )
