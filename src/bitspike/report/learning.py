"""Figures of how a run learned, epoch by epoch; each is None where no epoch has what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bitspike.report.figures import percent
from bitspike.report.svg import BLUE, GRAY, GREEN, INK, ORANGE, RED, new_figure, style, to_svg

_CYCLE = (BLUE, ORANGE, GREEN, RED, GRAY)


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
        percent(axes)
        _epochs(axes, "accuracy")
        axes.legend(loc="lower right")
        return to_svg(figure, "accuracy-per-epoch", "Training and validation accuracy per epoch")


def loss_per_epoch(epochs: Sequence[dict[str, Any]]) -> str | None:
    """Training loss; None where no epoch has it."""
    return _curve(epochs, "loss", "training loss", "loss-per-epoch", "Training loss per epoch")


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
            number = f" {layer + 1}" if n_hidden > 1 else ""
            name = f"hidden{number}" if layer < n_hidden else "output"
            colour = _CYCLE[layer % len(_CYCLE)]
            axes.plot(x, rates[:, layer], color=colour, marker="o", markersize=2.5, label=name)
        axes.set_ylim(0, max(1e-3, 1.08 * float(np.nanmax(rates))))
        percent(axes)
        _epochs(axes, "neurons that fire")
        axes.legend()
        return to_svg(figure, "firing-per-epoch", "Share of neurons that fire, per layer and epoch")


def error_per_epoch(epochs: Sequence[dict[str, Any]]) -> str | None:
    """Root mean square error of a regression on validation data."""
    title = "Root mean square error on validation data per epoch"
    return _curve(epochs, "validation_rmse", "validation RMSE", "error-per-epoch", title)


def decided_per_epoch(epochs: Sequence[dict[str, Any]]) -> str | None:
    """How decided a posterior is: the mean of |tanh w|, 0 where +1 and -1 are equally likely, 1 where all are fixed."""
    label, title = "mean |tanh w| of the synapses", "How decided the posterior is per epoch"
    return _curve(epochs, "decided", label, "decided-per-epoch", title, GREEN, 1.02)


def _curve(
    epochs: Sequence[dict[str, Any]], key: str, label: str, name: str, title: str, colour: str = BLUE,
    top: float | None = None,
) -> str | None:  # fmt: skip
    """One figure of every epoch, from 0 up unless it falls below; None where no epoch has it."""
    x, y = _series(epochs, key)
    if not len(x):
        return None
    with style():
        figure = new_figure()
        axes = figure.add_subplot()
        axes.plot(x, y, color=colour, marker="o", markersize=2.5)
        room = 0.08 * (max(y) - min(0.0, *y)) or 0.1
        axes.set_ylim(min(0.0, min(y) - room) if min(y) < 0 else 0.0, top or max(y) + room)
        _epochs(axes, label)
        return to_svg(figure, name, title)


def tasks_per_epoch(epochs: Sequence[dict[str, Any]], tasks: Sequence[str], planned: int) -> str | None:
    """Validation accuracy on each of the `tasks` that share the `planned` epochs in turn; dotted: the next.

    `tasks` say which classes they are of.
    """
    curves = [_series(epochs, f"validation_task_{task}") for task in range(1, len(tasks) + 1)]
    if not any(len(x) for x, _ in curves):
        return None
    with style():
        figure = new_figure(10.0, 3.2)
        axes = figure.add_subplot()
        for (x, y), name, colour in zip(curves, tasks, _CYCLE * len(tasks), strict=False):
            if not len(x):
                continue
            axes.plot(x, y, color=colour, marker="o", markersize=2.5, label=f"classes {name}")
        for task in range(1, len(tasks)):
            axes.axvline(planned * task / len(tasks) + 0.5, color=INK, linewidth=0.7, linestyle=":")
        axes.set_ylim(-0.02, 1.02)
        percent(axes)
        _epochs(axes, "validation accuracy")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        return to_svg(figure, "tasks-per-epoch", "Validation accuracy on every task per epoch")


def _series(epochs: Sequence[dict[str, Any]], name: str) -> tuple[list[float], list[float]]:
    points = [(e["epoch"], e[name]) for e in epochs if "epoch" in e and e.get(name) is not None]
    return [x for x, _ in points], [y for _, y in points]


def _epochs(axes: Axes, ylabel: str) -> None:
    axes.set(xlabel="epoch", ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
