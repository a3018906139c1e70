"""An experiment is a value: nothing that makes no sense becomes one, and settings change by their names."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings

from bitspike.coding import FirstSpike, Pixel
from bitspike.errors import UsageError
from bitspike.experiment import Data, Experiment, Rule, Training
from bitspike.ranges import above, count
from bitspike.recipes import RECIPES
from bitspike.recipes.bnn import bnn_digits, bnn_fashion, bnn_mnist
from bitspike.recipes.hm2bp import hm2bp_digits, hm2bp_mnist_cnn
from bitspike.rules.bnn import BNN
from bitspike.rules.first_spike_race import FirstSpikeRace
from bitspike.rules.hm2bp import HM2BP
from bitspike.settings import IF, LIF, SRM, Optimizer, Predict, Weights
from drawn_experiments import experiments


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
        (lambda: replace(bnn_digits, seed=1.5), "whole number"),
        (lambda: Training(epochs=4, mode_epochs=4), "at most 3 with training.epochs 4"),
        (lambda: Training(keep=11), "training.keep"),
        (lambda: Training(tasks=("0,1", "1,2")), "class twice"),
        (lambda: Training(epochs=3, tasks=("0,1", "2,3")), "multiple"),
        (lambda: Training(tasks=("cat",)), "by number"),
        (lambda: Optimizer(weight_decay=-1.0), r"optimizer\.weight_decay"),
        (
            lambda: Predict(draws=0),
            r"predict\.draws is 0; it must be a whole number, 1 or more and at most 1000",
        ),
        (lambda: IF((3, True)), r"network\.hidden"),
        (lambda: SRM(burn_in=-1), r"network\.burn_in"),
        (lambda: FirstSpikeRace(tau_c=0.0), r"rule\.tau_c is 0\.0; it must be a number, above 0"),
        (lambda: replace(bnn_digits, predict=Predict("ensemble")), "set weights.kind to bernoulli"),
        (lambda: replace(bnn_digits, device="gpu"), "device is 'gpu'; choose cpu, cuda"),
        (lambda: replace(bnn_digits, device="cuda:"), "device"),
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


def test_an_experiment_has_defaults() -> None:
    experiment = Experiment("x", network=IF((32,)))
    assert (type(experiment.coding), type(experiment.rule)) == (FirstSpike, FirstSpikeRace)
    assert not experiment.augment.active
    for device in ("cpu", "auto", "cuda", "cuda:1"):
        assert replace(experiment, device=device).device == device


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"rule": HM2BP()},
            "rule HM2BP takes networks LIF; network is IF: set network to LIF",
        ),
        (
            {"coding": FirstSpike()},
            "rule BNN takes codings Pixel; coding is FirstSpike: set coding to Pixel",
        ),
        (
            {"weights": Weights("real")},
            "rule BNN takes weights of kind binary; weights.kind is real: set weights.kind to binary",
        ),
    ],
)
def test_a_rule_says_what_it_takes(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        replace(bnn_digits, **change)
    assert str(refused.value) == sentence


@dataclass(frozen=True)
class OwnNetwork(IF):
    ranges: ClassVar = {**IF.ranges, "size": above(0)}

    size: float = 1.0


@dataclass(frozen=True)
class OwnRule(Rule):
    networks: ClassVar = (IF,)
    codings: ClassVar = (Pixel,)
    kinds: ClassVar = ("binary",)
    ranges: ClassVar = {"rate": above(0), "steps": count(1)}

    rate: float = 0.1
    steps: tuple[int, ...] = (1, 2)

    def check(self, experiment: Experiment) -> None:
        if experiment.seed == 13:
            raise UsageError("unlucky")


def test_classes_below_those_a_rule_takes_fit() -> None:
    experiment = replace(bnn_digits, network=OwnNetwork((8,)), rule=OwnRule())
    with pytest.raises(UsageError, match="unlucky"):
        replace(experiment, seed=13)
    with pytest.raises(
        UsageError, match=r"rule\.steps is \(1, 0\); each of them must be a whole number, 1 or more"
    ):
        OwnRule(steps=(1, 0))
    with pytest.raises(UsageError, match=r"network\.size"):
        OwnNetwork((8,), size=-1.0)
    with pytest.raises(NotImplementedError):
        OwnRule().learner(None, experiment)  # type: ignore[arg-type]


def test_gains_are_one_or_one_per_layer_with_weights() -> None:
    gains = Weights("real", init="xavier", gain=(1.0, 0.5))
    cnn = replace(hm2bp_mnist_cnn, weights=replace(gains, gain=(1.0, 1.0, 1.0, 0.5)))
    assert len(cnn.weights.gain) == 4
    with pytest.raises(
        UsageError,
        match=r"weights\.gain has 2 numbers, but 4 layers have weights \(15C5, 40C5, 300, output\)",
    ):
        replace(hm2bp_mnist_cnn, weights=gains)
    assert SRM(("16C5", "P2", "256")).weighted == ("16C5", "256")


def test_a_setting_changes_by_its_name() -> None:
    faster = hm2bp_digits.with_path("optimizer.lr", 3e-3)
    assert faster == replace(hm2bp_digits, optimizer=replace(hm2bp_digits.optimizer, lr=3e-3))
    assert hm2bp_digits.changes(faster) == {"optimizer.lr": (1e-2, 3e-3)}
    assert type(hm2bp_digits.with_path("optimizer.lr", 1).optimizer.lr) is float
    assert hm2bp_digits.with_path("seed", 3).seed == 3
    assert hm2bp_digits.with_path("network.hidden", ["20"]).network.hidden == ("20",)
    assert hm2bp_digits.changes(hm2bp_digits) == {}


def test_settings_that_belong_together_change_together() -> None:
    changes = {"network.hidden": ("20", "20"), "network.thresholds": (20.0, 8.0, 8.0), "rule.margin": 1.0}
    changed = hm2bp_digits.with_changes(changes)
    assert {name: new for name, (_, new) in hm2bp_digits.changes(changed).items()} == changes
    with pytest.raises(UsageError, match="thresholds"):
        hm2bp_digits.with_path("network.hidden", ("20", "20"))


def test_a_part_changes_as_a_whole_and_then_its_settings() -> None:
    changed = bnn_digits.with_changes({"rule.loss": "cross_entropy", "rule": BNN(binarise=True)})
    assert changed.rule == BNN("cross_entropy", True)
    race = Experiment("x", network=IF((8,)))
    assert set(bnn_digits.changes(race)) >= {"name", "coding", "rule", "network.hidden"}
    assert bnn_digits.changes(race)["rule"] == (BNN(), FirstSpikeRace())


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("optimiser.lr", 1.0, r"no setting 'optimiser\.lr'; did you mean optimizer\?"),
        ("optimizer.lrr", 1.0, r"no setting 'optimizer\.lrr'; did you mean optimizer\.lr\?"),
        ("optimizer.lr.x", 1.0, r"optimizer\.lr is 0\.01 and has no setting 'x'"),
        ("", 1.0, "no setting"),
        ("optimizer.lr", "fast", "'fast' is not of type float"),
        ("optimizer.lr", float("nan"), "nan"),
        ("optimizer.lr", -1.0, r"optimizer\.lr is -1\.0; it must be"),
        ("optimizer.name", "rmsprop", "'rmsprop' is not one of"),
        ("training.epochs", 2.5, "2.5 is not of type int"),
        ("training.epochs", True, "True is not of type int"),
        ("data.dir", 3, "3 is not of type str"),
        ("network", LIF(), "set network to IF"),
        ("network", BNN(), "is not of type NetworkSettings"),
        ("training", None, "is not of type Training"),
    ],
)
def test_changes_that_make_no_sense_are_refused(path: str, value: Any, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        bnn_digits.with_path(path, value)


@given(experiments, experiments)
@settings(max_examples=50)
def test_changes_lead_from_one_experiment_to_the_other(one: Experiment, other: Experiment) -> None:
    found = one.changes(other)
    assert one.with_changes({name: new for name, (_, new) in found.items()}) == other


@pytest.mark.parametrize("name", RECIPES)
def test_every_setting_has_a_help_text_of_its_own(name: str) -> None:
    """The string below a field, in its class or one that it comes from, which `bitspike train RECIPE --help` shows."""
    recipe = RECIPES[name]
    for part in (recipe, *(getattr(recipe, field.name) for field in fields(recipe))):
        if is_dataclass(part):
            missing = {f.name for f in fields(part) if not is_dataclass(getattr(part, f.name))} - documented(
                type(part)
            )
            assert not missing, f"{type(part).__name__}: {missing}"


def documented(kind: type) -> set[str]:
    """Fields with a string below them."""
    found: set[str] = set()
    for base in kind.__mro__[:-1]:
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body  # type: ignore[attr-defined]
        for line, below in itertools.pairwise(body):
            if (
                isinstance(line, ast.AnnAssign)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found.add(line.target.id)  # type: ignore[union-attr]
    return found
