"""What rasters of every kind share: which examples, their picture, their title, and the names beside output neurons."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bitspike.report.arrays import Array
from bitspike.report.record import RunRecord
from bitspike.report.svg import BLUE, GREEN, RED

MOST_NAMES = 12  # output neurons that have room for a name each


def choose(run: RunRecord, most: int) -> list[int]:
    """Numbers of `most` examples, a third of them wrong decisions where there are such."""
    right = run.arrays["example_labels"] == run.arrays["example_predicted"]
    wrong = np.flatnonzero(~right)[: most // 3]
    return [int(index) for index in (*np.flatnonzero(right)[: most - len(wrong)], *wrong)]


def verdict(run: RunRecord, index: int) -> tuple[int, int, str, str]:
    """Label, decision, the colour of their agreement, and the word for it."""
    label, decision = (int(run.arrays[f"example_{name}"][index]) for name in ("labels", "predicted"))
    return label, decision, *((GREEN, "correct") if label == decision else (RED, "wrong"))


def title(run: RunRecord, label: int, decision: int, between: str = "\n") -> str:
    """Label and decision by name."""
    return f"label {run.class_name(label, 16)}{between}decision {run.class_name(decision, 16)}"


def named_classes(n: int, label: int, decision: int) -> list[int]:
    """The output neurons to name: all where there is room, else those of the decision and of the label."""
    return list(range(n)) if n <= MOST_NAMES else sorted({label, decision})


def name_outputs(axes: Axes, run: RunRecord, heights: Array, label: int, decision: int, colour: str) -> None:
    """Write the names of classes to the right of their output neurons, that of the decision in `colour`."""
    shown = named_classes(len(heights), label, decision)
    right = axes.secondary_yaxis("right")
    right.set_yticks(heights[shown], [run.class_name(number) for number in shown], fontsize=6.5)
    right.tick_params(axis="y", length=0, pad=1)
    right.spines["right"].set_visible(False)
    for number, text in zip(shown, right.get_yticklabels(), strict=True):
        if number == decision:
            text.set(color=colour, fontweight="bold")


def show_picture(axes: Axes, picture: Array) -> None:
    """Draw an image `(h, w)` in grey, `(h, w, 3)` or `(h, w, 4)` in colour, of other channels their mean."""
    if picture.ndim == 3 and picture.shape[2] not in (3, 4):
        picture = picture.mean(axis=2)
    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255} if picture.ndim == 2 else {}
    axes.imshow(picture, interpolation="nearest", **grey)
    axes.set_axis_off()


def picture_of(run: RunRecord, index: int) -> Array | None:
    """An image, or events accumulated: ON blue, OFF red, stronger where there are more; None for sound."""
    if run.has("example_images"):
        image: Array = run.arrays["example_images"][index]
        return image if image.ndim in (2, 3) else None
    if not run.has("example_events"):
        return None
    off, on = run.arrays["example_events"][index].astype(float)
    total = off + on
    full = float(np.quantile(total[total > 0], 0.9)) if total.any() else 1.0
    # mostly near 0 over three saccades: shown three times as strong
    balance = (on - off) / np.maximum(total, 1)
    strength, blend = np.clip(total / full, 0, 1), np.clip(0.5 + 1.5 * balance, 0, 1)[..., None]
    colours = [np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]) for colour in (BLUE, RED)]
    return np.concatenate([blend * colours[0] + (1 - blend) * colours[1], strength[..., None]], axis=2)
