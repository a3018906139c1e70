"""Two moons: probability, confidence and disagreement all over the plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import PercentFormatter

from bitspike.report.arrays import Array
from bitspike.report.record import RunRecord
from bitspike.report.reliability import WAYS
from bitspike.report.svg import BLUE, GRAY, INK, ORANGE, new_figure, style, to_svg

# Blue and orange differ to every kind of colour-blind eye; between them the page shows through.
_CLASSES = LinearSegmentedColormap.from_list("classes", [(0, ORANGE), (0.5, f"{GRAY}00"), (1, BLUE)])
_HEIGHT = 4.55  # inches, with a strip of colours and a legend below
_EXTENT = (0.0, 1.0, 0.0, 1.0)


def surfaces(run: RunRecord) -> list[dict[str, Any]]:
    """For each way to decide its `title`, its mean confidence `far` from the data, and its `figures` as SVG."""
    return [
        {
            "title": WAYS.get(name, name),
            "far": run.modes[name].get("far_confidence"),
            "figures": _figures(run, name),
        }
        for name in sorted(run.modes, key=lambda name: name != run.own_mode)
        if run.has(f"surface_{name}", "points_train", "points_train_labels", "points_test")
    ]


def _figures(run: RunRecord, name: str) -> list[str]:
    p = run.arrays[f"surface_{name}"].astype(float)
    confidence = np.maximum(p, 1 - p)
    who = WAYS.get(name, name)
    found = [
        _plane(p, f"probability of {_second(run)}: {who}", f"probability-{name}", _CLASSES, (0, 1), run),
        _plane(confidence, f"confidence: {who}", f"confidence-{name}", "cividis", (0.5, 1), run, p),
    ]
    if run.has(f"surface_{name}_information"):
        bits = run.arrays[f"surface_{name}_information"].astype(float) / np.log(2)
        ends = (0.0, max(1e-3, float(bits.max())))
        title = "disagreement of members, in bits"
        found.append(_plane(bits, title, f"disagreement-{name}", "cividis", ends, run, p))
    return found


def _second(run: RunRecord) -> str:
    return f"“{run.class_name(1)}”" if run.named else "class 1"


def _plane(
    values: Array,
    title: str,
    name: str,
    colours: Any,
    ends: tuple[float, float],
    run: RunRecord,
    border: Array | None = None,
) -> str:
    """`values` (rows of y, columns of x) as an image, the decision border, and, without `border`, all the points."""
    with style():
        figure = new_figure(3.6, _HEIGHT)
        figure.set_layout_engine("none")  # all of them alike
        axes = figure.add_axes((0.09, 1.06 / _HEIGHT, 0.85, 0.85 * 3.6 / _HEIGHT))
        pixels = _pixels(values, colours, ends)
        axes.imshow(pixels, extent=_EXTENT, origin="lower", interpolation="none")
        at = (np.arange(len(values)) + 0.5) / len(values)
        smooth = _smoothed(values if border is None else border)
        if smooth.min() < 0.5 < smooth.max():
            ink = INK if border is None else "#ffffff"
            axes.contour(at, at, smooth, levels=[0.5], colors=[ink], linewidths=1.0)
        if border is None:
            _points(axes, run)
        figure.legend(
            handles=_legend(run, border is None), loc="lower center", ncols=2, fontsize=8, borderaxespad=0.1,
            handletextpad=0.4, columnspacing=1.2, labelspacing=0.25,
        )  # fmt: skip
        axes.set(aspect="equal", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set_title(title, fontsize=9)
        axes.set_xticks([0, 0.5, 1])
        axes.set_yticks([0, 0.5, 1])
        axes.grid(False)
        _scale(figure, colours, ends)
        return to_svg(figure, f"plane-{name}", title)


def _smoothed(values: Array, width: int = 7) -> Array:
    """Means over squares of `width` points: one random train says little about the border."""
    padded = np.pad(values, width // 2, mode="edge")
    squares = np.lib.stride_tricks.sliding_window_view(padded, (width, width))
    return np.asarray(squares.mean(axis=(2, 3)))


def _pixels(values: Array, colours: Any, ends: tuple[float, float]) -> Array:
    """Colours as bytes, which makes a small picture."""
    colour_map = colormaps[colours] if isinstance(colours, str) else colours
    scaled = (values - ends[0]) / (ends[1] - ends[0])
    return np.asarray(colour_map(np.clip(scaled, 0, 1), bytes=True))


def _scale(figure: Figure, colours: Any, ends: tuple[float, float]) -> None:
    """A strip of the colours with the values they stand for."""
    strip = figure.add_axes((0.09, 0.68 / _HEIGHT, 0.85, 0.12 / _HEIGHT))
    ramp = _pixels(np.linspace(*ends, 128)[None], colours, ends)
    strip.imshow(ramp, extent=(*ends, 0, 1), aspect="auto", origin="lower", interpolation="none")
    strip.set_yticks([])
    if ends[1] == 1:
        strip.set_xticks([ends[0], (ends[0] + 1) / 2, 1])
        strip.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    else:
        strip.set_xticks(list(ends), [f"{end:.2g}" for end in ends])
    strip.grid(False)


def _points(axes: Axes, run: RunRecord) -> None:
    """Training points; test points, crosses where the run decides wrongly."""
    train, labels = run.arrays["points_train"], run.arrays["points_train_labels"]
    if run.has("labels", "predicted"):
        test, right = run.arrays["points_test"], run.arrays["labels"] == run.arrays["predicted"]
        _dots(axes, test[right])
        if not right.all():
            axes.plot(*test[~right].T, "x", color=INK, markersize=4.5, markeredgewidth=1.1)
    for label, colour, marker in ((0, ORANGE, "o"), (1, BLUE, "s")):
        axes.plot(
            *train[labels == label].T, marker, color=colour, markersize=3.4, markeredgecolor=INK,
            markeredgewidth=0.5, linestyle="none",
        )  # fmt: skip


def _legend(run: RunRecord, points: bool) -> list[Line2D]:
    """What the marks of a plane stand for: the border and, with `points`, training and test points."""
    if not points:
        return [Line2D([], [], color="#ffffff", path_effects=[Stroke(linewidth=2.6, foreground=GRAY), Normal()],
                       linewidth=1.2, label="both classes are equally likely")]  # fmt: skip
    mark: dict[str, Any] = {
        "linestyle": "none",
        "markeredgecolor": INK,
        "markeredgewidth": 0.5,
        "markersize": 4,
    }
    names = [run.class_name(number) if run.named else f"class {number}" for number in (0, 1)]
    return [
        Line2D([], [], marker="o", color=ORANGE, label=f"training: {names[0]}", **mark),
        Line2D([], [], marker="s", color=BLUE, label=f"training: {names[1]}", **mark),
        Line2D([], [], marker="_", color=INK, linestyle="none", markersize=4, label="test point"),
        Line2D([], [], marker="x", color=INK, linestyle="none", markersize=4, label="decided wrongly"),
    ]


def _dots(axes: Axes, points: Array) -> None:
    """Points as squares of one path: a tenth of the size of one marker each."""
    half, nothing = 0.0025, np.full(len(points), np.nan)
    x = np.stack([points[:, 0] - half, points[:, 0] + half, nothing], axis=1).reshape(-1)
    y = np.stack([points[:, 1], points[:, 1], nothing], axis=1).reshape(-1)
    axes.plot(x, y, color=INK, linewidth=1.0, alpha=0.55, solid_capstyle="butt")
