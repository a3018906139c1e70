"""Spike rasters of example images: the picture, its input, hidden and output spikes, and the decision."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from bitspike.report.record import Array, RunRecord
from bitspike.report.svg import BLUE, GRAY, GREEN, INK, ORANGE, RED, new_figure, step_axis, style, to_svg

_BANDS = {"input": (0.0, 0.40), "hidden": (0.44, 0.74), "output": (0.78, 1.0)}
_NEEDED = tuple(
    f"example_{name}" for name in ("images", "input_times", "output_times", "labels", "predicted")
)


def spike_rasters(run: RunRecord, most: int = 6) -> list[str]:
    """One SVG per example image, at most `most`, a third of them wrong decisions where there are such.

    Empty where the run has no examples or no spikes.
    """
    if run.n_steps is None or not run.has(*_NEEDED):
        return []
    return [_raster(run, index, run.n_steps) for index in choose(run, most)]


def choose(run: RunRecord, most: int) -> list[int]:
    """Numbers of `most` examples, a third of them wrong decisions where there are such."""
    right = run.arrays["example_labels"] == run.arrays["example_predicted"]
    wrong = np.flatnonzero(~right)[: most // 3]
    return [int(index) for index in (*np.flatnonzero(right)[: most - len(wrong)], *wrong)]


def _raster(run: RunRecord, index: int, n_steps: int) -> str:
    example = {
        name.removeprefix("example_"): array[index]
        for name, array in run.arrays.items()
        if "example_" in name
    }
    label, decision = int(example["labels"]), int(example["predicted"])
    verdict, colour = ("correct", GREEN) if label == decision else ("wrong", RED)
    end = int(example["output_times"].min())
    with style():
        figure = new_figure(5.0, 2.9)
        picture, raster = figure.subplots(1, 2, width_ratios=(1, 2.9))
        picture.imshow(example["images"], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        picture.set_axis_off()
        picture.set_title(f"label {label}\ndecision {decision}", fontsize=9, color=colour)
        _dots(raster, example["input_times"], n_steps, end, "input", GRAY)
        if "hidden_times" in example:
            _dots(raster, example["hidden_times"], n_steps, end, "hidden", BLUE)
        _dots(raster, example["output_times"], n_steps, end, "output", ORANGE)
        if end < n_steps:
            y = _heights("output", len(example["output_times"]))[decision]
            raster.axvline(end, color=INK, linewidth=0.7, linestyle=":")
            raster.plot([end], [y], "o", markersize=10, markerfacecolor="none", markeredgecolor=colour)
            raster.annotate(
                f"{decision} at step {end}",
                (end, y),
                (8, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        else:
            raster.text(
                n_steps / 2,
                sum(_BANDS["output"]) / 2,
                "no output spike",
                ha="center",
                va="center",
                fontsize=8,
            )
        raster.set(xlim=(-0.02 * n_steps, n_steps * 1.02), ylim=(-0.03, 1.03), xlabel="step")
        raster.set_yticks(
            [(low + high) / 2 for low, high in _BANDS.values()], list(_BANDS), rotation=90, va="center"
        )
        raster.tick_params(axis="y", length=0)
        step_axis(raster, n_steps)
        raster.grid(False)
        silent = ", no output spike" if end >= n_steps else ""
        alternative = f"Spikes of an image of class {label}, decided {decision} ({verdict}){silent}"
        return to_svg(figure, f"raster-{index}", alternative)


def _heights(band: str, n: int) -> Array:
    low, high = _BANDS[band]
    return np.linspace(low, high, n) if n > 1 else np.array([(low + high) / 2])


def _dots(axes: Axes, times: Array, n_steps: int, end: int, band: str, colour: str) -> None:
    """Spikes up to the decision in full colour, later ones faint."""
    y, size = _heights(band, len(times)), float(np.clip(40 / len(times) ** 0.5, 1.8, 4.5))
    for when, alpha in ((times <= end, 1.0), (times > end, 0.3)):
        shown = when & (times < n_steps)
        axes.plot(times[shown], y[shown], "o", markersize=size, color=colour, alpha=alpha, markeredgewidth=0)
