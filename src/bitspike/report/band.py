"""One-dimensional regression: the curve, what it was learned from, and the band of the members' predictions."""

from __future__ import annotations

import itertools

import numpy as np

from bitspike.data.synthetic import TRAINED
from bitspike.metrics.catalog import CATALOG
from bitspike.report.record import RunRecord
from bitspike.report.svg import BLUE, GRAY, GREEN, INK, ORANGE, new_figure, style, to_svg


def band(run: RunRecord) -> str | None:
    """Prediction over x, with mean ± 2 standard deviations and the range of the members; None without arrays."""
    if not run.regression or not run.has("x", "labels", "predicted"):
        return None
    x, mean = run.arrays["x"], run.arrays["predicted"]
    with style():
        figure = new_figure(10.0, 3.9)
        axes = figure.add_subplot()
        for (_, left), (right, _) in itertools.pairwise(TRAINED):
            axes.axvspan(left, right, color=GRAY, alpha=0.13, linewidth=0)
            axes.text((left + right) / 2, 0.02, "gap", transform=axes.get_xaxis_transform(), ha="center")
        if run.has("members") and run.arrays["members"].shape[1] > 1:
            members = run.arrays["members"].astype(float)
            spread = members.std(axis=1, ddof=1)
            low, high = members.min(axis=1), members.max(axis=1)
            sides = mean - 2 * spread, mean + 2 * spread
            axes.fill_between(x, *sides, alpha=0.2, label="± 2 sd", color=BLUE, linewidth=0)
            axes.plot(x, low, color=GREEN, linewidth=0.7, label="members' range")
            axes.plot(x, high, color=GREEN, linewidth=0.7)
        axes.plot(x, run.arrays["labels"], color=INK, linestyle="--", linewidth=1.2, label="truth")
        axes.plot(x, mean, color=BLUE, label="prediction")
        if run.has("points_train_x", "points_train_targets"):
            points = run.arrays["points_train_x"], run.arrays["points_train_targets"]
            axes.plot(*points, "o", color=ORANGE, markersize=3.5, label="training data")
        axes.set(xlabel="x", ylabel="target, scaled to 0 … 1", xlim=(float(np.min(x)), float(np.max(x))))
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        return to_svg(figure, "band", "Prediction and the spread of the members over x, with the truth")


def band_rows(run: RunRecord) -> list[tuple[str, list[float | None]]]:
    """Rows of figures, each for all of x, where there are training data, and in the gaps."""
    e = run.evaluation
    rows = [
        (CATALOG["rmse"].label, [e.get("rmse"), e.get("rmse_trained"), e.get("rmse_gaps")]),
        (CATALOG["spread"].label, [e.get("spread"), e.get("spread_trained"), e.get("spread_gaps")]),
    ]
    return [(name, values) for name, values in rows if any(value is not None for value in values)]
