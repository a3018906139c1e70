"""Figures of networks of spike trains: rasters, membranes, and how active the layers are."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from bitspike.report.arrays import Array
from bitspike.report.examples import (
    choose,
    name_outputs,
    named_classes,
    picture_of,
    show_picture,
    title,
    verdict,
)
from bitspike.report.record import RunRecord
from bitspike.report.svg import BLUE, GRAY, ORANGE, new_figure, step_axis, style, to_svg

_NEEDED = ("example_labels", "example_predicted")


def train_rasters(run: RunRecord, most: int = 6) -> list[str]:
    """One SVG per example: the input, the spikes of every layer, and the counts of the output neurons."""
    last = len(run.layers) - 1
    needed = (*_NEEDED, f"example_layer{last}_spikes", f"example_layer{last}_counts")
    if run.n_steps is None or last < 1 or not run.has(*needed):
        return []
    return [_raster(run, index, run.n_steps) for index in choose(run, most)]


def membranes(run: RunRecord, most: int = 2) -> list[str]:
    """One SVG per example: membrane of the busiest hidden neurons and of two output neurons, with thresholds."""
    last = len(run.layers) - 1
    if run.n_steps is None or last < 1 or not run.has(*_NEEDED, f"example_layer{last}_membrane"):
        return []
    return [_membranes(run, index, run.n_steps) for index in choose(run, 3 * most // 2)[-most:]]


def count_histograms(run: RunRecord) -> str | None:
    """Spikes per neuron and input in every layer, those that stay silent named beside; None without arrays."""
    shown = [(i, layer) for i, layer in enumerate(run.layers) if run.has(f"layer{i}_histogram")]
    shown = [(i, layer) for i, layer in shown if "silent" in layer]
    if not shown:
        return None
    columns = len(shown) if len(shown) <= 4 else 3
    rows = -(-len(shown) // columns)
    with style():
        figure = new_figure(10.0, 0.3 + 1.9 * rows)
        figure.set_layout_engine("constrained", h_pad=0.12)
        axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
        for panel, (index, layer) in zip(axes, shown, strict=False):
            histogram = run.arrays[f"layer{index}_histogram"].astype(float)
            share = histogram / histogram.sum()
            last = max(2, int(np.searchsorted(share[1:].cumsum(), 0.995 * share[1:].sum())) + 2)
            colour = _colour(index, len(run.layers))
            panel.bar(np.arange(1, last), share[1:last], width=0.85, color=colour)
            panel.set_title(f"{run.layer_title(index)}: {layer['silent']:.1%} silent", fontsize=9)
            panel.set_xlabel(f"spikes in the window, mean {layer['mean_count']:.3g}")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
            panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        for panel in axes[len(shown) :]:
            panel.set_visible(False)
        return to_svg(figure, "activity", "Histogram of spike counts per layer")


def _raster(run: RunRecord, index: int, n_steps: int) -> str:
    label, decision, colour, word = verdict(run, index)
    last = len(run.layers) - 1
    bands = [i for i in range(last + 1) if run.has(f"layer{i}_shown", f"example_layer{i}_spikes")]
    with style():
        figure = new_figure(5.0, 2.6 + 0.25 * len(bands))
        parts: Any = figure.subfigures(1, 2, width_ratios=(1, 2.7))
        _left(parts[0], run, index)
        raster = parts[1].subplots()
        sizes = [1.3 if i == 0 else 0.8 for i in bands[:-1]]
        edges = _edges([*sizes, max(1.6, 0.55 * sum(sizes))])  # room for a name per output neuron
        for i, (low, high) in zip(bands, edges, strict=True):
            n = len(run.arrays[f"layer{i}_shown"])
            packed = run.arrays[f"example_layer{i}_spikes"][index]
            step, neuron = np.nonzero(np.unpackbits(packed, axis=1, count=n, bitorder="little"))
            heights = np.linspace(low, high, n) if n > 1 else np.array([(low + high) / 2])
            _dashes(raster, step, heights[neuron], n_steps, _colour(i, last + 1), max(0.5, min(3.0, 60 / n)))
            if i == last:
                raster.axhline(heights[decision], color=colour, linewidth=0.6, alpha=0.5)
                name_outputs(raster, run, heights, label, decision, colour)
        raster.set(xlim=(0, n_steps), ylim=(-0.02, 1.02), xlabel="step")
        names = [f"{run.layer_title(i)}\n{run.layers[i]['neurons']:,}" for i in bands]
        raster.set_yticks([sum(edge) / 2 for edge in edges], names, fontsize=8)
        raster.tick_params(axis="y", length=0)
        step_axis(raster, n_steps)
        raster.grid(False)
        classes = run.class_name(label), run.class_name(decision)
        alternative = (
            f"Spikes of all layers for an input of class {classes[0]}, decided {classes[1]} ({word})"
        )
        return to_svg(figure, f"raster-{index}", alternative)


def _left(left: Any, run: RunRecord, index: int) -> None:
    """The picture, where there is one, above the counts of the output neurons."""
    counts = run.arrays[f"example_layer{len(run.layers) - 1}_counts"][index]
    label, decision, colour, _ = verdict(run, index)
    picture = picture_of(run, index)
    if picture is None:
        top = bars = left.subplots()
    else:
        top, bars = left.subplots(2, 1, height_ratios=(1.1, 1))
        show_picture(top, picture)
    top.set_title(title(run, label, decision), fontsize=9, color=colour)
    bars.barh(np.arange(len(counts)), counts, color=ORANGE, height=0.8)
    bars.barh([decision], counts[decision], color=colour, height=0.8)
    bars.text(counts[decision], decision, f" {counts[decision]}", ha="left", va="center", fontsize=7)
    bars.set_xlim(0, max(1, int(counts.max())) * 1.25)
    shown = named_classes(len(counts), label, decision)
    bars.set_yticks(shown, [run.class_name(number, 8) for number in shown], fontsize=6.5)
    bars.set_xticks([])
    bars.tick_params(axis="y", length=0)
    bars.spines["bottom"].set_visible(False)
    bars.grid(False)
    bars.set_xlabel("output spikes", fontsize=8)


def _membranes(run: RunRecord, index: int, n_steps: int) -> str:
    label, decision, colour, word = verdict(run, index)
    panels = _traces(run, index)
    with style():
        figure = new_figure(5.0, 0.6 + 0.62 * len(panels))
        stack = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (trace, threshold, name, line) in zip(stack, panels, strict=True):
            axes.plot(np.arange(n_steps), trace, color=line, linewidth=1.0)
            low, high = min(0.0, float(trace.min())), max(0.0, float(trace.max()))
            if threshold is not None:
                axes.axhline(threshold, color=GRAY, linewidth=0.7, linestyle="--")
                fired = np.flatnonzero(trace > threshold)
                axes.plot(fired, trace[fired], "o", markersize=2.2, color=line, markeredgewidth=0)
                low, high = max(low, -2 * threshold), max(threshold, high)
                axes.set_yticks([0, threshold], ["0", f"{threshold:g}"])
            axes.set_ylim(low * 1.1 - 0.05 * (high or 1), (high or 1) * 1.15)
            axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
            axes.grid(False)
        stack[-1].set(xlim=(0, n_steps), xlabel="step")
        step_axis(stack[-1], n_steps)
        stack[0].set_title(title(run, label, decision, ", "), fontsize=9, color=colour)
        classes = run.class_name(label), run.class_name(decision)
        alternative = f"Membranes for an input of class {classes[0]}, decided {classes[1]} ({word})"
        return to_svg(figure, f"membrane-{index}", alternative)


def _traces(run: RunRecord, index: int) -> list[tuple[Array, float | None, str, str]]:
    """Trace, threshold, name and colour: of the hidden neurons that were kept, the decision and its rival."""
    label, decision, colour, _ = verdict(run, index)
    last, panels = len(run.layers) - 1, []
    for i in range(1, last + 1):
        if not run.has(f"example_layer{i}_traced", f"example_layer{i}_membrane"):
            continue
        neurons = run.arrays[f"example_layer{i}_traced"][index]
        traces = run.arrays[f"example_layer{i}_membrane"][index]
        threshold = run.layers[i].get("threshold")
        if i < last:
            name = run.layer_title(i)
            panels += [(traces[:, k], threshold, f"{name}\n# {n}", BLUE) for k, n in enumerate(neurons)]
            continue
        counts = run.arrays[f"example_layer{i}_counts"][index].astype(int)
        others = np.where(np.arange(len(counts)) == decision, -1, counts)
        rival = label if label != decision else int(others.argmax())
        what = "label" if rival == label else "next"
        panels += [
            (traces[:, decision], threshold, f"{run.class_name(decision)}\n(decision)", colour),
            (traces[:, rival], threshold, f"{run.class_name(rival)}\n({what})", GRAY),
        ]
    return panels


def _colour(layer: int, n_layers: int) -> str:
    return GRAY if layer == 0 else ORANGE if layer == n_layers - 1 else BLUE


def _edges(weights: list[float], gap: float = 0.05) -> list[tuple[float, float]]:
    """Bands that fill 0..1 in proportion to `weights`, `gap` apart."""
    heights = np.array(weights) / sum(weights) * (1 - gap * (len(weights) - 1))
    lows = np.concatenate([[0], np.cumsum(heights[:-1] + gap)])
    return [(float(low), float(low + height)) for low, height in zip(lows, heights, strict=True)]


def _dashes(axes: Axes, steps: Array, heights: Array, n_steps: int, colour: str, width: float) -> None:
    """Spikes as short horizontal strokes, all in one path: a tenth of the size of one marker each."""
    length = max(0.9, n_steps / 150)
    nothing = np.full(len(steps), np.nan)
    x = np.stack([steps, steps + length, nothing], axis=1).reshape(-1)
    y = np.stack([heights, heights, nothing], axis=1).reshape(-1)
    axes.plot(x, y, color=colour, linewidth=width, solid_capstyle="butt")
