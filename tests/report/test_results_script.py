"""benchmarks/results.py, which writes the tables of README and docs/results.md."""

import importlib.util
from pathlib import Path

import pytest

from bitspike.report import results_table
from report_runs import experiment, write_run

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("results_script", ROOT / "benchmarks" / "results.py")
assert SPEC is not None
assert SPEC.loader is not None
script = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(script)


def table(folder, **parts):
    return results_table([write_run(folder, experiment(**parts))])


def mnist(name, seed=1):
    return {"name": name, "seed": seed, "data": {"kind": "Data", "name": "mnist"}}


def test_rows_of_recipes_without_a_run_stay(tmp_path):
    old = script.merged(table(tmp_path / "a", **mnist("b")), table(tmp_path / "b", **mnist("c")))
    both = script.merged(old, table(tmp_path / "c", **mnist("c", seed=7)))
    heading, _, *rows = script.rows(both)
    assert [(row[0], row[heading.index("seeds")]) for row in rows] == [("b", "1"), ("c", "7")]
    assert both.count("Published beside `b`, `c`: BS4NN") == 1
    assert script.merged(both, table(tmp_path / "d", **mnist("c", seed=7))) == both


def test_other_columns_are_refused(tmp_path):
    new = table(tmp_path / "a")
    with pytest.raises(SystemExit, match="columns"):
        script.merged(new.replace("NLL", "Nats"), new)


def test_readme_has_its_rows_in_its_order(tmp_path, monkeypatch):
    whole = script.merged(table(tmp_path / "a", **mnist("b")), table(tmp_path / "b", **mnist("c | d")))
    monkeypatch.setattr(script, "README_RECIPES", (r"c \| d", "b"))
    heading, _, *rows = script.rows(script.cut(whole))
    assert tuple(heading) == script.README_COLUMNS
    assert [row[0] for row in rows] == [r"c \| d", "b"]


def test_the_pages_hold_what_the_script_would_write():
    _, whole, _ = script.section(ROOT / "docs" / "results.md")
    _, small, _ = script.section(ROOT / "README.md")
    assert small.strip() == script.cut(whole)
