"""Published, reproduced, seeds and cost in one Markdown table made from run folders, never typed by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from bitspike.errors import DataError
from bitspike.metrics.catalog import CATALOG
from bitspike.metrics.correctness import accuracy_interval
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

_ABOUT = ("recipe", "data", "network", "weights", "rule")
_KEYS = (
    "accuracy", "interval", "accuracy_tie_optimistic", "silent", "ece", "nll", "rmse", "spikes", "synops",
    "model_bytes", "train_seconds", "seeds", "published",
)  # fmt: skip
_HEADINGS = {"interval": "95 % interval", "seeds": "seeds", "published": "published (%)"}
_NOTE = (
    "± is the sample standard deviation over seeds. Published figures are those of the same kind of network, "
    "trained by the authors' rule; those of S4NN, BS4NN and the BNN count a tie as right when the label is among the "
    f"tied: compare them with {CATALOG['accuracy_tie_optimistic'].label!r}. The interval is that of a "
    "test set of this size (Wilson). * published for the whole data set; what stands here was measured on a part of it "
    "with its own split."
)
COLUMNS = (*_ABOUT, *_KEYS)


def results_table(
    run_dirs: Sequence[Path],
    *,
    recipes: Sequence[str] = (),
    columns: Sequence[str] = COLUMNS,
    notes: bool = True,
) -> str:
    """A Markdown table with one row per experiment; runs that differ only in their seed share a row.

    Rows of one recipe name the settings in which they differ.
    Figures are means over the seeds, ± the sample standard deviation where there are two seeds or more.
    Seconds are those of training, summed over epochs. The published figures are tie-optimistic as far as the
    authors' code shows, so they compare with that column. `recipes`: only these rows, in this order, default all by
    data and name; `columns`: some of `COLUMNS`; `notes`: explain the table and say what was published where. Raises
    `DataError` when a run lacks experiment.json or evaluation.json, and when a recipe or a column is unknown.
    """
    if not run_dirs:
        raise DataError("no run folders given; name at least one")
    if unknown := [column for column in columns if column not in COLUMNS]:
        raise DataError(f"the results table has no column {unknown[0]!r}; choose among {', '.join(COLUMNS)}")
    groups: dict[str, list[RunRecord]] = {}
    for record in map(read_record, run_dirs):
        groups.setdefault(_same(record), []).append(record)
    ordered = sorted(groups.values(), key=lambda runs: (_data(runs[0]), _name(runs[0]), _same(runs[0])))
    if recipes:
        if missing := [name for name in recipes if name not in map(_name, (runs[0] for runs in ordered))]:
            raise DataError(f"no run of the recipe {missing[0]!r} among the folders given")
        ordered = [runs for name in recipes for runs in ordered if _name(runs[0]) == name]
    lines = [
        _line([_heading(column) for column in columns]),
        _line(["---" if column in _ABOUT else "---:" for column in columns]),
    ]
    for runs, label in zip(ordered, _labels(ordered), strict=True):
        cells = _row(runs) | {"recipe": label}
        lines.append(_line([cells[column] for column in columns]))
    return "\n".join([*lines, "", *(f"{note}\n" for note in (_NOTE, *_sources(ordered)) if notes)])


def _heading(column: str) -> str:
    return CATALOG[column].heading if column in CATALOG else _HEADINGS.get(column, column)


def _sources(ordered: Sequence[Sequence[RunRecord]]) -> list[str]:
    """Where the published figures stand, and beside which rows."""
    rows: dict[str, list[str]] = {}
    for runs in ordered:
        if published := _published(runs[0]):
            rows.setdefault(published[1], []).append(f"`{_name(runs[0])}`")
    return [
        f"Published beside {', '.join(dict.fromkeys(names))}: {source}." for source, names in rows.items()
    ]


def _same(run: RunRecord) -> str:
    """What runs of one row share: all but the seed, the back end and the folder of the data."""
    return json.dumps(_settings(run.experiment), sort_keys=True)


def _settings(tree: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Settings by dotted name, without those that make no row of their own."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if where + key in ("seed", "backend", "data.dir"):
            continue
        found |= _settings(value, f"{where}{key}.") if isinstance(value, dict) else {where + key: value}
    return found


def _labels(ordered: Sequence[Sequence[RunRecord]]) -> list[str]:
    """The name of every row, and the settings in which it differs from other rows of that name.

    A setting that one of them lacks, of an older version, tells nothing.
    """
    settings = [_settings(runs[0].experiment) for runs in ordered]
    names = [_name(runs[0]) for runs in ordered]
    labels = []
    for name, own in zip(names, settings, strict=True):
        same = [other for other, theirs in zip(settings, names, strict=True) if theirs == name]
        apart = [key for key in own if any(other.get(key, own[key]) != own[key] for other in same)]
        told = ", ".join(f"{key} {json.dumps(own[key])}" for key in sorted(apart))
        labels.append(f"{name} ({told})" if told else name)
    return labels


def _row(runs: Sequence[RunRecord]) -> dict[str, str]:
    runs = sorted(runs, key=lambda run: run.part("seed") or 0)
    first, published = runs[0], _published(runs[0])
    hidden = first.part("network", "hidden") or []
    figures = {key: _spread(runs, key) for key in _KEYS if key in CATALOG}
    if not first.spiking:
        figures |= {"silent": "–", "spikes": "–"}
    return figures | {
        "recipe": _name(first),
        "data": _data(first),
        "network": "-".join(str(width) for width in first.shape or hidden),
        "weights": first.kind("weights") or "–",
        "rule": first.kind("rule") or "–",
        "interval": _interval(runs),
        "seeds": ", ".join(str(run.part("seed")) for run in runs),
        "published": f"{published[0]:.2f}".removesuffix("0") + "*" * (_data(first) in PARTS)
        if published
        else "–",
    }


def _published(run: RunRecord) -> tuple[float, str] | None:
    data = _data(run)
    family = "fashion" if data.startswith("fashion") else PARTS.get(data, data)
    if run.timed:
        neurons = "first spike"
    elif not run.spiking:
        neurons = "BNN"
    elif run.kind("network") == "LIF":
        maps = any("C" in layer for layer in run.part("network", "hidden") or ())
        neurons = "spike trains, convolution" if maps else "spike trains"
    else:
        return None
    return PUBLISHED.get((family, neurons, str(run.kind("weights"))))


def _name(run: RunRecord) -> str:
    return str(run.part("name"))


def _data(run: RunRecord) -> str:
    return str(run.part("data", "name") or "–")


def _values(runs: Sequence[RunRecord], key: str) -> list[float | None]:
    if key == "train_seconds":
        return [sum(epoch.get("seconds") or 0 for epoch in run.epochs) or None for run in runs]
    return [run.evaluation.get(key) for run in runs]


def _interval(runs: Sequence[RunRecord]) -> str:
    """Wilson's 95 % interval of the mean accuracy for as many test inputs as there are: what the test set can tell."""
    accuracies, n = _values(runs, "accuracy"), runs[0].evaluation.get("n")
    given = [accuracy for accuracy in accuracies if accuracy is not None]
    if not n or len(given) < len(accuracies):
        return "–"
    low, high = accuracy_interval(mean(given), n)
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _spread(runs: Sequence[RunRecord], key: str) -> str:
    """Mean ± sample standard deviation; a dash where a run of the group lacks the figure."""
    values, metric = _values(runs, key), CATALOG[key]
    given = [value for value in values if value is not None]
    if not given or len(given) < len(values):
        return "–"
    text = metric.number(mean(given))
    several = len(given) > 1 and stdev(given) > 0
    return f"{text} ± {metric.number(stdev(given))}" if several else text


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
