"""Data sets that are computed, population coded: two moons and the one-dimensional regression of BiSNN.

Jang, Skatchkovsky and Simeone, "BiSNN", arXiv 2012.08300. Both scale their features to [0, 1] and code them by
`CosinePopulation`, so that `Poisson(n_steps, rate=1.0)` draws the published trains.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.datasets import make_moons

from bitspike.data.catalog import PARTS
from bitspike.data.cosine import CosinePopulation, min_max
from bitspike.data.dataset import Dataset, Images, Labels
from bitspike.data.idx import idx_sha256
from bitspike.data.points import Line, Plane, square
from bitspike.errors import UsageError

Floats = NDArray[np.float64]

MOONS = CosinePopulation(units=10, width=1.0)
REGRESSION = CosinePopulation(units=20, width=4.0)
TRAINED = ((-1.0, 0.0), (1.5, 2.5), (4.0, 5.0))  # the intervals of x with training data, closed and open
REGRESSION_X = np.arange(-100, 500) / 100  # x of the test rows
NOISE = 0.1  # standard deviation, of the moons' coordinates and of the regression's training targets


def moons(n_train: int = 200, n_test: int = 1000, noise: float = NOISE, seed: int = 0) -> Dataset:
    """Points of two interleaved half circles: images `(n, 2, 10)`, one row per coordinate; test points are fresh ones.

    `plane` holds the coordinates behind the rows.
    """
    train, train_labels, test, test_labels = moons_points(n_train, n_test, noise, seed)
    plane = Plane(train, train_labels, test, MOONS)
    images = plane.encode(train), plane.encode(test)
    return _dataset("moons", images, (train_labels, test_labels), ("upper", "lower"), plane=plane)


def moons_points(
    n_train: int = 200, n_test: int = 1000, noise: float = NOISE, seed: int = 0
) -> tuple[Floats, NDArray[np.int64], Floats, NDArray[np.int64]]:
    """Training points `(n, 2)` and labels, test points and labels; Gaussian noise of deviation `noise`.

    Each coordinate is scaled by the smallest and largest of the training points, which thereby lie in [0, 1]; a test
    point may lie a little outside.
    """
    if n_train < 4 or n_test < 1:
        raise UsageError(f"moons: {n_train} training and {n_test} test points; at least 4 and 1 are needed")
    if not 0 <= noise < np.inf:
        raise UsageError(f"moons: noise is {noise}; it is a standard deviation, 0 or more")
    generator = np.random.RandomState(seed)
    parts = [make_moons(n, noise=noise, random_state=generator) for n in (n_train, max(n_test, 2))]
    (train, train_labels), (test, test_labels) = parts
    low, high = train.min(axis=0), train.max(axis=0)
    return (
        min_max(train, low, high),
        train_labels.astype(np.int64),
        min_max(test, low, high)[:n_test],
        test_labels.astype(np.int64)[:n_test],
    )


def moons_grid(n: int = 100) -> tuple[NDArray[np.uint8], Floats]:
    """The square [0, 1) x [0, 1) of scaled coordinates, to draw confidence on: images `(n * n, 2, 10)`, points.

    Point i * n + j, of float64 `(n * n, 2)`, is (j / n, i / n).
    """
    points = square(n)
    return MOONS.encode(points).reshape(len(points), 2, MOONS.units), points


def curve(x: ArrayLike) -> Floats:
    """f(x) = x - 0.1 x^2 + cos(pi x / 2)."""
    x = np.asarray(x, np.float64)
    return np.asarray(x - 0.1 * x**2 + np.cos(np.pi * x / 2))


def regression(seed: int = 0) -> Dataset:
    """60 training points of the noisy curve in three intervals, 600 test points of the curve itself over all of them.

    Images `(n, 1, 20)` of x, targets y, both scaled by `regression_scale`; noisy targets outside [0, 1] become its
    nearest end. `line` holds the points behind the rows, `regression_points` the unscaled ones.
    """
    train_x, train_y, test_x, test_y = regression_points(seed)
    (x_low, x_high), (y_low, y_high) = regression_scale()
    images = [REGRESSION.encode(min_max(x, x_low, x_high)[:, None])[:, None, :] for x in (train_x, test_x)]
    targets = [min_max(y, y_low, y_high) for y in (train_y, test_y)]
    line = Line(train_x, targets[0], test_x, TRAINED)
    return _dataset("regression", images, [np.clip(y, 0, 1) for y in targets], (), line=line)


def regression_points(seed: int = 0) -> tuple[Floats, Floats, Floats, Floats]:
    """x and y = f(x) + N(0, 0.1^2) of training, x and y = f(x) of test.

    Training: x = -1, -0.95, … in each interval of `TRAINED`, 20 points; test: x = -1, -0.99, …, 4.99.
    """
    train_x = np.concatenate([low + np.arange(round((high - low) * 20)) / 20 for low, high in TRAINED])
    noise = np.random.default_rng(seed).normal(0, NOISE, len(train_x))
    return train_x, curve(train_x) + noise, REGRESSION_X.copy(), curve(REGRESSION_X)


def regression_scale() -> tuple[tuple[float, float], tuple[float, float]]:
    """Smallest and largest x, smallest and largest y of the test points: what 0 and 1 stand for.

    A scaled prediction p is y = low + p (high - low).
    """
    y = curve(REGRESSION_X)
    return (float(REGRESSION_X[0]), float(REGRESSION_X[-1])), (float(y.min()), float(y.max()))


def _dataset(
    name: str,
    images: Sequence[Images],
    labels: Sequence[Labels],
    classes: tuple[str, ...],
    plane: Plane | None = None,
    line: Line | None = None,
) -> Dataset:
    """A data set of (training, test) images and labels, with the hashes of what its IDX files would hold."""
    (train, test), (train_labels, test_labels) = images, labels
    kind = np.uint8 if classes else np.float64
    parts = dict(zip(PARTS, (train, train_labels.astype(kind), test, test_labels.astype(kind)), strict=True))
    hashes = {part: idx_sha256(array) for part, array in parts.items()}
    return Dataset(
        name, train, train_labels, test, test_labels, classes, hashes,
        note="synthetic", plane=plane, line=line,
    )  # fmt: skip
