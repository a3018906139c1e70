"""How right and how sure decisions are, before and after their last temperature."""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.metrics.calibration import (
    brier,
    decided_confidence,
    expected_calibration_error,
    negative_log_likelihood,
)

N_BINS = 20  # of the calibration error, as the BiSNN authors'


def quality(probabilities: Tensor, potentials: Tensor, decided: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy, NLL, ECE in 20 bins of equal width and Brier score; with `_raw`, all but the first at temperature 1.

    `probabilities` and `potentials` `(n, classes)`, decisions and labels `(n,)`; raw probabilities are
    softmax(potentials), which means something where potentials are ln p.
    """
    right = decided == labels
    raw = torch.softmax(potentials.double(), 1)
    confidence, unscaled = (decided_confidence(p, decided) for p in (probabilities, raw))
    return {
        "accuracy": float(right.double().mean()),
        "nll": negative_log_likelihood(probabilities, labels),
        "ece": expected_calibration_error(confidence, right, N_BINS),
        "brier": brier(probabilities, labels),
        "nll_raw": negative_log_likelihood(raw, labels),
        "ece_raw": expected_calibration_error(unscaled, right, N_BINS),
        "brier_raw": brier(raw, labels),
    }
