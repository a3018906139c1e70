"""How networks of real, straight-through and Bayesian weights decide, and how sure they are: a table of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import torch

from bitspike.metrics.quality import quality
from bitspike.report.record import RunRecord, read_record

_COLUMNS = (
    "recipe",
    "decided by",
    "accuracy %",
    "NLL",
    "ECE %",
    "Brier",
    "NLL, T = 1",
    "ECE %, T = 1",
    "seeds",
)
_FIGURES = (
    ("accuracy", 100, 2), ("nll", 1, 3), ("ece", 100, 2), ("brier", 1, 4), ("nll_raw", 1, 3), ("ece_raw", 100, 2),
)  # fmt: skip
NETWORK = "network"


def modes_table(run_dirs: Sequence[Path]) -> str:
    """One row per recipe and way to decide; means over seeds, plus-minus the sample standard deviation.

    Runs of a posterior have a row for its mode, a draw, draws made anew and a committee; others one for the network.
    T = 1: without the last temperature. ECE: 20 bins of equal width.
    """
    rows: dict[tuple[str, str], list[tuple[int, dict[str, float]]]] = {}
    for run in map(read_record, run_dirs):
        for way, figures in _ways(run).items():
            rows.setdefault((str(run.part("name")), way), []).append((int(run.part("seed") or 0), figures))
    lines = [_COLUMNS, ("---", "---", *["---:"] * (len(_COLUMNS) - 2))]
    for (recipe, way), found in rows.items():
        found.sort(key=lambda pair: pair[0])
        cells = [
            _spread([figures[name] * factor for _, figures in found], digits)
            for name, factor, digits in _FIGURES
        ]
        lines.append((recipe, way, *cells, ", ".join(str(seed) for seed, _ in found)))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _ways(run: RunRecord) -> dict[str, dict[str, float]]:
    modes: dict[str, dict[str, float]] | None = run.evaluation.get("modes")
    if modes:
        return modes
    temperature = float((run.evaluation.get("calibration") or {}).get("temperature", 1.0))
    probabilities = torch.from_numpy(run.arrays["probabilities"]).double()
    potentials = (
        temperature * probabilities.clamp_min(1e-300).log()
    )  # softmax(potentials / temperature) again
    labels, predicted = (torch.from_numpy(run.arrays[name]).long() for name in ("labels", "predicted"))
    return {NETWORK: quality(probabilities, potentials, predicted, labels)}


def _spread(values: Sequence[float], digits: int) -> str:
    text = f"{mean(values):.{digits}f}"
    return f"{text} ± {stdev(values):.{digits}f}" if len(values) > 1 else text
