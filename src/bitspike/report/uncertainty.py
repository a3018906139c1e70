"""What the run knows about what it does not know: refusals, strange inputs, sets of classes, early answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.ticker import PercentFormatter

from bitspike.metrics import risk_coverage
from bitspike.report.arrays import Array
from bitspike.report.record import RunRecord
from bitspike.report.reliability import confidences
from bitspike.report.svg import BLUE, GRAY, INK, ORANGE, new_figure, style, to_svg

OUTSIDE = {"rotated": "turned by 90°", "noisy": "drowned in noise"}


def ece_rows(run: RunRecord) -> list[dict[str, Any]]:
    """Calibration error in 15 bins of either kind, with 95 % intervals; none of runs that have no intervals."""
    figures = {"ece": run.evaluation.get("ece"), **_figures(run)}
    return [
        {"bins": bins, "ece": figures[key], "interval": figures[f"{key}_interval"]}
        for bins, key in (("equal width", "ece"), ("equal mass", "ece_mass"))
        if figures.get(key) is not None and figures.get(f"{key}_interval")
    ]


def selective(run: RunRecord) -> dict[str, Any] | None:
    """The curve of risk over coverage, its area, and the excess over that of the best order."""
    if run.regression or not run.has("labels", "predicted", "probabilities"):
        return None
    correct = run.arrays["labels"] == run.arrays["predicted"]
    curve = risk_coverage(torch.from_numpy(confidences(run)), torch.from_numpy(correct))
    risk = curve.risk.numpy()
    answered = [
        (share, float(1 - risk[max(1, round(share * len(risk))) - 1])) for share in (1, 0.95, 0.9, 0.8, 0.5)
    ]
    svg = _risk(curve.coverage.numpy(), risk, int(len(correct) - correct.sum()))
    return {"svg": svg, "aurc": curve.aurc, "eaurc": curve.eaurc, "answered": answered}


def ood_rows(run: RunRecord) -> list[dict[str, Any]]:
    """AUROCs of telling strange inputs from those of the test set."""
    found: dict[str, dict[str, float]] = _figures(run).get("ood") or {}
    return [{"title": OUTSIDE.get(name, name), **figures} for name, figures in found.items()]


def conformal_rows(run: RunRecord) -> list[dict[str, Any]]:
    """Sets of classes by the `level` of coverage that they promise."""
    found: dict[str, dict[str, float]] = _figures(run).get("conformal") or {}
    return [{"level": 1 - float(alpha), **found[alpha]} for alpha in sorted(found, key=float, reverse=True)]


def conformal_samples(run: RunRecord) -> int | None:
    """How many calibration samples the thresholds of the sets come from; None of older runs."""
    found: int | None = _figures(run).get("conformal_samples")
    return found


def early_rows(run: RunRecord) -> list[dict[str, Any]]:
    """Sets of classes by `level`: those of the full window and those of an answer as soon as one class is left."""
    found: dict[str, dict[str, dict[str, float]]] = _figures(run).get("conformal_early") or {}
    return [
        {"level": 1 - float(alpha), "when": words, **found[alpha][when]}
        for alpha in sorted(found, key=float, reverse=True)
        for when, words in (("full", "full window"), ("early", "stopped early"))
    ]


def early_figures(run: RunRecord) -> list[str]:
    """Decision time, set size and coverage by level, full window against early stopping: an SVG each."""
    rows = early_rows(run)
    panels = (
        ("decision_time", "mean step of the decision"),
        ("mean_set_size", "classes in a set"),
        ("coverage", "coverage; dashed: as promised"),
    )
    return [_early(rows, key, title) for key, title in panels] if rows else []


def _early(rows: list[dict[str, Any]], key: str, title: str) -> str:
    levels = sorted({row["level"] for row in rows})
    with style():
        figure = new_figure(3.6, 2.7)
        axes = figure.add_subplot()
        for when, colour, side in (("full window", GRAY, -0.2), ("stopped early", BLUE, 0.2)):
            values = [
                next(r[key] for r in rows if (r["level"], r["when"]) == (level, when)) for level in levels
            ]
            axes.bar(np.arange(len(levels)) + side, values, 0.36, color=colour, label=when)
        if key == "coverage":
            low = min([*(row["coverage"] for row in rows), *levels])
            axes.set_ylim(max(0.0, low - 0.03), 1.005)
            for place, level in enumerate(levels):
                ends = [place - 0.42, place + 0.42]
                axes.plot(ends, [level, level], color=INK, linewidth=1.1, linestyle="--")
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xticks(range(len(levels)), [f"{level:.0%}" for level in levels])
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("promised coverage")
        axes.grid(False, axis="x")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        return to_svg(figure, f"early-{key.replace('_', '-')}", f"{title}, early against the full window")


def temperature(run: RunRecord) -> dict[str, float] | None:
    """The temperature fitted to validation data, and NLL and ECE of the test data with it."""
    found: dict[str, float] | None = _figures(run).get("temperature")
    return found


def _figures(run: RunRecord) -> dict[str, Any]:
    found: dict[str, Any] = run.evaluation.get("uncertainty") or {}
    return found


def _risk(coverage: Array, risk: Array, n_wrong: int) -> str:
    n = len(risk)
    shown = np.unique(np.linspace(0, n - 1, 400).astype(int))
    best = np.clip(np.arange(1, n + 1) - (n - n_wrong), 0, None) / np.arange(1, n + 1)
    with style():
        figure = new_figure(5.0, 3.8)
        axes = figure.add_subplot()
        axes.plot(coverage[shown], risk[shown], color=BLUE, label="this run")
        axes.plot(
            coverage[shown],
            best[shown],
            color=INK,
            linestyle="--",
            linewidth=0.8,
            label="errors least certain",
        )
        axes.axhline(risk[-1], color=ORANGE, linewidth=0.8, linestyle=":", label="no order at all")
        axes.set(
            xlabel="coverage: share of inputs answered, most confident first", ylabel="risk: share of wrong answers",
            xlim=(0, 1), ylim=(0, max(1e-3, 1.15 * float(risk.max()))),
        )  # fmt: skip
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2, columnspacing=1.0)
        return to_svg(figure, "risk-coverage", "Risk by coverage")
