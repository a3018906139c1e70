import dataclasses

import numpy as np
import pytest

from bitspike import data
from bitspike.coding import CosinePopulation
from bitspike.data import synthetic
from bitspike.data.cosine import min_max
from bitspike.data.dataset import Dataset
from bitspike.data.points import Plane
from bitspike.errors import DataError, UsageError


def test_cosine_population_vector() -> None:
    """BiSNN specification, vector B6."""
    narrow, wide = np.zeros(10), np.zeros(20)
    narrow[3:5] = 0.75452071, 0.24547929
    wide[4:12] = (
        0.13821511,
        0.48822012,
        0.84512562,
        0.99986122,
        0.86178489,
        0.51177988,
        0.15487438,
        0.00013878,
    )
    found = CosinePopulation(10, 1.0).probabilities([[0.37], [0.37]])
    assert found.dtype == np.float64
    assert np.allclose(found, [narrow, narrow], rtol=0, atol=1e-8)
    assert np.allclose(CosinePopulation(20, 4.0).probabilities([[0.37]]), [wide], rtol=0, atol=1e-8)


def test_cosine_population_intensities() -> None:
    population = CosinePopulation(5, 1.5)
    features = np.random.default_rng(0).random((50, 3))
    code = population.encode(features)
    assert code.dtype == np.uint8
    assert code.shape == (50, 15)
    assert np.abs(code / 255 - population.probabilities(features)).max() <= 0.5 / 255 + 1e-12
    assert np.array_equal(population.encode(features[:, :1]), code[:, :5])  # feature by feature
    assert population.encode([[0.25]])[0, 1] == 255  # at its centre
    assert np.array_equal(population.encode([[-3.0], [7.0]]), population.encode([[0.0], [1.0]]))
    mirrored = population.probabilities(1 - features[:, :1])
    assert np.allclose(mirrored, population.probabilities(features[:, :1])[:, ::-1])


