"""The figures on top of the page."""

from __future__ import annotations

import torch

from bitspike.metrics import accuracy_interval
from bitspike.metrics.catalog import CATALOG
from bitspike.report.cost import in_bytes, own_footprint
from bitspike.report.record import RunRecord

Card = dict[str, str]


def headline(run: RunRecord) -> list[Card]:
    """The figures on top: title, value and a line that puts the value into proportion."""
    e, cards = run.evaluation, []

    def add(key: str, note: str = "") -> None:
        if e.get(key) is not None:
            metric = CATALOG[key]
            cards.append({"title": metric.per(run.noun), "value": metric.text(e[key]), "note": note})

    add("accuracy", _interval(run))
    if run.regression:
        add("rmse", _in_gaps(run, "rmse"))
        add("spread", _in_gaps(run, "spread"))
    if run.trains or not run.windowed:
        note = "label among the largest counts" if run.trains else "the papers' rule; needs the label"
        add("accuracy_tie_optimistic", note)
    nll = CATALOG["nll"]
    add("ece", f"{nll.label} {nll.text(e['nll'])}" if e.get("nll") is not None else "")
    if e.get("model_bytes"):
        cards.append(
            {
                "title": CATALOG["model_bytes"].label,
                "value": in_bytes(e["model_bytes"]),
                "note": _smaller(run),
            }
        )
    add("far_confidence", "0.15 or more from any training point; near 50 % is good")
    silent = f"{e['silent']:.2%} of {run.noun}s silent" if e.get("silent") is not None else ""
    if run.timed:
        add("decision_time", f"of {run.n_steps} steps; {silent}".rstrip("; "))
        add("spikes", "input and hidden, until the decision")
    if run.windowed:
        note = silent if run.trains else "all of it decides"
        cards.append({"title": "Window", "value": f"{run.n_steps} steps", "note": note})
        which = "hidden; the input is a current" if e.get("input_macs") else "input and hidden"
        which += f" of {run.n_members} networks" if run.n_members > 1 else ""
        add("spikes", f"{which}, in the whole window")
    extra = [
        f"{e[key]:,.0f} {what}"
        for key, what in (
            ("input_macs", "are products of the input"),
            ("neuron_updates", "neuron updates besides"),
            ("srm_updates", "neuron updates besides"),
        )
        if e.get(key)
    ]
    add("synops", "; ".join(["additions", *extra]))
    if e.get("energy_uj"):
        energy = f"{e['energy_uj']:.3g} µJ" if e["energy_uj"] >= 0.1 else f"{e['energy_uj'] * 1000:.3g} nJ"
        cards.append(
            {"title": CATALOG["energy_uj"].per(run.noun), "value": energy, "note": "estimated, see below"}
        )
    return cards


def correct_ones(run: RunRecord) -> torch.Tensor | None:
    """Which decisions are right, bool (n,); None without labels and decisions."""
    if run.regression or not run.has("labels", "predicted"):
        return None
    return torch.from_numpy(run.arrays["labels"] == run.arrays["predicted"])


def _interval(run: RunRecord) -> str:
    share, n = run.evaluation.get("accuracy"), run.evaluation.get("n")
    if share is None or not n:
        return ""
    low, high = accuracy_interval(share, n)
    return f"95 % interval {low:.2%} to {high:.2%}"


def _in_gaps(run: RunRecord, key: str) -> str:
    trained, gaps = (run.evaluation.get(f"{key}_{where}") for where in ("trained", "gaps"))
    return (
        "" if trained is None or gaps is None else f"{trained:.4f} near training data, {gaps:.4f} in the gaps"
    )


def _smaller(run: RunRecord) -> str:
    real = own_footprint(run, "real")
    ratio = real.bytes / run.evaluation["model_bytes"] if real else 0
    return f"{ratio:.0f} times smaller than float32" if ratio > 1.5 else ""
