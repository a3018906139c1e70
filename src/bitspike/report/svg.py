"""Small matplotlib figures as inline SVG that takes font, width and light or dark ink from the page."""

from __future__ import annotations

import html
import io
import re
import warnings
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

BLUE, ORANGE, GREEN, RED, GRAY = "#3b7dd8", "#e08a2e", "#2f9e6e", "#d6455d", "#8b909a"
INK = "#1b1c1d"  # becomes currentColor, the text colour of the page

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bitspike",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.parse_math": False,  # names of classes are text, whatever they hold
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.6,
    "path.simplify": False,
    "legend.frameon": False,
    "legend.loc": "upper right",  # matplotlib looks for the best place in time that depends on the data, and warns
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}


def style() -> AbstractContextManager[None]:
    """The look of the report; both drawing and `to_svg` happen inside it."""
    return mpl.rc_context(_STYLE)


def new_figure(width: float = 5.0, height: float = 3.0) -> Figure:
    """An empty figure of the object interface (no pyplot, no global state), in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def step_axis(axes: Axes, n_steps: int) -> None:
    """Ticks in whole steps; eighths of the duration where that is possible."""
    if n_steps % 8 == 0:
        axes.set_xticks(range(0, n_steps + 1, n_steps // 8))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def to_svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an `<svg>` element whose ids begin with `name` and whose text alternative is `label`."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # the browser draws the letters; that matplotlib's own font lacks some of them is of no account
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\b(d|x|y|x1|x2|y1|y2)="[^"]*"', _round, text)
    text = re.sub(r'(<svg [^>]*?)width="[^"]*" height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(url\(|xlink:href=")#', rf"\g<1>#{name}-", text)
    text = text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)
    return text.replace(INK, "currentColor")


def _round(attribute: re.Match[str]) -> str:
    """Coordinates to a hundredth of a point; matplotlib writes six digits."""
    return re.sub(r"(\.\d\d)\d+", r"\1", attribute[0])