@pytest.mark.parametrize("wrong", [{"units": 1}, {"units": 2.5}, {"width": 0.0}, {"width": float("inf")}])
def test_cosine_population_refuses_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="cosine population"):
        CosinePopulation(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("features", [[[np.nan]], [0.5], [], [["a"]]])
def test_cosine_population_refuses_features(features: list[object]) -> None:
    with pytest.raises(DataError, match="features"):
        CosinePopulation().probabilities(features)  # type: ignore[arg-type]


def test_moons() -> None:
    dataset = data.load("moons")
    assert dataset.train_inputs.shape == (200, 2, 10)
    assert dataset.test_inputs.shape == (1000, 2, 10)
    assert np.bincount(dataset.train_labels).tolist() == [100, 100]
    assert dataset.n_outputs == 2
    assert len(set(dataset.hashes.values())) == 4
    train, labels, test, test_labels = synthetic.moons_points()
    assert (train.min(axis=0).tolist(), train.max(axis=0).tolist()) == ([0, 0], [1, 1])
    assert np.array_equal(dataset.train_inputs[3].ravel(), synthetic.MOONS.encode(train[3:4])[0])
    assert np.array_equal(dataset.test_inputs[7].ravel(), synthetic.MOONS.encode(test[7:8])[0])
    assert np.array_equal(dataset.train_labels, labels)
    assert np.array_equal(dataset.test_labels, test_labels)
    upper = test[test_labels == 0][:, 1].mean()
    assert upper > test[test_labels == 1][:, 1].mean() + 0.2
    assert not np.isin(test, train).any()  # fresh points
    assert np.array_equal(synthetic.moons().train_inputs, dataset.train_inputs)
    assert not np.array_equal(synthetic.moons(seed=1).train_inputs, dataset.train_inputs)
    small = synthetic.moons(20, 1, noise=0)
    assert (len(small.train_inputs), len(small.test_inputs)) == (20, 1)


def test_moons_grid() -> None:
    images, points = synthetic.moons_grid()
    assert images.shape == (10_000, 2, 10)
    assert points[0].tolist() == [0, 0]
    assert points[203].tolist() == [0.03, 0.02]
    assert np.array_equal(images[203].ravel(), synthetic.MOONS.encode([[0.03, 0.02]])[0])


def test_moons_have_a_plane() -> None:
    dataset = data.load("moons")
    plane = dataset.plane
    assert plane is not None
    assert (dataset.noun, dataset.line) == ("point", None)
    made = synthetic.moons_points()
    for ours, theirs in zip((plane.train, plane.train_labels, plane.test), made, strict=False):
        assert (ours.dtype, ours.tobytes()) == (theirs.dtype, theirs.tobytes())
    assert np.array_equal(plane.encode(plane.train), dataset.train_inputs)
    assert np.array_equal(plane.encode(plane.test), dataset.test_inputs)
    for n in (1, 7, 100):
        for ours, theirs in zip(plane.grid(n), synthetic.moons_grid(n), strict=True):
            assert (ours.dtype, ours.shape, ours.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes())
    small = synthetic.moons(20, 5, seed=3).plane
    assert small is not None
    assert (small.train.shape, small.test.shape) == ((20, 2), (5, 2))
    with pytest.raises(UsageError, match="points per side"):
        plane.grid(10_001)


def test_filmed_moons_are_recordings() -> None:
    filmed = data.load("events:moons")
    assert (filmed.noun, filmed.plane) == ("recording", None)
    assert (data.load("digits").noun, data.load("digits").plane) == ("image", None)


@pytest.mark.parametrize(
    ("train", "labels", "words"),
    [
        (np.zeros((3, 1)), np.zeros(3, np.int64), r"give \(n, 2\)"),
        (np.zeros((3, 2)), np.zeros(2, np.int64), "3 training"),
    ],
)
def test_plane_refuses(train: np.ndarray, labels: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Plane(train, labels, np.zeros((4, 2)), synthetic.MOONS)


def test_points_stand_behind_all_inputs() -> None:
    moons, regression = data.load("moons"), data.load("regression")
    with pytest.raises(DataError, match=r"\(20, 5\) points stand behind \(200, 1000\) inputs"):
        dataclasses.replace(moons, plane=synthetic.moons(20, 5).plane)
    assert regression.line is not None
    short = dataclasses.replace(regression.line, test_x=regression.line.test_x[:9])
    with pytest.raises(DataError, match=r"\(60, 9\) points"):
        dataclasses.replace(regression, line=short)


def test_moons_refuses() -> None:
    with pytest.raises(UsageError, match="at least 4 and 1"):
        synthetic.moons(2)
    with pytest.raises(UsageError, match="standard deviation"):
        synthetic.moons(noise=-1)
    with pytest.raises(UsageError, match="points per side"):
        synthetic.moons_grid(0)


def test_regression() -> None:
    dataset = data.load("regression")
    assert dataset.classes == ()
    assert (dataset.n_classes, dataset.n_outputs) == (0, 1)
    assert dataset.train_inputs.shape == (60, 1, 20)
    assert dataset.test_inputs.shape == (600, 1, 20)
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.float64
    assert (dataset.test_labels.min(), dataset.test_labels.max()) == (0, 1)
    x, y, test_x, test_y = synthetic.regression_points()
    assert np.allclose(test_x[[0, 150, 599]], [-1, 0.5, 4.99])
    assert np.allclose(test_y[150], 0.5 - 0.025 + np.sqrt(0.5))
    assert all(((x >= low) & (x < high)).sum() == 20 for low, high in synthetic.TRAINED)
    assert 0.07 < (y - synthetic.curve(x)).std() < 0.13
    (x_low, x_high), (y_low, y_high) = synthetic.regression_scale()
    assert np.allclose(y_low + dataset.test_labels * (y_high - y_low), test_y)
    assert (x_low, x_high) == (-1.0, 4.99)
    coded = synthetic.REGRESSION.encode([[(test_x[70] - x_low) / (x_high - x_low)]])
    assert np.array_equal(dataset.test_inputs[70], coded)
    assert not np.array_equal(synthetic.regression(seed=1).train_labels, dataset.train_labels)


def test_regression_has_a_line() -> None:
    dataset = data.load("regression")
    line = dataset.line
    assert line is not None
    assert (dataset.noun, dataset.plane) == ("point", None)
    x, y, test_x, _ = synthetic.regression_points()
    low, high = synthetic.regression_scale()[1]
    for ours, theirs in (
        (line.train_x, x),
        (line.train_targets, min_max(y, low, high)),
        (line.test_x, test_x),
    ):
        assert (ours.dtype, ours.tobytes()) == (theirs.dtype, theirs.tobytes())
    assert line.train_targets.max() > 1  # not clipped
    assert np.array_equal(np.clip(line.train_targets, 0, 1), dataset.train_labels)
    assert line.intervals == synthetic.TRAINED
    assert line.trained.dtype == np.bool_
    assert [line.trained[round(100 * (at + 1))] for at in (-1, -0.01, 0, 1, 1.5, 2.49, 2.5, 3, 4, 4.99)] == [
        True, True, False, False, True, True, False, False, True, True,
    ]  # fmt: skip
    assert not dataclasses.replace(line, intervals=()).trained.any()
    with pytest.raises(DataError, match=r"give \(n,\), \(n,\) and \(m,\)"):
        dataclasses.replace(line, train_x=x[:3])


def test_regression_splits() -> None:
    dataset = data.load("regression")
    parts = data.split(dataset, 1 / 6, seed=3)
    assert (len(parts.train_labels), len(parts.validation_labels), len(parts.test_labels)) == (50, 10, 600)
    joined = np.concatenate([parts.train_labels, parts.validation_labels])
    assert np.array_equal(np.sort(joined), np.sort(dataset.train_labels))
    assert parts.validation_labels.dtype == np.float64


@pytest.mark.parametrize(
    ("classes", "labels", "words"),
    [
        ((), np.array([0.5, 1.5]), r"label 1\.5 of input 1 is outside 0\.\.1"),
        ((), np.array([np.nan, 0.5]), "label nan of input 0"),
        ((), np.array([0, 1]), "give one float64 target"),
        (("a", "b"), np.array([0.0, 1.0]), "give one int64 label"),
        (("a",), np.array([0, 0]), "1 class; at least 2"),
    ],
)
def test_labels_must_suit_the_classes(classes: tuple[str, ...], labels: np.ndarray, words: str) -> None:
    images = np.zeros((2, 1, 3), np.uint8)
    with pytest.raises(DataError, match=words):
        Dataset("x", images, labels, images, labels, classes)
