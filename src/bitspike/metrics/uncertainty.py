"""The figures of uncertainty of one evaluation, JSON-ready; definitions in docs/metrics.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bitspike.metrics.calibration import decided_confidence, ece_interval, expected_calibration_error
from bitspike.metrics.conformal import coverage_range, prediction_sets, set_figures
from bitspike.metrics.ood import auroc, entropy, false_positive_rate, least_confidence, mutual_information
from bitspike.metrics.selective import risk_coverage
from bitspike.prediction import Prediction

ALPHAS = (0.1, 0.05, 0.01)


def decision_figures(prediction: Prediction, labels: Tensor) -> dict[str, Any]:
    """ece_interval, ece_mass, ece_mass_interval (95 % bootstrap), aurc and eaurc of decisions on `labels` (n,).

    The bootstrap has draws of its own, always the same, so that the same decisions have the same interval wherever it
    is computed.
    """
    confidence = decided_confidence(prediction.probabilities, prediction.labels)
    correct = prediction.labels == labels
    curve = risk_coverage(confidence, correct)
    return {
        "ece_interval": ece_interval(confidence, correct, torch.Generator().manual_seed(0)),
        "ece_mass": expected_calibration_error(confidence, correct, binning="mass"),
        "ece_mass_interval": ece_interval(
            confidence, correct, torch.Generator().manual_seed(0), binning="mass"
        ),
        "aurc": curve.aurc,
        "eaurc": curve.eaurc,
    }


def conformal_figures(
    probabilities: Tensor,
    labels: Tensor,
    thresholds: Sequence[tuple[float, float]],
    n_samples: int | None = None,
) -> dict[str, dict[str, Any]]:
    """`set_figures` for each alpha of `ALPHAS` by its entry in `thresholds`; without one the sets hold every class.

    With `n_samples`, how many calibration samples the thresholds come from, also `coverage_range`.
    """
    known = dict(thresholds)
    found: dict[str, dict[str, Any]] = {
        str(alpha): set_figures(prediction_sets(probabilities, known.get(alpha, math.inf)), labels)
        for alpha in ALPHAS
    }
    if n_samples is not None:
        for alpha in ALPHAS:
            found[str(alpha)]["coverage_range"] = list(coverage_range(n_samples, alpha))
    return found


def ood_figures(
    inside: Tensor, outside: Tensor, members: tuple[Tensor | None, Tensor | None] = (None, None)
) -> dict[str, float]:
    """AUROC by entropy, max_probability and, where both have `members`, mutual_information; fpr95 by entropy.

    `inside`, `outside` (n, classes): probabilities of inputs in and out of the distribution; `members`: those of each
    member of a committee, (n, members, classes), of both.
    """
    figures = {
        "entropy": auroc(entropy(inside), entropy(outside)),
        "max_probability": auroc(least_confidence(inside), least_confidence(outside)),
        "fpr95": false_positive_rate(entropy(inside), entropy(outside)),
    }
    known, strange = members
    if known is not None and strange is not None:
        doubts = (mutual_information(part.transpose(0, 1)) for part in (known, strange))
        figures["mutual_information"] = auroc(*doubts)
    return figures
