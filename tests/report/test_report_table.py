import json

import pytest

from bitspike.errors import DataError
from bitspike.report import results_table
from report_runs import experiment, write_json, write_run


def cells(table: str) -> list[dict[str, str]]:
    lines = [line for line in table.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def with_accuracy(folder, tree, accuracy):
    write_run(folder, tree)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    write_json(folder / "evaluation.json", evaluation | {"accuracy": accuracy})
    return folder


def test_runs_that_differ_in_seed_share_a_row(tmp_path):
    runs = [
        with_accuracy(tmp_path / str(seed), experiment(seed=seed), value)
        for seed, value in ((3, 0.96), (1, 0.95), (2, 0.97))
    ]
    (row,) = cells(results_table(runs))
    assert row["Accuracy (%)"] == "96.00 ± 1.00"
    assert row["seeds"] == "1, 2, 3"
    assert row["network"] == "64-40-10"
    assert row["Training (s)"] == "6.0"
    assert row["Model file (bytes)"] == "912"
    assert row["published (%)"] == "–"


@pytest.mark.parametrize(
    ("accuracy", "n", "interval"),
    [(0.5, 100, "40.4 to 59.6"), (0.9, 10_000, "89.4 to 90.6"), (1.0, 20, "83.9 to 100.0")],
)
def test_the_interval_of_an_accuracy_is_wilsons(tmp_path, accuracy, n, interval):
    folder = with_accuracy(tmp_path / "run", experiment(), accuracy)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    write_json(folder / "evaluation.json", evaluation | {"n": n})
    (row,) = cells(results_table([folder]))
    assert row["95 % interval"] == interval


def test_runs_that_differ_in_a_setting_do_not(tmp_path):
    longer = experiment(training={"kind": "Training", "epochs": 8})
    table = results_table([write_run(tmp_path / "a"), write_run(tmp_path / "b", longer)])
    short = experiment()["training"]["epochs"]
    assert {row["recipe"] for row in cells(table)} == {
        f"bs4nn (training.epochs {epochs})" for epochs in (short, 8)
    }


def test_folder_of_the_data_and_back_end_do_not_split_a_row(tmp_path):
    elsewhere = experiment(
        seed=2, backend="reference", data={"name": "digits", "dir": "/elsewhere", "validation": 0.2}
    )
    here = experiment(data={"name": "digits", "dir": None, "validation": 0.2})
    table = results_table([write_run(tmp_path / "a", here), write_run(tmp_path / "b", elsewhere)])
    assert [row["seeds"] for row in cells(table)] == ["1, 2"]


@pytest.mark.parametrize(
    ("data", "rule", "weights", "published"),
    [
        ("mnist", "S4NN", "real", "97.4"),
        ("mnist", "S4NN", "binary", "97.0"),
        ("mnist", "BNN", "binary", "96.8"),
        ("fashion-mnist", "S4NN", "real", "88.0"),
        ("fashion", "S4NN", "binary", "87.3"),
        ("fashion", "BNN", "binary", "86.4"),
        ("mnist", "FirstSpikeRace", "binary", "97.0"),
        ("digits", "S4NN", "binary", "–"),
        ("mnist", "BNN", "real", "–"),
    ],
)
def test_published_figures_stand_beside_what_they_publish(tmp_path, data, rule, weights, published):
    tree = experiment(rule, weights, data={"kind": "Data", "name": data})
    table = results_table([write_run(tmp_path / "run", tree, n=50)])
    (row,) = cells(table)
    assert row["published (%)"] == published
    assert ("Published beside `bs4nn`: " in table) == (published != "–")


def test_absent_figures_are_dashes(tmp_path):
    (row,) = cells(results_table([write_run(tmp_path / "run", full=False)]))
    assert row["Accuracy (%)"] == "87.50"
    absent = (
        "Calibration error (%)", "NLL (nats)", "Spikes (per input)", "Model file (bytes)", "Training (s)",
    )  # fmt: skip
    assert [row[name] for name in absent] == ["–"] * 5


def test_bnn_has_no_spikes(tmp_path):
    (row,) = cells(results_table([write_run(tmp_path / "run", experiment("BNN"))]))
    assert row["Spikes (per input)"] == row["Silent (%)"] == "–"


def test_nothing_and_no_run_are_refused(tmp_path):
    with pytest.raises(DataError, match="at least one"):
        results_table([])
    with pytest.raises(DataError, match=r"evaluation\.json is missing"):
        results_table([tmp_path])


def test_a_bar_in_a_name_does_not_break_the_table(tmp_path):
    table = results_table([write_run(tmp_path / "run", experiment(name="a|b"), full=False)])
    assert "| a\\|b |" in table
