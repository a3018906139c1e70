"""Accuracy with disturbed inputs, in the ways that a network's coding allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bitspike.coding import SpikeList
from bitspike.metrics import accuracy
from bitspike.metrics.robustness import (
    add_noise,
    delete_trains,
    deletion_curve,
    jitter_curve,
    jitter_trains,
)
from bitspike.networks.base import Network
from bitspike.prediction import Prediction

N_DISTURBED = 1000
LOST = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
NOISE = (0.0, 0.1, 0.2, 0.3, 0.5)


def disturbed(network: Network, inputs: Any, labels: Tensor, noise: torch.Generator) -> dict[str, Any]:
    """Curves [(strength, accuracy), ...] by the names of `Network.disturbances`.

    Spike times: shifted by up to J steps (up to half of all steps), or lost with probability p. Spike trains and
    images, on the first `N_DISTURBED` inputs: spikes lost, or shifted; noise on pixels.
    """

    def predict(changed: Any) -> Prediction:
        return network.decide(changed, noise)

    def curve(disturb: Any, undisturbed: Any, strengths: Sequence[float]) -> list[tuple[float, float]]:
        return [(s, accuracy(predict(disturb(undisturbed, s, noise)), labels)) for s in strengths]

    n_steps, curves = network.coding.n_steps, dict[str, Any]()
    if isinstance(inputs, Tensor) and inputs.dtype == torch.int16:  # spike times
        times = {"jitter": jitter_curve, "deletion": deletion_curve}
        strengths: dict[str, Any] = {"jitter": _steps(n_steps, 16), "deletion": LOST}
        for name in network.disturbances:
            curves[name] = times[name](predict, inputs, labels, n_steps, strengths[name], noise)
        return curves
    inputs, labels = inputs[:N_DISTURBED], labels[:N_DISTURBED]
    for name in network.disturbances:
        if name == "noise":
            curves[name] = curve(add_noise, inputs, NOISE)
            continue
        trains = inputs if isinstance(inputs, SpikeList) else network.trains(inputs)
        if name == "deletion":
            curves[name] = curve(delete_trains, trains, LOST)
        else:
            curves[name] = curve(jitter_trains, trains, _steps(n_steps, 64))
    return curves


def _steps(n_steps: int, finest: int) -> list[int]:
    """Strengths of jitter: 0 to 8 / `finest` of the duration."""
    return sorted({round(n_steps * k / finest) for k in (0, 1, 2, 4, 6, 8)})
