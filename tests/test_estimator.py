"""`BitspikeClassifier` keeps scikit-learn's contract, learns, and exports what it decides with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import train_test_split
from sklearn.utils.estimator_checks import parametrize_with_checks

import bitspike
from bitspike.errors import UsageError
from bitspike.estimator import BitspikeClassifier


@parametrize_with_checks([BitspikeClassifier(hidden=(64,), epochs=12)])
def test_scikit_learn_contract(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("weights", ["binary", "real"])
@pytest.mark.parametrize("encoding", ["population", "intensity"])
def test_learns_iris(weights: Any, encoding: Any) -> None:
    X, y = load_iris(return_X_y=True)
    train, test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    model = BitspikeClassifier((32,), weights, epochs=60, encoding=encoding, random_state=3).fit(
        train, y_train
    )
    assert model.score(test, y_test) > (0.9 if encoding == "population" else 0.85)


def test_learns_digits_by_intensity() -> None:
    X, y = load_digits(return_X_y=True)
    train, test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    model = BitspikeClassifier((64,), epochs=10, random_state=0).fit(train, y_train)
    assert model.encode(test[:1]).shape == (1, 128)
    assert model.score(test, y_test) > 0.85


def test_an_exported_model_decides_the_same(tmp_path: Path) -> None:
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = BitspikeClassifier((16,), epochs=5, random_state=0).fit(X, names)
    n_bytes = model.export(tmp_path / "iris.bitspike")
    assert n_bytes == (tmp_path / "iris.bitspike").stat().st_size
    loaded = bitspike.load(tmp_path / "iris.bitspike")
    assert loaded.classes == ("setosa", "versicolor", "virginica")
    inputs = model.encode(X)
    assert (np.array(loaded.classes)[loaded.predict(inputs)] == model.predict(X)).all()
    assert np.allclose(loaded.predict_proba(inputs), model.predict_proba(X), atol=1e-6)


def test_the_same_seed_gives_the_same_model_and_another_another() -> None:
    X, y = load_iris(return_X_y=True)
    first, second, other = (
        BitspikeClassifier((16,), epochs=2, random_state=seed).fit(X, y).predict_proba(X)
        for seed in (1, 1, 2)
    )
    assert (first == second).all()
    assert (first != other).any()


def test_a_line_for_each_epoch_is_printed_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    X, y = load_iris(return_X_y=True)
    BitspikeClassifier((8,), epochs=3, random_state=0, verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all(0 <= float(line.split()[-2]) <= 100 for line in lines)
    BitspikeClassifier((8,), epochs=1, random_state=0).fit(X, y)
    assert capsys.readouterr().out == ""


def test_on_and_off_channels_clip_and_ignore_constants() -> None:
    X = np.array([[0.0, 5.0], [10.0, 5.0], [5.0, 5.0], [2.0, 5.0]])
    model = BitspikeClassifier((4,), epochs=1, encoding="intensity", random_state=0).fit(X, [0, 1, 0, 1])
    encoded = model.encode([[-1.0, 5.0], [99.0, 9.0], [2.5, 5.0]])
    assert encoded.tolist() == [[0, 0, 255, 255], [255, 255, 0, 0], [64, 0, 191, 255]]


@pytest.mark.parametrize(
    "wrong",
    [{"encoding": "rate"}, {"hidden": ()}, {"hidden": (0,)}, {"epochs": 0}, {"lr": -1.0}, {"n_steps": 0}],
)
def test_wrong_parameters_are_refused_in_fit(wrong: dict[str, Any]) -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.raises(UsageError):
        BitspikeClassifier(**wrong).fit(X, y)


def test_whole_numbers_of_numpy_and_one_width_are_taken():
    x, y = load_iris(return_X_y=True)
    for hidden in (8, np.int64(8), np.array([8])):
        short = BitspikeClassifier(
            hidden=hidden, epochs=np.int64(2), batch_size=np.int64(16), n_steps=np.int64(8), random_state=0
        )
        assert short.fit(x, y).model_.network.layers[0].n_out == 8


def test_fit_does_not_mind_that_gradients_are_switched_off():
    x, y = load_iris(return_X_y=True)
    expected = BitspikeClassifier(hidden=8, epochs=2, random_state=0).fit(x, y).predict(x)
    with torch.no_grad():
        found = BitspikeClassifier(hidden=8, epochs=2, random_state=0).fit(x, y).predict(x)
        assert not torch.is_grad_enabled()
    np.testing.assert_array_equal(found, expected)
