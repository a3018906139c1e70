"""All metrics of one evaluation in one flat dictionary, JSON-ready."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import Tensor

from bitspike.errors import DataError
from bitspike.metrics._checks import require_samples
from bitspike.metrics.calibration import (
    brier,
    decided_confidence,
    expected_calibration_error,
    negative_log_likelihood,
)
from bitspike.metrics.correctness import accuracy, accuracy_tie_optimistic
from bitspike.metrics.energy import Weights, Work, energy_uj
from bitspike.metrics.regression import regression_figures
from bitspike.metrics.spikes import spike_cost
from bitspike.prediction import Prediction


def summarise(
    prediction: Prediction,
    labels: Tensor,
    n_steps: int,
    weights: Weights = "binary",
    input_macs: float = 0.0,
    neuron_updates: float = 0.0,
    srm_updates: float = 0.0,
) -> dict[str, Any]:
    """Accuracy, calibration and cost of decisions on `labels` (n,); definitions in docs/metrics.md.

    Keys: n, n_steps, accuracy, accuracy_tie_optimistic, ece, nll, brier, decision_time, spikes, synops, silent, ties,
    energy_uj (estimated, for the kind of `weights`), and input_macs, neuron_updates and srm_updates where they occur:
    see `metrics.energy.Work`. The confidence of the ECE is the probability of the decided class.
    Raises `DataError` on an empty set, and on decision times beyond `n_steps`.
    """
    require_samples("prediction", prediction.labels, labels)
    latest = int(prediction.decision_time.max())
    if latest > n_steps:
        raise DataError(f"a decision time is {latest}, beyond n_steps = {n_steps}")
    confidence = decided_confidence(prediction.probabilities, prediction.labels)
    cost = spike_cost(prediction)
    beside = {"input_macs": input_macs, "neuron_updates": neuron_updates, "srm_updates": srm_updates}
    return {
        "n": labels.shape[0],
        "n_steps": n_steps,
        "accuracy": accuracy(prediction, labels),
        "accuracy_tie_optimistic": accuracy_tie_optimistic(prediction, labels),
        "ece": expected_calibration_error(confidence, prediction.labels == labels),
        "nll": negative_log_likelihood(prediction.probabilities, labels),
        "brier": brier(prediction.probabilities, labels),
        **asdict(cost),
        **{name: count for name, count in beside.items() if count},
        "energy_uj": energy_uj(Work(cost.synops, **beside), weights),
    }


def summarise_regression(prediction: Prediction, targets: Any) -> dict[str, float]:
    """`regression_figures` of predicted values on `targets` (n,), a committee's with `spread`; spikes and synops."""
    members = None if prediction.members is None else prediction.members[:, :, 0]
    return {
        **regression_figures(prediction.potentials[:, 0], targets, members),
        "spikes": float(prediction.n_spikes.double().mean()),
        "synops": float(prediction.n_synops.double().mean()),
    }
