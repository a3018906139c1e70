"""The options of `bitspike train`: every field by its name, plug-ins, and settings changed as a run goes on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bitspike.cli import main
from bitspike.cli import train as verb
from bitspike.errors import UsageError
from bitspike.plugins import load_plugins
from bitspike.recipes import RECIPES

MODULE = """
from dataclasses import dataclass, replace
from typing import ClassVar
from bitspike.recipes.bnn import bnn_digits
from bitspike.rules.bnn import BNN

@dataclass(frozen=True)
class OwnBNN(BNN):
    "A rule of my own."
    rate: float = 0.5
    'how fast it is'

own = replace(bnn_digits, name="own-recipe", rule=OwnBNN())
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_recipes.py").write_text(MODULE)
    yield "own_recipes"
    sys.modules.pop("own_recipes", None)


def test_every_field_is_an_option() -> None:
    words = ["--data", "fashion", "--data-dir=there", "--optimizer.lr", "1", "--network.hidden", "3", "4"]
    words += ["--device", "auto", "--out", "x"]
    options = verb.parse(["bnn-digits", *words])
    base = RECIPES["bnn-digits"]
    assert options.out == Path("x")
    assert options.experiment == replace(
        base,
        data=replace(base.data, name="fashion", dir="there"),
        optimizer=replace(base.optimizer, lr=1.0),
        network=replace(base.network, hidden=(3, 4)),
        device="auto",
    )
    assert type(options.experiment.optimizer.lr) is float


def test_weights_start_as_options_say() -> None:
    words = ["--weights.init", "xavier", "--weights.gain", "0.5", "1.0"]
    assert verb.parse(["hm2bp-digits", *words]).experiment.weights.gain == (0.5, 1.0)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--seed", "abc"], "'abc' is not a whole number"),
        (["--seed", "1.5"], "'1.5' is not a whole number"),
        (["--optimizer.lr", "fast"], "'fast' is not a number"),
        (["--data.split", "x"], "'x' is not a whole number"),
        (["--optimizer.lr", "nan"], "optimizer.lr is nan"),
        (["--optimser.lr", "1"], "--optimizer.lr"),
        (["--device", "gpu"], "device is 'gpu'"),
        (["--weights.kind", "ternary"], "ternary"),
    ],
)
def test_bad_values_are_said_in_words(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "bs4nn-digits", *words]) == 2
    shown = capsys.readouterr().err
    assert complaint in shown
    assert "invalid literal" not in shown
    assert "Traceback" not in shown


def test_help_has_every_option_with_a_text_and_one_example_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "hm2bp-mnist", "--help"]) == 0
    shown = capsys.readouterr().out
    examples = [line.strip() for line in shown.splitlines() if "example: " in line]
    assert examples == verb.EXAMPLES.splitlines()
    lines = [line.strip("│ ") for line in shown.splitlines()]
    options = [index for index, line in enumerate(lines) if line.startswith("--")]
    assert len(options) > 60
    assert not [lines[index] for index in options if lines[index + 1].startswith("(default")]


@pytest.mark.parametrize(
    "words", [["--plugin", "own_recipes", "own-recipe"], ["own-recipe", "--plugin=own_recipes"]]
)
def test_a_recipe_of_a_plugin_is_found(words: list[str], plugin: str) -> None:
    rest, names = verb.take_plugins([*words, "--rule.rate", "0.25"])
    (module,) = modules = load_plugins(names)
    options = verb.parse(rest, modules)
    assert options.experiment == module.own.with_path("rule.rate", 0.25)


def test_help_of_a_recipe_of_a_plugin(plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "own-recipe", "--plugin", plugin, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--rule.rate FLOAT" in shown
    assert "how fast it is" in shown


def test_plugins_that_make_no_sense_are_bad_usage(plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words, complaint in (
        (["own-recipe"], "there is no recipe 'own-recipe'"),
        (["own-recpie", "--plugin", plugin], "did you mean own-recipe?; plug-ins have own-recipe"),
        (["own-recipe", "--plugin"], "--plugin needs the name of a module"),
        (["own-recipe", "--plugin", "--seed", "1"], "--plugin needs the name of a module"),
        (["own-recipe", "--plugin", "own_absent"], "there is no module 'own_absent'"),
    ):
        assert main(["train", *words]) == 2
        assert complaint in capsys.readouterr().err


def test_only_options_that_are_given_change_a_run() -> None:
    run = RECIPES["hm2bp-digits"].with_path("optimizer.lr", 0.5)
    words = ["--optimizer.lr", "1e-3", "--training.epochs", "70", "--seed", "1"]
    assert verb.parse_changes(run, words, "bitspike train --resume x") == {
        "optimizer.lr": 1e-3, "training.epochs": 70,
    }  # fmt: skip
    assert verb.parse_changes(run, [], "bitspike train --resume x") == {}


def test_resume_names_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--resume"], ["--resume="], ["--resume", "--seed", "3"]):
        with pytest.raises(UsageError, match="bitspike train --resume FOLDER"):
            verb.command(words)
    assert main(["train", "--resume", str(tmp_path)]) == 2
    assert "experiment.json is missing" in capsys.readouterr().err
    assert main(["train", "--resume", "--help"]) == 0
    assert "example: bitspike train --resume runs/two --optimizer.lr 0.001" in capsys.readouterr().out
