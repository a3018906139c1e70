"""Reliability diagrams, one for each way to decide, before and after the temperature, with bins of either kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.ticker import NullLocator, PercentFormatter, StrMethodFormatter

from bitspike.metrics import decided_confidence, reliability
from bitspike.metrics.calibration import Binning
from bitspike.metrics.quality import N_BINS
from bitspike.report.arrays import Array
from bitspike.report.record import RunRecord
from bitspike.report.svg import BLUE, GRAY, INK, ORANGE, new_figure, style, to_svg

BINNINGS: tuple[Binning, ...] = ("width", "mass")
WAYS = {
    "network": "the network",
    "map": "mode (MAP)",
    "draw": "one draw",
    "ensemble": "fresh draws",
    "committee": "committee",
}


def diagrams(run: RunRecord) -> dict[str, list[str]]:
    """SVGs by kind of bins; a run that does not compare ways to decide has one of each; none without arrays."""
    found: list[tuple[str, Array, Array, Array | None]] = [
        (
            name,
            run.arrays[f"{start}_correct"],
            run.arrays[f"{start}_confidence"],
            run.arrays[f"{start}_confidence_raw"],
        )
        for name, start in ((name, f"mode_{name}") for name in WAYS)
        if run.has(f"{start}_correct", f"{start}_confidence", f"{start}_confidence_raw")
    ]
    if not found and not run.regression and run.has("labels", "predicted", "probabilities"):
        found = [("network", run.arrays["labels"] == run.arrays["predicted"], confidences(run), None)]
    large = len(found) == 1
    return {kind: [_diagram(*parts, kind, large) for parts in found] for kind in BINNINGS if found}


def confidences(run: RunRecord) -> Array:
    """The probability of the decided class of every test input, `(n,)`."""
    probabilities, decided = (torch.from_numpy(run.arrays[name]) for name in ("probabilities", "predicted"))
    return np.asarray(decided_confidence(probabilities, decided))


def rows(run: RunRecord) -> list[dict[str, Any]]:
    """Figures of each way to decide, its `title` and whether it is the run's `own`."""
    return [
        {"title": WAYS[name], "own": name == run.own_mode and len(run.modes) > 1, **run.modes[name]}
        for name in WAYS
        if name in run.modes
    ]


def _diagram(
    name: str, correct: Array, confidence: Array, raw: Array | None, binning: Binning, large: bool
) -> str:
    """Accuracy against confidence per bin; for bins of equal width also how many decisions each one holds."""
    right = torch.from_numpy(correct.astype(bool))
    with style():
        figure = new_figure(*((5.0, 4.9) if large else (3.1, 3.6)))
        counted = binning == "width"
        panels = figure.subplots(
            1 + counted, 1, sharex=True, squeeze=False, height_ratios=(3, 1)[: 1 + counted]
        )
        axes = panels[0, 0]
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--")
        bins = reliability(torch.from_numpy(confidence), right, N_BINS, binning)
        filled = bins.count.numpy() > 0
        x, y = bins.confidence.numpy()[filled], bins.accuracy.numpy()[filled]
        lower, width = bins.lower.numpy(), (bins.upper - bins.lower).numpy()
        if counted:
            axes.bar(lower[filled], y, width[filled] * 0.92, align="edge", color=BLUE, alpha=0.3)
        if raw is not None:
            before = reliability(torch.from_numpy(raw), right, N_BINS, binning)
            some = before.count.numpy() > 0
            axes.plot(
                before.confidence.numpy()[some], before.accuracy.numpy()[some], color=ORANGE, marker="o",
                markersize=3, markerfacecolor="none", linewidth=0.8, label="before",
            )  # fmt: skip
        axes.plot(
            x,
            y,
            color=BLUE,
            marker="o",
            markersize=3.5,
            label="after" if raw is not None else None,
        )
        axes.set(ylim=(0, 1.02), xlim=(0, 1), ylabel="accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_title(WAYS[name], fontsize=9, loc="left")
        if raw is not None:
            axes.legend(
                loc="lower right",
                bbox_to_anchor=(1, 1),
                ncols=2,
                handlelength=1.2,
                columnspacing=0.8,
                borderaxespad=0.1,
            )
        if counted:
            below = panels[1, 0]
            below.bar(lower, bins.count.numpy(), width * 0.92, align="edge", color=GRAY)
            below.set_yscale("symlog", linthresh=1)
            most = max(1, int(bins.count.max()))
            below.set_ylim(0, 1.6 * most)
            tens = [10**power for power in range(7) if 10**power <= 1.6 * most]
            below.set_yticks([0, *tens[:: 2 if len(tens) > 3 else 1]], minor=False)
            below.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            below.yaxis.set_minor_locator(NullLocator())
            below.tick_params(axis="y", labelsize=7)
            below.set_ylabel("decisions,\nlogarithmic", fontsize=8)
        panels[-1, 0].set_xlabel("confidence")
        panels[-1, 0].xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        return to_svg(figure, f"reliability-{name}-{binning}", f"Reliability diagram: {WAYS[name]}")
