"""How well a finished run knows what it does not know: `uncertainty` in evaluation.json."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.contracts import Batch
from bitspike.metrics.calibration import (
    decided_confidence,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)
from bitspike.metrics.conformal import (
    conformal_grid,
    conformal_threshold,
    coverage_range,
    early_figures,
    early_stopping,
    label_scores,
    prediction_sets,
    set_figures,
)
from bitspike.metrics.robustness import add_noise
from bitspike.metrics.uncertainty import ALPHAS, conformal_figures, decision_figures, ood_figures
from bitspike.networks.anytime import over_time, steps_between
from bitspike.networks.base import Network
from bitspike.networks.inputs import take
from bitspike.prediction import Prediction

N_DRAWN = 2000  # inputs, drawn from the test set, that are disturbed or decided early
NOISE = 1.0  # standard deviation of pixel noise, in units of white


@dataclass(frozen=True)
class Judged:
    """What is judged: coded inputs, labels (n,), decisions on them, and the images, uint8 (n, h, w), of still ones."""

    inputs: Any
    labels: Tensor
    prediction: Prediction
    images: np.ndarray[Any, Any] | None


def measure(
    network: Network,
    encode: Callable[[Any], Any],
    test: Judged,
    validation: Batch | None,
    n_steps: int,
    noise: torch.Generator,
) -> dict[str, Any]:
    """Intervals, risk and coverage, strangeness of disturbed images; with validation data also conformal sets.

    `encode` codes images; `validation` is what thresholds and a temperature are fitted to. docs/metrics.md,
    "Uncertainty".
    """

    def predict(inputs: Any) -> Prediction:
        return network.decide(inputs, noise)

    figures = decision_figures(test.prediction, test.labels)
    if test.images is not None and test.images.shape[1] > 1:  # rows of features are not images
        figures["ood"] = _outside(predict, encode, test, noise)
    if validation is None:
        return figures
    held = predict(validation.inputs)
    thresholds = conformal_grid(label_scores(held.probabilities, validation.labels))
    figures["conformal_thresholds"] = thresholds
    figures["conformal_samples"] = n_samples = len(validation.labels)
    figures["conformal"] = conformal_figures(
        test.prediction.probabilities, test.labels, thresholds, n_samples
    )
    if network.anytime and n_steps > 1 and len(validation.labels) > 1:
        figures["conformal_early"] = _early(network, test, validation, n_steps, noise)
    figures["temperature"] = _scaled(test, held, validation.labels)
    return figures


def _outside(
    predict: Callable[[Any], Prediction],
    encode: Callable[[Any], Any],
    test: Judged,
    noise: torch.Generator,
) -> dict[str, dict[str, float]]:
    """Are images turned by 90 degrees, or drowned in noise, told from those of the test set?"""
    assert test.images is not None
    rows = _drawn(len(test.labels), noise)
    images = torch.from_numpy(test.images[rows.numpy()])
    strange = {"noisy": add_noise(images, NOISE, noise)}
    if images.shape[1] == images.shape[2]:
        strange = {"rotated": images.rot90(1, (1, 2)).contiguous(), **strange}
    inside = test.prediction.probabilities[rows]
    known = None if test.prediction.members is None else test.prediction.members[rows]
    found = {}
    for name, disturbed in strange.items():
        outside = predict(encode(disturbed.numpy()))
        found[name] = ood_figures(inside, outside.probabilities, (known, outside.members))
    return found


@torch.no_grad()
def _early(
    network: Network, test: Judged, validation: Batch, n_steps: int, noise: torch.Generator
) -> dict[str, dict[str, Any]]:
    """Conformal sets at the time when they are small enough, and at the end."""
    times = steps_between(n_steps)
    held, rows = _drawn(len(validation.labels), noise), _drawn(len(test.labels), noise)
    known, target = over_time(network, take(validation.inputs, held), times), validation.labels[held]
    asked, labels = over_time(network, take(test.inputs, rows), times), test.labels[rows]
    latest = test.prediction.decision_time[rows].long().clamp(max=n_steps - 1)
    found = {}
    for alpha in ALPHAS:
        rule = early_stopping(known, target, alpha, noise)
        threshold = conformal_threshold(label_scores(known[:, -1], target), alpha)
        full = set_figures(prediction_sets(asked[:, -1], threshold), labels)
        stopped = early_figures(rule, asked, labels, times, latest)
        found[str(alpha)] = {
            "early": {**stopped, "coverage_range": list(coverage_range(rule.n_samples, alpha))},
            "full": {
                **full,
                "coverage_range": list(coverage_range(len(target), alpha)),
                "decision_time": float(latest.double().mean()),
            },
        }
    return found


def _drawn(n: int, noise: torch.Generator) -> Tensor:
    """Numbers of at most `N_DRAWN` of `n` inputs: the first ones can be harder or easier than the rest."""
    return torch.randperm(n, generator=noise)[:N_DRAWN]


def _scaled(test: Judged, held: Prediction, labels: Tensor) -> dict[str, float]:
    """The temperature that suits the validation data, and what it makes of the test data."""
    temperature = fit_temperature(held.potentials, labels)
    decided = test.prediction
    probabilities = (decided.potentials.double() / temperature).softmax(1)
    confidence = decided_confidence(probabilities, decided.labels)
    return {
        "temperature": temperature,
        "nll": negative_log_likelihood(probabilities, test.labels),
        "ece": expected_calibration_error(confidence, decided.labels == test.labels),
    }
