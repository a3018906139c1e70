"""One self-contained HTML page from a run folder: figures as inline SVG, style inline, no network."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from bitspike.metrics import (
    Footprint,
    Work,
    accuracy_over_time,
    bootstrap_interval,
    energy_table,
    footprint,
    reliability,
)
from bitspike.metrics.energy import Weights, n_synapses
from bitspike.report import figures
from bitspike.report.rasters import spike_rasters
from bitspike.report.record import RunRecord, read_record
from bitspike.report.trains import count_histograms, membranes, train_rasters
from bitspike.training.files import write_atomically

Card = dict[str, str]


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
    template = resources.files("bitspike.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(
        name=str(run.experiment.get("name", run.path.name)),
        subtitle=_subtitle(run),
        cards=headline(run),
        training=_training(run),
        learning=_svgs(
            figures.accuracy_per_epoch(run.epochs),
            figures.loss_per_epoch(run.epochs),
            figures.firing_per_epoch(run.epochs, len(run.part("network", "hidden") or ()))
            if run.spiking
            else None,
        ),
        errors=_errors(run),
        calibration=_calibration(run),
        rasters=_svgs(*(train_rasters(run) if run.trains else spike_rasters(run))),
        trains=run.trains,
        pictures_of_events=run.has("example_events"),
        noun=run.noun,
        membranes=_svgs(*membranes(run)) if run.trains else [],
        histograms=_svgs(count_histograms(run)),
        layers=run.layers if any("mean_count" in layer for layer in run.layers) else [],
        time=_time(run),
        robustness=_robustness(run),
        sweep=_sweep(run),
        sweep_rows=_sweep_rows(run),
        chosen=run.chosen_threshold,
        energy=_energy(run),
        size=_size(run),
        experiment=flatten({k: v for k, v in run.experiment.items() if k != "kind"}),
        evaluation=flatten(
            run.evaluation, leave_out=("robustness", "threshold_sweep", "calibration.sweep", "layers")
        ),
        manifest=flatten(run.manifest),
        number=_number,
    )


def headline(run: RunRecord) -> list[Card]:
    """The figures on top: title, value and a line that puts the value into proportion."""
    e, cards = run.evaluation, []

    def add(title: str, key: str, shown: str, note: str = "") -> None:
        if e.get(key) is not None:
            cards.append({"title": title, "value": shown.format(e[key]), "note": note})

    add("Accuracy", "accuracy", "{:.2%}", _interval(run))
    note = "label among the largest counts" if run.trains else "the papers' rule; needs the label"
    add("Tie-optimistic", "accuracy_tie_optimistic", "{:.2%}", note)
    add("Calibration error", "ece", "{:.2%}", f"NLL {e['nll']:.3f}" if e.get("nll") is not None else "")
    if e.get("model_bytes"):
        cards.append({"title": "Model file", "value": _bytes(e["model_bytes"]), "note": _smaller(run)})
    silent = f"{e['silent']:.2%} of {run.noun}s silent" if e.get("silent") is not None else ""
    if run.timed:
        add("Decision time", "decision_time", "{:.1f}", f"of {run.n_steps} steps; {silent}".rstrip("; "))
        add("Spikes per image", "spikes", "{:,.0f}", "input and hidden, until the decision")
    if run.trains:
        cards.append({"title": "Window", "value": f"{run.n_steps} steps", "note": silent})
        which = "hidden; the input is a current" if e.get("input_macs") else "input and hidden"
        add(f"Spikes per {run.noun}", "spikes", "{:,.0f}", f"{which}, in the whole window")
    extra = [
        f"{e[key]:,.0f} {what}"
        for key, what in (
            ("input_macs", "are products of the input"),
            ("neuron_updates", "neuron updates besides"),
        )
        if e.get(key)
    ]
    add("Synaptic operations", "synops", "{:,.0f}", "; ".join([f"additions per {run.noun}", *extra]))
    if e.get("energy_uj"):
        energy = f"{e['energy_uj']:.3g} µJ" if e["energy_uj"] >= 0.1 else f"{e['energy_uj'] * 1000:.3g} nJ"
        cards.append({"title": f"Energy per {run.noun}", "value": energy, "note": "estimated, see below"})
    return cards


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
                rows.insert(0, (prefix.rstrip("."), str(value)))
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
        f"{run.part('weights', 'kind')} weights" if run.part("weights", "kind") else None,
        f"{run.n_steps} steps" if run.n_steps else None,
        f"seed {run.part('seed')}" if run.part("seed") is not None else None,
        f"{run.evaluation['n']:,} test {run.noun}s" if run.evaluation.get("n") else None,
    ]
    return " · ".join(str(part) for part in parts if part)


def _correct(run: RunRecord) -> torch.Tensor | None:
    if not run.has("labels", "predicted"):
        return None
    return torch.from_numpy(run.arrays["labels"] == run.arrays["predicted"])


def _interval(run: RunRecord) -> str:
    correct = _correct(run)
    if correct is None:
        return ""
    low, high = bootstrap_interval(correct, torch.Generator().manual_seed(0))
    return f"95 % interval {low:.2%} to {high:.2%}"


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


def _errors(run: RunRecord) -> dict[str, Any] | None:
    if not run.has("labels", "predicted"):
        return None
    labels, predicted = run.arrays["labels"].astype(int), run.arrays["predicted"].astype(int)
    n = int(max(labels.max(), predicted.max())) + 1
    counts = np.bincount(labels * n + predicted, minlength=n * n).reshape(n, n)
    wrong = counts * (1 - np.eye(n, dtype=int))
    rows = [
        {
            "label": label,
            "images": int(row.sum()),
            "accuracy": float(row[label] / row.sum()),
            "mistaken": f"{wrong[label].argmax()} ({wrong[label].max():,})" if wrong[label].any() else "–",
        }
        for label, row in enumerate(counts)
        if row.any()
    ]
    return {"matrix": Markup(figures.confusion_matrix(counts)), "rows": rows}


def _calibration(run: RunRecord) -> list[Markup]:
    correct = _correct(run)
    if correct is None or not run.has("probabilities"):
        return []
    decided = run.arrays["predicted"].astype(np.int64)[:, None]
    confidence = np.take_along_axis(run.arrays["probabilities"], decided, axis=1)[:, 0]
    return _svgs(
        figures.reliability_diagram(reliability(torch.from_numpy(confidence), correct)),
        figures.selective_accuracy(confidence, correct.numpy()),
    )


def _time(run: RunRecord) -> list[Markup]:
    correct, n_steps = _correct(run), run.n_steps
    if correct is None or n_steps is None or not run.timed or not run.has("decision_time"):
        return []
    times = run.arrays["decision_time"].astype(np.int64)
    curve = accuracy_over_time(torch.from_numpy(times), correct, n_steps)
    return _svgs(figures.over_time(curve), figures.decision_times(times, correct.numpy(), n_steps))


def _robustness(run: RunRecord) -> list[Markup]:
    curves = run.evaluation.get("robustness") or {}
    labels = {
        "jitter": "each spike moved by up to ± steps",
        "deletion": "share of input spikes lost",
        "noise": "standard deviation of the noise added to pixels, 1: full intensity",
    }
    return _svgs(
        *(figures.robustness(name, curves[name], labels[name]) for name in labels if curves.get(name))
    )


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


def _energy(run: RunRecord) -> dict[str, Any] | None:
    e = run.evaluation
    if not e.get("synops"):
        return None
    work = Work(e["synops"], e.get("input_macs", 0.0), e.get("neuron_updates", 0.0))
    n_macs = n_synapses(run.widths) if run.widths else None
    if run.layers:
        n_macs = sum(layer["synapses"] for layer in run.layers if layer.get("weights"))
    return energy_table(work, _weights(run), n_macs, spiking=run.spiking)


def _weights(run: RunRecord) -> Weights:
    return "real" if run.part("weights", "kind") == "real" else "binary"


def _footprint(run: RunRecord, weights: Weights) -> Footprint | None:
    """Weights and thresholds of the network; spike trains have one threshold per layer."""
    if run.widths is not None:
        return footprint(run.widths, weights)
    if not run.layers:
        return None
    n_weights, n_thresholds = sum(layer.get("weights", 0) for layer in run.layers), len(run.layers) - 1
    return Footprint(
        n_weights, n_weights * (1 if weights == "binary" else 32), n_thresholds, n_thresholds * 32
    )


def _size(run: RunRecord) -> list[tuple[str, str, str]]:
    rows = []
    own, real = _footprint(run, _weights(run)), _footprint(run, "real")
    if own is not None and real is not None:
        bits = own.synapse_bits // own.synapses
        rows += [
            (
                "weights" if run.trains else "synapses",
                f"{own.synapses:,} x {bits} bit",
                _bytes(own.synapse_bits / 8),
            ),
            ("thresholds", f"{own.thresholds:,} x 32 bit", _bytes(own.threshold_bits / 8)),
        ]
        if bits == 1:
            rows.append(("the same network in float32", f"{real.synapses:,} x 32 bit", _bytes(real.bytes)))
    if run.evaluation.get("model_bytes"):
        rows.append(
            ("model file", f"{run.evaluation['model_bytes']:,} bytes", _bytes(run.evaluation["model_bytes"]))
        )
    return rows


def _smaller(run: RunRecord) -> str:
    real = _footprint(run, "real")
    ratio = real.bytes / run.evaluation["model_bytes"] if real else 0
    return f"{ratio:.0f} times smaller than float32" if ratio > 1.5 else ""


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000 or unit == "MB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("the last unit takes all")


def _number(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
