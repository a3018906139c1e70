"""One self-contained HTML page from a run folder: figures as inline SVG, style inline, no network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bitspike.files import write_atomically
from bitspike.metrics import accuracy_over_time
from bitspike.metrics.catalog import CATALOG
from bitspike.metrics.quality import N_BINS
from bitspike.report import figures, learning, reliability, uncertainty
from bitspike.report.arrays import Array
from bitspike.report.band import band, band_rows
from bitspike.report.cost import energy, size
from bitspike.report.headline import correct_ones, headline
from bitspike.report.older import kind_of
from bitspike.report.plane import surfaces
from bitspike.report.rasters import spike_rasters
from bitspike.report.record import RunRecord, read_record
from bitspike.report.trains import count_histograms, membranes, train_rasters

_SHOWN_ELSEWHERE = (
    "robustness", "threshold_sweep", "calibration.sweep", "layers", "uncertainty.conformal_thresholds",
)  # fmt: skip


_SECTION = re.compile(r'<section id="([^"]+)">\s*<h2>(.*?)</h2>')


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into the run folder and return its path.

    Needs experiment.json and evaluation.json; every other file adds sections.
    The page is written beside and renamed. Raises `DataError` when a required file is missing or damaged.
    """
    page = run_dir / "report.html"
    write_atomically(page, render(read_record(run_dir)).encode())
    return page


