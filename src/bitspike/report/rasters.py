"""Spike rasters of neurons that fire at most once: the picture, input, hidden and output spikes, and the decision."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from bitspike.report.arrays import Array
from bitspike.report.examples import choose, name_outputs, picture_of, show_picture, title, verdict
from bitspike.report.record import RunRecord
from bitspike.report.svg import BLUE, GRAY, INK, ORANGE, new_figure, step_axis, style, to_svg

_BANDS = {"input": (0.0, 0.30), "hidden": (0.34, 0.56), "output": (0.60, 1.0)}
_COLOURS = {"input": GRAY, "hidden": BLUE, "output": ORANGE}
_NEEDED = tuple(f"example_{name}" for name in ("input_times", "output_times", "labels", "predicted"))


def spike_rasters(run: RunRecord, most: int = 6) -> list[str]:
    """One SVG per example, at most `most`, a third of them wrong decisions where there are such.

    Empty where the run has no examples or no spikes.
    """
    if run.n_steps is None or not run.has(*_NEEDED):
        return []
    return [_raster(run, index, run.n_steps) for index in choose(run, most)]


def _raster(run: RunRecord, index: int, n_steps: int) -> str:
    times: dict[str, Array] = {
        band: run.arrays[f"example_{band}_times"][index]
        for band in _BANDS
        if run.has(f"example_{band}_times")
    }
    label, decision, colour, word = verdict(run, index)
    end = int(times["output"].min())
    with style():
        figure = new_figure(5.0, 3.3)
        left, raster = figure.subplots(1, 2, width_ratios=(1, 2.9))
        left.set_axis_off()
        left.set_title(title(run, label, decision), fontsize=9, color=colour)
        picture = picture_of(run, index)
        if picture is not None:
            show_picture(left, picture)
        for band, when in times.items():
            _dots(raster, when, n_steps, end, band, _COLOURS[band])
        heights = _heights("output", len(times["output"]))
        if end < n_steps:
            raster.axvline(end, color=INK, linewidth=0.7, linestyle=":")
            raster.plot(
                [end], [heights[decision]], "o", markersize=9, markerfacecolor="none", markeredgecolor=colour
            )
            raster.annotate(
                f"{run.class_name(decision)} at step {end}",
                (end, heights[decision]),
                (8, 0) if end <= 0.6 * n_steps else (-8, 0),
                textcoords="offset points",
                va="center",
                ha="left" if end <= 0.6 * n_steps else "right",
                fontsize=8,
            )
        else:
            middle = sum(_BANDS["output"]) / 2
            raster.text(n_steps / 2, middle, "no output spike", ha="center", va="center", fontsize=8)
        raster.set(xlim=(-0.02 * n_steps, n_steps * 1.02), ylim=(-0.03, 1.03), xlabel="step")
        raster.set_yticks(
            [sum(_BANDS[band]) / 2 for band in times],
            [f"{band}\n{len(when):,}" for band, when in times.items()],
            fontsize=8,
        )
        raster.tick_params(axis="y", length=0)
        name_outputs(raster, run, heights, label, decision, colour)
        step_axis(raster, n_steps)
        raster.grid(False)
        silent = ", no output spike" if end >= n_steps else ""
        names = run.class_name(label), run.class_name(decision)
        alternative = f"Spikes of one {run.noun} of class {names[0]}, decided {names[1]} ({word}){silent}"
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
