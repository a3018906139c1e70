"""The real data sets, where BITSPIKE_DATA names a folder that holds them."""

import os

import numpy as np
import pytest

from bitspike import data

pytestmark = pytest.mark.skipif(
    not os.environ.get("BITSPIKE_DATA"), reason="BITSPIKE_DATA names no folder of data sets"
)

MNIST_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@pytest.fixture(autouse=True)
def _present(request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["name"]
    if not all(check.path for check in data.verify(name)):
        pytest.skip(f"{name} is not in BITSPIKE_DATA")


@pytest.mark.parametrize(
    ("name", "n_train", "n_test", "n_classes"),
    [
        ("mnist", 60_000, 10_000, 10),
        ("fashion", 60_000, 10_000, 10),
        ("emnist", 112_800, 18_800, 47),
        ("emnist-47-subset", 41_538, 3_055, 47),
    ],
)
def test_shapes_counts_and_hashes(name: str, n_train: int, n_test: int, n_classes: int) -> None:
    dataset = data.load(name, download=False)
    assert dataset.train_inputs.shape == (n_train, 28, 28)
    assert dataset.test_inputs.shape == (n_test, 28, 28)
    assert dataset.n_classes == n_classes
    train, test = np.bincount(dataset.train_labels), np.bincount(dataset.test_labels)
    assert len(train) == len(test) == n_classes
    if name == "mnist":
        assert train.tolist() == MNIST_COUNTS
        halves = data.split(dataset, 1 / 6, seed=1)
        assert (len(halves.train_inputs), len(halves.validation_inputs)) == (50_000, 10_000)
    else:
        assert len(set(test.tolist())) == 1  # balanced
    known = data.CATALOG[name]
    assert all(dataset.hashes[file.name] == file.sha256 for file in known.files if file.sha256)
    assert all(check.ok for check in data.verify(name))
    assert bool(dataset.note) == name.startswith("emnist")


@pytest.mark.parametrize("name", ["emnist-47-subset"])
def test_emnist_is_upright(name: str) -> None:
    dataset = data.load(name, download=False)
    ones = dataset.train_inputs[dataset.train_labels == 1].astype(np.float64)
    ink_by_row, ink_by_column = (ones > 128).any(axis=2).sum(axis=1), (ones > 128).any(axis=1).sum(axis=1)
    assert ink_by_row.mean() > 1.5 * ink_by_column.mean()  # a one is high and narrow
