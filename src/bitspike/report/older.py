"""What runs of earlier releases do not say about themselves, told from the names of their kinds."""

from __future__ import annotations

from typing import Any, Literal

Decides = Literal["first spike", "window", "once"]


def kind_of(part: Any) -> str | None:
    """The class of a part of an experiment; the last part of an import path such as "my_package.module:MyNetwork"."""
    name = part.get("kind") if isinstance(part, dict) else part
    return None if name is None else str(name).rsplit(":", 1)[-1].rsplit(".", 1)[-1]


def decides(experiment: dict[str, Any]) -> Decides:
    """When the network answers: at its first output spike, at the end of its window, or at once, without any time."""
    coding, network = experiment.get("coding"), kind_of(experiment.get("network"))
    if kind_of(coding) == "Pixel":
        return "once"
    if network in ("Network", "IF", None):
        return "first spike"
    return "window" if isinstance(coding, dict) and "n_steps" in coding else "once"


def noun(experiment: dict[str, Any]) -> str:
    """What one input is called: "point", "image" or "recording"."""
    data = experiment.get("data")
    if isinstance(data, dict) and data.get("name") in ("moons", "regression"):
        return "point"
    of_images = ("FirstSpike", "Pixel", "Direct", "Poisson", None)
    return "image" if kind_of(experiment.get("coding")) in of_images else "recording"


def layers(experiment: dict[str, Any], facts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`facts` of each layer, from the input on, with its `name` and, of spike trains, its `threshold`; [] if they do
    not fit the network."""
    network: dict[str, Any] = experiment.get("network") or {}
    hidden = [str(layer) for layer in network.get("hidden") or ()]
    if kind_of(network) == "LIF":
        names, thresholds = ["input", *hidden, "output"], [None, *(network.get("thresholds") or ())]
        if not len(facts) == len(names) == len(thresholds):
            return []
        return [
            {"name": name} | ({} if threshold is None else {"threshold": threshold}) | layer
            for name, threshold, layer in zip(names, thresholds, facts, strict=True)
        ]
    names = ["input", *(layer for layer in hidden if not layer.startswith("P"))]  # pooling is part of a layer
    if len(facts) != len(names):
        return []
    return [{"name": name} | layer for name, layer in zip(names, facts, strict=True)]
