"""What stands behind coded points, as attributes of a `Dataset`: a plane of two coordinates, a line of x and target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitspike.data.cosine import CosinePopulation
from bitspike.data.population import Population
from bitspike.errors import DataError, UsageError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plane:
    """Points of two coordinates, scaled so that the training points fill [0, 1] x [0, 1], and how they are coded.

    `train` float64 `(n, 2)` and `test` float64 `(m, 2)` are the points behind the data set's inputs, in their order;
    `train_labels` int64 `(n,)`, places in its classes. `population` codes coordinates as intensities.
    """

    train: Floats
    train_labels: NDArray[np.int64]
    test: Floats
    population: CosinePopulation | Population

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            points = getattr(self, part)
            if points.ndim != 2 or points.shape[1] != 2:
                raise DataError(f"plane: {part} points have shape {points.shape}; give (n, 2)")
        if self.train_labels.shape != self.train.shape[:1]:
            raise DataError(
                f"plane: {len(self.train)} training points, labels of shape {self.train_labels.shape}; give one each"
            )

    def encode(self, points: Floats) -> NDArray[np.uint8]:
        """Images `(k, 2, units)`, a row per coordinate as in the data set, of any points `(k, 2)` of the plane."""
        return self.population.encode(points).reshape(len(points), 2, self.population.units)

    def grid(self, n: int = 100) -> tuple[NDArray[np.uint8], Floats]:
        """The square [0, 1) x [0, 1), to draw decisions on: images `(n * n, 2, units)`, points float64 `(n * n, 2)`.

        Point i * n + j is (j / n, i / n): values at the points, reshaped to `(n, n)`, are an image whose row is the
        second coordinate. `n` is 1 to 10000, else `UsageError`.
        """
        points = square(n)
        return self.encode(points), points


@dataclass(frozen=True, eq=False)
class Line:
    """A regression of one feature: x as it is, targets scaled as the labels are.

    `train_x`, `train_targets` float64 `(n,)` and `test_x` float64 `(m,)` stand behind the data set's inputs, in their
    order. Training targets are not clipped to [0, 1], as the labels are. `intervals`: pairs (low, high), closed and
    open, rising: where there are training points.
    """

    train_x: Floats
    train_targets: Floats
    test_x: Floats
    intervals: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if self.train_x.ndim != 1 or self.test_x.ndim != 1 or self.train_targets.shape != self.train_x.shape:
            raise DataError(
                f"line: training x, targets and test x have shapes {self.train_x.shape}, "
                f"{self.train_targets.shape} and {self.test_x.shape}; give (n,), (n,) and (m,)"
            )

    @property
    def trained(self) -> NDArray[np.bool_]:
        """Which test points lie within an interval with training points, `(m,)`; the others lie in gaps."""
        inside = [(low <= self.test_x) & (self.test_x < high) for low, high in self.intervals]
        return np.any(inside, axis=0) if inside else np.zeros(self.test_x.shape, np.bool_)


def square(n: int) -> Floats:
    """Points float64 `(n * n, 2)` of [0, 1) x [0, 1): point i * n + j is (j / n, i / n). `n` is 1 to 10000."""
    if not 1 <= n <= 10_000:
        raise UsageError(f"a grid of {n} points per side is not possible; give 1 to 10000 points per side")
    rows, columns = np.divmod(np.arange(n * n), n)
    return np.stack([columns / n, rows / n], axis=1)
