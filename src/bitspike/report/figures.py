"""The figures of the report, each a function from plain arrays to SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from bitspike.metrics import OverTime, Reliability
from bitspike.report.record import Array
from bitspike.report.svg import BLUE, GRAY, GREEN, INK, ORANGE, RED, new_figure, step_axis, style, to_svg

_LAYER_COLOURS = (BLUE, ORANGE, GREEN, RED, GRAY)


def accuracy_per_epoch(epochs: Sequence[dict[str, Any]]) -> str | None:
    """Training and validation accuracy; None where no epoch has them."""
    series = {"train": _series(epochs, "accuracy"), "validation": _series(epochs, "validation_accuracy")}
    if not any(len(x) for x, _ in series.values()):
        return None
    with style():
        figure = new_figure()
        axes = figure.add_subplot()
        for (name, (x, y)), colour in zip(series.items(), (GRAY, BLUE), strict=True):
            if len(x):
                axes.plot(x, y, color=colour, marker="o", markersize=2.5, label=name)
        _percent(axes)
        _epochs(axes, "accuracy")
        axes.legend(loc="lower right")
        return to_svg(figure, "accuracy-per-epoch", "Training and validation accuracy per epoch")


def loss_per_epoch(epochs: Sequence[dict[str, Any]]) -> str | None:
    """Training loss; None where no epoch has it."""
    x, y = _series(epochs, "loss")
    if not len(x):
        return None
    with style():
        figure = new_figure()
        axes = figure.add_subplot()
        axes.plot(x, y, color=BLUE, marker="o", markersize=2.5)
        axes.set_ylim(bottom=0 if min(y) >= 0 else None)
        _epochs(axes, "training loss")
        return to_svg(figure, "loss-per-epoch", "Training loss per epoch")


def firing_per_epoch(epochs: Sequence[dict[str, Any]], n_hidden: int) -> str | None:
    """Share of neurons that fire on an image, per layer, `n_hidden` hidden ones first; None where no epoch has it."""
    rows = [(e["epoch"], e["firing"]) for e in epochs if e.get("firing") and "epoch" in e]
    if not rows:
        return None
    x, rates = [epoch for epoch, _ in rows], np.array([firing for _, firing in rows], dtype=float)
    with style():
        figure = new_figure()
        axes = figure.add_subplot()
        for layer in range(rates.shape[1]):
            name = f"hidden {layer + 1}" if layer < n_hidden else "output"
            colour = _LAYER_COLOURS[layer % len(_LAYER_COLOURS)]
            axes.plot(x, rates[:, layer], color=colour, marker="o", markersize=2.5, label=name)
        axes.set_ylim(0, max(1e-3, 1.08 * float(np.nanmax(rates))))
        _percent(axes)
        _epochs(axes, "neurons that fire")
        axes.legend()
        return to_svg(figure, "firing-per-epoch", "Share of neurons that fire, per layer and epoch")


def confusion_matrix(counts: Array) -> str:
    """Counts (classes, classes), label by row and decision by column; colour is the share of the row."""
    n = len(counts)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with style():
        figure = new_figure(5.0, 4.6)
        axes = figure.add_subplot()
        right = np.eye(n, dtype=bool)
        for colour, cells in ((BLUE, right), (RED, ~right)):
            strength = np.where(cells, np.clip(share if colour == BLUE else share * 8, 0, 1), 0) * 0.75
            rgba = np.zeros((n, n, 4))
            rgba[..., :3] = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
            rgba[..., 3] = strength
            axes.pcolormesh(np.arange(n + 1) - 0.5, np.arange(n + 1) - 0.5, rgba)
        if n <= 20:
            text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8 if n < 12 else 5}
            for row, column in zip(*np.nonzero(counts), strict=True):
                axes.text(column, row, str(counts[row, column]), **text)
            axes.set_xticks(range(n))
            axes.set_yticks(range(n))
        axes.set(aspect="equal", xlabel="decision", ylabel="label")
        axes.set_ylim(n - 0.5, -0.5)
        axes.grid(False)
        axes.tick_params(length=0)
        return to_svg(figure, "confusion", "Confusion matrix")


def reliability_diagram(bins: Reliability) -> str:
    """Accuracy against confidence per bin above, the number of decisions per bin below."""
    lower, upper, counts = bins.lower.numpy(), bins.upper.numpy(), bins.count.numpy()
    accuracy, confidence, filled = bins.accuracy.numpy(), bins.confidence.numpy(), bins.count.numpy() > 0
    width = upper - lower
    with style():
        figure = new_figure(5.0, 4.6)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.bar(lower[filled], accuracy[filled], width[filled] * 0.92, align="edge", color=BLUE, alpha=0.75)
        above.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--", label="perfectly calibrated")
        above.plot(
            confidence[filled], accuracy[filled], "o", color=ORANGE, markersize=3.5, label="mean of the bin"
        )
        above.set(ylim=(0, 1.02), xlim=(0, 1), ylabel="accuracy")
        _percent(above)
        above.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
        below.bar(lower, counts, width * 0.92, align="edge", color=GRAY)
        below.set_yscale("symlog", linthresh=1)
        below.set_ylim(0, 20 * max(1, int(counts.max())))
        for left, count in zip(lower[filled], counts[filled], strict=True):
            below.text(left + width[0] / 2, count * 1.3, str(count), ha="center", fontsize=6)
        below.set_yticks([])
        below.tick_params(axis="y", which="both", length=0)
        below.grid(False)
        below.set(xlabel="confidence", ylabel="decisions")
        below.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        return to_svg(figure, "reliability", "Reliability diagram")


def selective_accuracy(confidence: Array, correct: Array) -> str:
    """Accuracy among the most confident share of decisions, if the rest were answered by "I don't know"."""
    hits = correct[np.argsort(-confidence, kind="stable")]
    answered = np.arange(1, len(hits) + 1)
    shown = np.unique(np.linspace(max(1, len(hits) // 20), len(hits), 200).astype(int)) - 1
    with style():
        figure = new_figure(5.0, 4.6)
        axes = figure.add_subplot()
        axes.plot(answered[shown] / len(hits), (np.cumsum(hits) / answered)[shown], color=BLUE)
        axes.set(
            xlabel="share of inputs answered, most confident first",
            ylabel="accuracy of the answers",
            xlim=(0, 1),
        )
        _percent(axes)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        return to_svg(figure, "selective", "Accuracy by share of inputs answered")


def over_time(curve: OverTime) -> str:
    """Share decided, and decided correctly, by step."""
    steps = np.arange(len(curve.decided))
    with style():
        figure = new_figure()
        axes = figure.add_subplot()
        axes.step(steps, curve.decided.numpy(), where="post", color=GRAY, label="decided")
        axes.step(steps, curve.correct.numpy(), where="post", color=BLUE, label="decided and correct")
        axes.set(xlabel="step", ylabel="share of test images", ylim=(0, 1.02), xlim=(0, len(steps) - 1))
        _percent(axes)
        step_axis(axes, len(steps) - 1)
        axes.legend(loc="lower right")
        return to_svg(figure, "over-time", "Decisions and correct decisions over time")


def decision_times(decision_time: Array, correct: Array, n_steps: int) -> str:
    """Histogram of decision times, right and wrong decisions apart; silent images are left out."""
    fired = decision_time < n_steps
    edges = np.linspace(0, n_steps, min(n_steps, 32) + 1).tolist()
    with style():
        figure = new_figure()
        axes = figure.add_subplot()
        groups = [decision_time[fired & correct], decision_time[fired & ~correct]]
        axes.hist(
            groups, bins=edges, stacked=True, color=[BLUE, RED], label=["correct", "wrong"], rwidth=0.92
        )
        axes.set(xlabel="step of the decision", ylabel="images", xlim=(0, n_steps))
        step_axis(axes, n_steps)
        axes.legend()
        return to_svg(figure, "decision-times", "Histogram of decision times")


def robustness(name: str, points: Sequence[Sequence[float]], xlabel: str) -> str:
    """Accuracy against the strength of a disturbance; `points` are (strength, accuracy)."""
    x, y = zip(*points, strict=True)
    with style():
        figure = new_figure()
        axes = figure.add_subplot()
        axes.plot(x, y, color=BLUE, marker="o", markersize=3.5)
        axes.set(xlabel=xlabel, ylabel="accuracy", ylim=(min(0.9, *y) - 0.02, min(1.01, max(y) + 0.03)))
        if name == "jitter":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _percent(axes)
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
                _percent(axes)
        stack[-1].set_xlabel("output threshold")
        figure.align_ylabels()
        return to_svg(figure, "threshold-sweep", "Accuracy, silent share and decision time by threshold")


def _series(epochs: Sequence[dict[str, Any]], name: str) -> tuple[list[float], list[float]]:
    points = [(e["epoch"], e[name]) for e in epochs if "epoch" in e and e.get(name) is not None]
    return [x for x, _ in points], [y for _, y in points]


def _epochs(axes: Axes, ylabel: str) -> None:
    axes.set(xlabel="epoch", ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _percent(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1))
