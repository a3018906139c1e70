"""Published, reproduced, seeds and cost in one Markdown table made from run folders, never typed by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from bitspike.errors import DataError
from bitspike.report.record import RunRecord, read_record

_S4NN = "S4NN, Kheradpisheh & Masquelier, Int. J. Neural Systems 30(6), 2020"
_BS4NN = "BS4NN, Kheradpisheh, Mirsadeghi & Masquelier, Neural Processing Letters 54, 2022"
_HM2BP = "HM2-BP, Jin, Zhang & Li, NeurIPS 2018; the best epoch on test data"

# (data, neurons, weights): (accuracy in %, source)
PUBLISHED: dict[tuple[str, str, str], tuple[float, str]] = {
    ("mnist", "first spike", "real"): (97.4, _S4NN),
    ("mnist", "first spike", "binary"): (97.0, _BS4NN),
    ("mnist", "BNN", "binary"): (96.8, f"{_BS4NN} (BS4NN is better by 0.2)"),
    ("fashion", "first spike", "real"): (88.0, f"{_BS4NN} (BS4NN is worse by 0.7)"),
    ("fashion", "first spike", "binary"): (87.3, _BS4NN),
    ("fashion", "BNN", "binary"): (86.4, f"{_BS4NN} (BS4NN is better by 0.9)"),
    ("mnist", "spike trains", "real"): (98.93, _HM2BP),
    ("mnist", "spike trains, convolution", "real"): (99.49, _HM2BP),
    ("nmnist", "spike trains", "real"): (98.88, _HM2BP),
    ("emnist", "spike trains", "real"): (85.57, _HM2BP),
}

PARTS = {"nmnist-1100": "nmnist", "emnist-47-subset": "emnist"}  # data sets that are parts of others

_COLUMNS = (
    "recipe", "data", "network", "weights", "rule", "accuracy %", "95 % interval",
    "tie-optimistic %", "silent %", "ECE %", "NLL", "RMSE",
    "spikes", "synops", "model bytes", "train seconds", "seeds", "published %",
)  # fmt: skip
_TEXT_COLUMNS = 5
_NOTE = (
    "± is the sample standard deviation over seeds. Published figures are those of the same kind of network, "
    "trained by the authors' rule; they count a tie as right when the label is among the tied, as far as the "
    "authors' code shows: compare them with the tie-optimistic column. The interval is that of a test set of this size "
    "(Wilson). * published for the whole data set; what stands here was measured on a part of it with its own split."
)


def results_table(run_dirs: Sequence[Path]) -> str:
    """A Markdown table with one row per experiment; runs that differ only in their seed share a row.

    Figures are means over the seeds, ± the sample standard deviation where there are two seeds or more.
    Seconds are those of training, summed over epochs. The published figures are tie-optimistic as far as the
    authors' code shows, so they compare with that column. Raises `DataError` when a run lacks experiment.json
    or evaluation.json.
    """
    if not run_dirs:
        raise DataError("no run folders given; name at least one")
    groups: dict[str, list[RunRecord]] = {}
    for record in map(read_record, run_dirs):
        groups.setdefault(_same(record), []).append(record)
    ordered = sorted(
        groups.values(), key=lambda runs: (_data(runs[0]), str(runs[0].part("name")), _same(runs[0]))
    )
    lines = [_line(_COLUMNS), _line(["---"] * _TEXT_COLUMNS + ["---:"] * (len(_COLUMNS) - _TEXT_COLUMNS))]
    lines += [_line(_row(runs)) for runs in ordered]
    sources = dict.fromkeys(published[1] for runs in ordered if (published := _published(runs[0])))
    notes = [_NOTE, *(f"Published: {source}." for source in sources)]
    return "\n".join([*lines, "", *(f"{note}\n" for note in notes)])


def _same(run: RunRecord) -> str:
    """What runs of one row share: all but the seed, the back end and the folder of the data."""
    tree = {key: value for key, value in run.experiment.items() if key not in ("seed", "backend")}
    if isinstance(tree.get("data"), dict):
        tree["data"] = {key: value for key, value in tree["data"].items() if key != "dir"}
    return json.dumps(tree, sort_keys=True)


def _row(runs: Sequence[RunRecord]) -> list[str]:
    runs = sorted(runs, key=lambda run: run.part("seed") or 0)
    first, published = runs[0], _published(runs[0])
    seconds = [sum(epoch.get("seconds") or 0 for epoch in run.epochs) or None for run in runs]
    hidden = first.part("network", "hidden") or []
    return [
        str(first.part("name")),
        _data(first),
        "-".join(str(width) for width in first.shape or hidden),
        str(first.part("weights", "kind") or "–"),
        str(first.part("rule", "kind") or "–"),
        _spread(_values(runs, "accuracy"), 100, 2),
        _interval(runs),
        _spread(_values(runs, "accuracy_tie_optimistic"), 100, 2),
        _spread(_values(runs, "silent"), 100, 2) if first.spiking else "–",
        _spread(_values(runs, "ece"), 100, 2),
        _spread(_values(runs, "nll"), 1, 3),
        _spread(_values(runs, "rmse"), 1, 4),
        _spread(_values(runs, "spikes"), 1, 0) if first.spiking else "–",
        _spread(_values(runs, "synops"), 1, 0),
        _spread(_values(runs, "model_bytes"), 1, 0),
        _spread(seconds, 1, 1),
        ", ".join(str(run.part("seed")) for run in runs),
        f"{published[0]:.2f}".removesuffix("0") + "*" * (_data(first) in PARTS) if published else "–",
    ]


def _published(run: RunRecord) -> tuple[float, str] | None:
    data = _data(run)
    family = "fashion" if data.startswith("fashion") else PARTS.get(data, data)
    neurons = "first spike" if run.timed else "spike trains" if run.trains else "BNN"
    if run.windowed and not run.trains:
        return None
    if run.trains and any("C" in layer for layer in run.part("network", "hidden") or ()):
        neurons = "spike trains, convolution"
    return PUBLISHED.get((family, neurons, str(run.part("weights", "kind"))))


def _data(run: RunRecord) -> str:
    return str(run.part("data", "name") or "–")


def _values(runs: Sequence[RunRecord], key: str) -> list[Any]:
    return [run.evaluation.get(key) for run in runs]


def _interval(runs: Sequence[RunRecord]) -> str:
    """Wilson's 95 % interval of the mean accuracy for as many test inputs as there are: what the test set can tell."""
    accuracies, n = _values(runs, "accuracy"), runs[0].evaluation.get("n")
    if not n or None in accuracies:
        return "–"
    p, z = mean(accuracies), 1.96
    centre, half = p + z * z / (2 * n), z * ((p * (1 - p) + z * z / (4 * n)) / n) ** 0.5
    low, high = ((centre + side * half) / (1 + z * z / n) for side in (-1, 1))
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _spread(values: Sequence[float | None], factor: float, digits: int) -> str:
    """Mean ± sample standard deviation; a dash where a run of the group lacks the figure."""
    given = [value * factor for value in values if value is not None]
    if not given or len(given) < len(values):
        return "–"
    text = f"{mean(given):,.{digits}f}"
    return f"{text} ± {stdev(given):,.{digits}f}" if len(given) > 1 and stdev(given) > 0 else text


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
