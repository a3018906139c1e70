"""Recipes: what `bitspike recipes` lists is complete, named alike everywhere, and survives JSON."""

from __future__ import annotations

import json

import pytest

from bitspike.cli import main
from bitspike.data import CATALOG
from bitspike.errors import UsageError
from bitspike.experiment import Experiment
from bitspike.recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_called_what_it_is_listed_as_and_names_known_data(name: str) -> None:
    assert RECIPES[name].name == name
    assert RECIPES[name].data.name.removeprefix("events:") in CATALOG


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_json(name: str) -> None:
    assert Experiment.from_json(RECIPES[name].to_json()) == RECIPES[name]


@pytest.mark.parametrize(
    ("part", "value", "complaint"),
    [
        ("seed", "1", "'1' is not of type int"),
        ("backend", "gpu", "'gpu' is not one of"),
        ("weights", {"kind": "ternary"}, "'ternary' is not one of"),
        ("rule", {"kind": "Hebb"}, "'Hebb' is unknown"),
        ("training", {"kind": "Data"}, "expected an object of kind Training"),
    ],
)
def test_damaged_json_names_the_field(part: str, value: object, complaint: str) -> None:
    tree = json.loads(next(iter(RECIPES.values())).to_json()) | {part: value}
    with pytest.raises(UsageError, match=f"experiment.{part}.*{complaint}"):
        Experiment.from_json(json.dumps(tree))


def test_the_list_has_a_row_per_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["recipes"]
    assert list(listed) == list(RECIPES)
    assert listed["bs4nn-digits"]["weights"] == "binary"
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(RECIPES)
    assert lines[0].split() == ["recipe", *listed["bs4nn-digits"]]
