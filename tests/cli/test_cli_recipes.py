"""Recipes: what `bitspike recipes` lists is complete, named alike everywhere, and survives JSON."""

from __future__ import annotations

import json
import re
import sys

import pytest

from bitspike.cli import main
from bitspike.cli.recipes import COLUMNS, fitting
from bitspike.codec import from_json, to_json
from bitspike.data import CATALOG
from bitspike.errors import UsageError
from bitspike.recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_called_what_it_is_listed_as_and_names_known_data(name: str) -> None:
    assert RECIPES[name].name == name
    assert RECIPES[name].data.name.removeprefix("events:") in CATALOG


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
    tree = json.loads(to_json(next(iter(RECIPES.values())))) | {part: value}
    with pytest.raises(UsageError, match=f"experiment.{part}.*{complaint}"):
        from_json(json.dumps(tree))


def test_the_list_has_a_row_per_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["recipes"]
    assert list(listed) == list(RECIPES)
    assert listed["bs4nn-digits"]["weights"] == "binary"
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(RECIPES)
    assert lines[0].split() == ["recipe", *COLUMNS]
    assert set(COLUMNS) == set(listed["bs4nn-digits"])


@pytest.mark.parametrize("width", [40, 80, 100, 130, 200])
def test_a_narrow_window_has_fewer_columns_and_unbroken_names(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["recipes"]) == 0
    shown = capsys.readouterr()
    lines = re.sub(r"\x1b\[\d*m", "", shown.out).splitlines()
    assert len(lines) == 2 + len(RECIPES)
    assert all(line.split()[0] == name for line, name in zip(lines[2:], RECIPES, strict=True))
    if width >= 80:
        assert max(map(len, lines)) <= width
        assert "weights" in lines[0]
    assert ("bitspike recipes --json" in shown.err) == (width < 130)


def test_all_columns_are_shown_where_there_is_no_window() -> None:
    rows = {"a-name": dict.fromkeys(COLUMNS, "x")}
    assert fitting(rows, None) == COLUMNS
    assert fitting(rows, 10) == ()