def render(run: RunRecord) -> str:
    """The page as text; equal runs give equal pages."""
    environment = Environment(
        loader=PackageLoader("bitspike", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html.j2").render(
        name=str(run.experiment.get("name", run.path.name)),
        subtitle=_subtitle(run),
        origin=_origin(run),
        contents=_contents,
        catalog=CATALOG,
        cards=headline(run),
        training=_training(run),
        learning=_learning(run),
        tasks=_svgs(learning.tasks_per_epoch(run.epochs, _tasks(run), run.part("training", "epochs") or 0)),
        errors=_errors(run),
        reliability={kind: _svgs(*parts) for kind, parts in reliability.diagrams(run).items()},
        modes=reliability.rows(run),
        n_bins=N_BINS,
        ece=uncertainty.ece_rows(run),
        temperature=uncertainty.temperature(run),
        selective=uncertainty.selective(run),
        outside=uncertainty.ood_rows(run),
        conformal=uncertainty.conformal_rows(run),
        conformal_samples=uncertainty.conformal_samples(run),
        early=uncertainty.early_rows(run),
        early_figures=_svgs(*uncertainty.early_figures(run)),
        surfaces=surfaces(run),
        band=_svgs(band(run)),
        band_rows=band_rows(run),
        together=run.n_members,
        rasters=_svgs(*(train_rasters(run) if run.trains else spike_rasters(run))),
        trains=run.trains,
        windowed=run.windowed,
        pictures_of_events=run.has("example_events"),
        noun=run.noun,
        membranes=_svgs(*membranes(run)) if run.trains else [],
        histograms=_svgs(count_histograms(run)),
        layers=_layers(run),
        time=_time(run),
        robustness=_robustness(run),
        sweep=_sweep(run),
        sweep_rows=_sweep_rows(run),
        chosen=run.chosen_threshold,
        energy=energy(run),
        size=size(run),
        experiment=flatten({k: v for k, v in run.experiment.items() if k != "kind"}),
        evaluation=flatten(run.evaluation, leave_out=_SHOWN_ELSEWHERE),
        manifest=flatten(run.manifest),
        number=_number,
    )


def flatten(tree: Any, leave_out: tuple[str, ...] = (), prefix: str = "") -> list[tuple[str, str]]:
    """Nested JSON as (dotted name, text) rows; a `kind` names its object unless it only repeats the name."""
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if name in leave_out:
            continue
        if key == "kind" and prefix:
            part = prefix.rstrip(".").split(".")[-1]
            if str(value).lower() != part:
                rows.insert(0, (prefix.rstrip("."), str(kind_of(value))))
        elif isinstance(value, dict):
            rows += flatten(value, leave_out, f"{name}.")
        elif isinstance(value, list):
            rows.append((name, ", ".join(_number(item) for item in value) or "none"))
        else:
            rows.append((name, _number(value)))
    return rows


def _svgs(*parts: str | None) -> list[Markup]:
    return [Markup(part) for part in parts if part]


def _subtitle(run: RunRecord) -> str:
    hidden = run.part("network", "hidden")
    shape = "–".join(str(width) for width in run.shape or hidden or ())
    parts = [
        run.part("data", "name"),
        shape,
        f"{run.kind('weights')} weights" if run.kind("weights") else None,
        f"{run.n_steps} steps" if run.n_steps else None,
        f"seed {run.part('seed')}" if run.part("seed") is not None else None,
        f"{run.evaluation['n']:,} test {run.noun}s" if run.evaluation.get("n") else None,
    ]
    return " · ".join(str(part) for part in parts if part)


def _origin(run: RunRecord) -> list[str]:
    """When the run began, its folder, and what is to be known of its data."""
    started, note = (
        str(run.manifest.get("started", ""))[:16].replace("T", " "),
        str(run.data.get("note") or ""),
    )
    parts = [started, f"run folder {run.path.resolve().name}", f"data: {note}" if note else ""]
    return [part for part in parts if part]


def _contents(body: str) -> list[tuple[str, Markup]]:
    """Address and title of every section of a page."""
    return [(name, Markup(title)) for name, title in _SECTION.findall(body)]


def _tasks(run: RunRecord) -> list[str]:
    """The classes of each task, by name."""
    tasks = [[int(label) for label in task.split(",")] for task in run.part("training", "tasks") or ()]
    return [", ".join(run.class_name(label) for label in task) for task in tasks]


def _layers(run: RunRecord) -> list[dict[str, Any]]:
    """Rows about the layers: their `title`, `cells` of what they are and of what they `did`, where that was counted."""
    if not any("mean_count" in layer for layer in run.layers):
        return []
    return [
        {
            "title": run.layer_title(index),
            "cells": [f"{layer[key]:,}" if key in layer else "–" for key in ("neurons", "weights", "synapses")],
            "did": [
                shown.format(layer[key]) if key in layer else "–"
                for key, shown in (
                    ("mean_count", "{:.3g}"), ("rate", "{:.3g}"), ("silent", "{:.1%}"), ("never", "{:.1%}"),
                )
            ]
            if "mean_count" in layer
            else [],
        }
        for index, layer in enumerate(run.layers)
    ]  # fmt: skip


def _training(run: RunRecord) -> list[tuple[str, str]]:
    validated = [e for e in run.epochs if e.get("validation_accuracy") is not None]
    seconds = [e["seconds"] for e in run.epochs if e.get("seconds") is not None]
    rates = [e["images_per_second"] for e in run.epochs if e.get("images_per_second") is not None]
    rows = [("epochs", str(len(run.epochs)))]
    if validated:
        best = max(validated, key=lambda e: float(e["validation_accuracy"]))
        rows.append(
            ("best validation accuracy", f"{best['validation_accuracy']:.2%} (epoch {best.get('epoch')})")
        )
    if seconds:
        rows.append(("time", f"{sum(seconds):,.1f} s"))
    if rates:
        rows.append((f"{run.noun}s per second", f"{sum(rates) / len(rates):,.0f}"))
    return rows


def _learning(run: RunRecord) -> list[Markup]:
    n_hidden = len(run.part("network", "hidden") or ())
    return _svgs(
        learning.error_per_epoch(run.epochs) if run.regression else learning.accuracy_per_epoch(run.epochs),
        learning.loss_per_epoch(run.epochs),
        learning.firing_per_epoch(run.epochs, n_hidden) if run.spiking else None,
        learning.decided_per_epoch(run.epochs),
    )


def _errors(run: RunRecord) -> dict[str, Any] | None:
    if run.regression or not run.has("labels", "predicted"):
        return None
    labels, predicted = run.arrays["labels"].astype(int), run.arrays["predicted"].astype(int)
    n = int(max(labels.max(), predicted.max())) + 1
    counts = np.bincount(labels * n + predicted, minlength=n * n).reshape(n, n)
    wrong = counts * (1 - np.eye(n, dtype=int))
    rows = [
        {
            "label": run.class_name(label, 28),
            "images": int(row.sum()),
            "accuracy": float(row[label] / row.sum()),
            "mistaken": _mistaken(run, wrong[label]),
        }
        for label, row in enumerate(counts)
        if row.any()
    ]
    names = [run.class_name(label) for label in range(n)]
    matrix = Markup(figures.confusion_matrix(counts, names))
    return {"matrix": matrix, "rows": rows, "named": run.named, "few": n <= 3}


def _mistaken(run: RunRecord, wrong: Array) -> str:
    """The class that one class is most often taken for, and how often."""
    return f"{run.class_name(int(wrong.argmax()), 28)} ({wrong.max():,})" if wrong.any() else "–"


def _time(run: RunRecord) -> list[Markup]:
    correct, n_steps = correct_ones(run), run.n_steps
    if correct is None or n_steps is None or not run.timed or not run.has("decision_time"):
        return []
    times = run.arrays["decision_time"].astype(np.int64)
    curve = accuracy_over_time(torch.from_numpy(times), correct, n_steps)
    return _svgs(
        figures.over_time(curve, run.noun), figures.decision_times(times, correct.numpy(), n_steps, run.noun)
    )


def _robustness(run: RunRecord) -> list[Markup]:
    curves = run.evaluation.get("robustness") or {}
    labels = {
        "jitter": "each spike moved by up to ± so many steps",
        "deletion": "share of input spikes lost",
        "noise": "standard deviation of the noise added to pixels, 1: full intensity",
    }
    curves = {name: curves[name] for name in labels if curves.get(name)}
    lowest = min((accuracy for points in curves.values() for _, accuracy in points), default=0.0)
    return _svgs(*(figures.robustness(name, points, labels[name], lowest) for name, points in curves.items()))


def _sweep(run: RunRecord) -> Markup | None:
    return (
        Markup(figures.threshold_sweep(run.sweep, run.chosen_threshold)) if run.sweep and run.timed else None
    )


def _sweep_rows(run: RunRecord, most: int = 10) -> list[dict[str, Any]]:
    """At most about `most` rows for the table, evenly spaced, the chosen one among them."""
    every = -(-len(run.sweep) // most)
    return [
        row
        for index, row in enumerate(run.sweep)
        if index % every == 0 or row["threshold"] == run.chosen_threshold
    ]


def _number(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
