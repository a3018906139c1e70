"""An experiment is a value: it survives JSON, and nothing that makes no sense becomes one."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitspike.coding import FirstSpike, Pixel
from bitspike.data.augment import Augment
from bitspike.errors import UsageError
from bitspike.experiment import Data, Experiment, Training
from bitspike.recipes.bnn import bnn_digits, bnn_fashion, bnn_mnist
from bitspike.rules.bnn import BNN
from bitspike.rules.first_spike_race import FirstSpikeRace
from bitspike.settings import IF, Optimizer
from bitspike.weights import Weights

positive = st.floats(min_value=1e-9, max_value=1e9)
share = st.floats(min_value=0, max_value=1)
open_share = st.floats(min_value=1e-6, max_value=1 - 1e-6)
count = st.integers(min_value=1, max_value=10**12)
bounds = st.tuples(st.floats(-1e6, -1e-6), st.floats(1e-6, 1e6))
hidden = st.lists(st.integers(1, 5000), min_size=1, max_size=4).map(tuple)
common: dict[str, Any] = {
    "name": st.text(),
    "data": st.builds(Data, st.text(), st.none() | st.text(), open_share),
    "augment": st.builds(Augment, share, open_share, share, share, share, st.booleans()),
    "network": st.builds(IF, hidden, st.just(0)),
    "optimizer": st.builds(
        Optimizer, st.sampled_from(["adam", "sgd"]), positive, positive, positive, share,
        st.sampled_from(["cosine", "exponential", "constant"]), open_share,
    ),
    "training": st.builds(
        Training, count, count, st.sampled_from(["permutation", "replacement", "none"]), share, count
    ),
    "seed": st.integers(0, 2**62),
}  # fmt: skip
binary = st.builds(Weights, st.just("binary"), bounds, bounds, st.none() | positive)
experiments = st.builds(
    Experiment,
    coding=st.just(Pixel()),
    rule=st.builds(BNN, st.sampled_from(["hinge", "cross_entropy"]), st.booleans()),
    weights=binary,
    backend=st.sampled_from(["auto", "reference"]),
    **common,
) | st.builds(
    Experiment,
    coding=st.builds(FirstSpike, st.integers(1, 32766)),
    rule=st.builds(FirstSpikeRace, positive, positive, open_share, positive, positive, open_share),
    weights=st.builds(Weights, st.sampled_from(["binary", "real"]), bounds, bounds, st.none() | positive),
    backend=st.sampled_from(["auto", "reference", "native"]),
    **common,
)


@given(experiments)
@settings(max_examples=200, deadline=None)
def test_json_loses_nothing(experiment: Experiment) -> None:
    again = Experiment.from_json(experiment.to_json())
    assert again == experiment
    assert again.to_json() == experiment.to_json()
    assert type(again.network.hidden) is tuple


def places(tree: Any, where: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every field of the tree, as a path."""
    found = []
    for key, value in tree.items():
        found.append((*where, key))
        if isinstance(value, dict):
            found += places(value, (*where, key))
    return found


TREE = json.loads(bnn_digits.to_json())


def changed(path: tuple[str, ...], change: Any) -> str:
    tree = json.loads(json.dumps(TREE))
    inner = tree
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return json.dumps(tree)


@pytest.mark.parametrize("path", places(TREE), ids=".".join)
def test_a_missing_field_takes_its_default(path: tuple[str, ...]) -> None:
    text = changed(path, lambda inner, key: inner.pop(key))
    if path == ("name",) or (path[-1] == "kind" and path != ("weights", "kind")):
        with pytest.raises(UsageError):
            Experiment.from_json(text)
        return
    try:
        experiment = Experiment.from_json(text)
    except UsageError as error:
        if "missing" in str(error):
            raise
        return  # the default does not go with the rest
    value: Any = experiment
    for name in path[:-1]:
        value = getattr(value, name)
    field = next(f for f in fields(value) if f.name == path[-1])
    default = field.default if field.default_factory is MISSING else field.default_factory()
    assert getattr(value, path[-1]) == default


@pytest.mark.parametrize("path", places(TREE), ids=".".join)
def test_a_value_of_the_wrong_type_is_refused(path: tuple[str, ...]) -> None:
    for wrong in ({"surprise": 1}, [[]], 1j.__class__.__name__ if path[-1] not in ("name", "dir") else 5):
        with pytest.raises(UsageError):
            Experiment.from_json(changed(path, lambda inner, key, wrong=wrong: inner.update({key: wrong})))


def test_the_error_names_the_field() -> None:
    with pytest.raises(UsageError, match=r"experiment\.training.*epoch"):
        Experiment.from_json(
            changed(("training", "epochs"), lambda inner, key: inner.update(epoch=inner.pop(key)))
        )
    with pytest.raises(UsageError, match=r"experiment\.training\.epochs"):
        Experiment.from_json(changed(("training", "epochs"), lambda inner, key: inner.update(epochs="3")))


def test_true_is_not_one() -> None:
    for path, wrong in ((("network", "delay"), False), (("training", "epochs"), True), (("seed",), 1.0)):
        with pytest.raises(UsageError):
            Experiment.from_json(changed(path, lambda inner, key, wrong=wrong: inner.update({key: wrong})))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "NaN", "3", '"x"', "[" * 100_000, "1" * 5000])
def test_what_is_no_experiment_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Experiment.from_json(text)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "9" * 400])
def test_step_sizes_that_are_no_numbers_are_refused(number: str) -> None:
    text = bnn_digits.to_json().replace(f'"lr": {bnn_digits.optimizer.lr}', f'"lr": {number}')
    assert text != bnn_digits.to_json()
    with pytest.raises(UsageError, match="lr"):
        Experiment.from_json(text)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Data(validation=0.0), "validation"),
        (lambda: Data(validation=float("nan")), "validation"),
        (lambda: Training(epochs=0), "epochs"),
        (lambda: Training(batch_size=0), "batch_size"),
        (lambda: Training(max_silent=1.5), "max_silent"),
        (lambda: Training(evaluate_every=0), "evaluate_every"),
        (lambda: IF(hidden=(3, 0)), "hidden"),
        (lambda: Optimizer(lr=0.0), "lr"),
        (lambda: Optimizer(final=0.0), "final"),
        (lambda: Weights(hidden=(1.0, -1.0)), "hidden"),
        (lambda: Weights(clip=0.0), "clip"),
        (lambda: replace(bnn_digits, seed=-1), "seed"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Any, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        make()


def test_every_setting_is_frozen() -> None:
    for part in (bnn_digits, *(getattr(bnn_digits, field.name) for field in fields(bnn_digits))):
        if is_dataclass(part) and fields(part):
            with pytest.raises(AttributeError):
                setattr(part, fields(part)[0].name, None)


def test_recipes_have_the_published_widths() -> None:
    assert (bnn_mnist.network.hidden, bnn_fashion.network.hidden) == ((600,), (1000,))
    assert len({recipe.name for recipe in (bnn_digits, bnn_mnist, bnn_fashion)}) == 3
