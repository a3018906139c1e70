"""How networks of real, straight-through and Bayesian weights decide, and how sure they are: a table of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import torch

from bitspike.metrics.catalog import CATALOG, Metric
from bitspike.metrics.quality import quality
from bitspike.report.record import RunRecord, read_record

_FIGURES = (("accuracy", ""), ("nll", ""), ("ece", ""), ("brier", ""), ("nll", "_raw"), ("ece", "_raw"))
_COLUMNS = (
    "recipe",
    "decided by",
    *(f"{CATALOG[key].heading}{', T = 1' if end else ''}" for key, end in _FIGURES),
    "seeds",
)
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
        cells = [_spread([figures[key + end] for _, figures in found], CATALOG[key]) for key, end in _FIGURES]
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


def _spread(values: Sequence[float], metric: Metric) -> str:
    text = metric.number(mean(values))
    return f"{text} ± {metric.number(stdev(values))}" if len(values) > 1 else text
