"""The figures of the report, each a function from plain arrays to SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from bitspike.metrics import OverTime
from bitspike.report.arrays import Array
from bitspike.report.svg import BLUE, GRAY, GREEN, INK, RED, new_figure, step_axis, style, to_svg


def confusion_matrix(counts: Array, names: Sequence[str]) -> str:
    """Counts (classes, classes), label by row and decision by column; colour is the share of the row."""
    n = len(counts)
    width = max(len(name) for name in names)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with style():
        figure = new_figure(*((2.9, 2.6) if n <= 3 else (5.0, 4.6)))
        axes = figure.add_subplot()
        right = np.eye(n, dtype=bool)
        for colour, cells in ((BLUE, right), (RED, ~right)):
            strength = np.where(cells, np.clip(share if colour == BLUE else share * 8, 0, 1), 0) * 0.75
            rgba = np.zeros((n, n, 4))
            rgba[..., :3] = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
            rgba[..., 3] = strength
            axes.pcolormesh(np.arange(n + 1) - 0.5, np.arange(n + 1) - 0.5, rgba)
        if n <= 20:
            text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8 if n <= 12 else 5}
            for row, column in zip(*np.nonzero(counts), strict=True):
                axes.text(column, row, str(counts[row, column]), **text)
            turned: dict[str, Any] = {"rotation": 45, "ha": "right"} if width > 3 and n > 3 else {}
            axes.set_xticks(range(n), names, **turned)
            axes.set_yticks(range(n), names)
            axes.tick_params(labelsize=9 if n <= 3 or (n <= 12 and width <= 3) else 7)
        axes.set(aspect="equal", xlabel="decision", ylabel="label")
        axes.set_ylim(n - 0.5, -0.5)
        axes.grid(False)
        axes.tick_params(length=0)
        return to_svg(figure, "confusion", "Confusion matrix")


def over_time(curve: OverTime, noun: str) -> str:
    """Share decided, and decided correctly, by step; beyond the last step what silent inputs add at the end."""
    n_steps = len(curve.decided) - 1
    end = n_steps + max(1, n_steps // 12)
    steps = np.array([*range(n_steps + 1), end])
    decided, correct = (np.append(share.numpy(), share[-1]) for share in (curve.decided, curve.correct))
    silent = 1 - float(curve.decided[-2])
    with style():
        figure = new_figure()
        axes = figure.add_subplot()
        axes.step(steps, decided, where="post", color=GRAY, label="decided")
        axes.step(steps, correct, where="post", color=BLUE, label="decided and correct")
        axes.set(xlabel="step", ylabel=f"share of test {noun}s", ylim=(0, 1.02), xlim=(0, end))
        percent(axes)
        step_axis(axes, n_steps)
        if silent > 0:
            axes.axvspan(n_steps, end, color=GRAY, alpha=0.13, linewidth=0)
            axes.annotate(
                f"the end: {silent:.1%}\nwere silent", (n_steps, float(correct[-3])), (-14, -26), va="top", ha="right",
                textcoords="offset points", fontsize=8, arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.6},
            )  # fmt: skip
        axes.legend(loc="upper left", bbox_to_anchor=(0, 1.16), ncols=2, borderaxespad=0)
        return to_svg(figure, "over-time", "Decisions and correct decisions over time")


def decision_times(decision_time: Array, correct: Array, n_steps: int, noun: str) -> str:
    """Histogram of decision times, right and wrong decisions apart; silent inputs are left out."""
    fired = decision_time < n_steps
    edges = np.linspace(0, n_steps, min(n_steps, 32) + 1).tolist()
    with style():
        figure = new_figure()
        axes = figure.add_subplot()
        groups = [decision_time[fired & correct], decision_time[fired & ~correct]]
        axes.hist(
            groups, bins=edges, stacked=True, color=[BLUE, RED], label=["correct", "wrong"], rwidth=0.92
        )
        axes.set(xlabel="step of the decision", ylabel=f"{noun}s", xlim=(0, n_steps))
        step_axis(axes, n_steps)
        axes.legend()
        return to_svg(figure, "decision-times", "Histogram of decision times")


def robustness(name: str, points: Sequence[Sequence[float]], xlabel: str, lowest: float) -> str:
    """Accuracy against the strength of a disturbance; `points` are (strength, accuracy), axes start below `lowest`."""
    x, y = zip(*points, strict=True)
    with style():
        figure = new_figure()
        axes = figure.add_subplot()
        axes.plot(x, y, color=BLUE, marker="o", markersize=3.5)
        axes.set(xlabel=xlabel, ylabel="accuracy", ylim=(max(0.0, min(0.9, lowest) - 0.02), 1.01))
        if name == "jitter":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        percent(axes)
        return to_svg(figure, f"robustness-{name}", f"Accuracy under {name}")


def threshold_sweep(rows: Sequence[dict[str, Any]], chosen: float | None) -> str:
    """Accuracy, silent share and decision time, where given, against the output threshold; `chosen` is marked."""
    panels = [
        (key, label, colour)
        for key, label, colour in (
            ("accuracy", "accuracy", BLUE),
            ("silent", "silent", RED),
            ("decision_time", "decision time", GREEN),
        )
        if all(key in row for row in rows)
    ]
    x = [row["threshold"] for row in rows]
    with style():
        figure = new_figure(5.0, 1.2 + 1.1 * len(panels))
        stack = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (key, label, colour) in zip(stack, panels, strict=True):
            axes.plot(x, [row[key] for row in rows], color=colour, marker="o", markersize=2.5)
            axes.set_ylabel(label)
            if chosen is not None:
                axes.axvline(chosen, color=INK, linewidth=0.7, linestyle=":")
            if key != "decision_time":
                percent(axes)
        stack[-1].set_xlabel("output threshold")
        figure.align_ylabels()
        return to_svg(figure, "threshold-sweep", "Accuracy, silent share and decision time by threshold")


def percent(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1))
