"""Checks that every metric makes before it divides by the number of samples."""

from __future__ import annotations

from torch import Tensor

from bitspike.errors import DataError


def require_samples(name: str, values: Tensor, labels: Tensor) -> None:
    """Refuse an empty test set and arrays of different length; `name` says which array holds `values`."""
    if labels.ndim != 1:
        raise DataError(f"labels have the shape {tuple(labels.shape)}; give one class index per sample, (n,)")
    if values.shape[0] != labels.shape[0]:
        raise DataError(f"{name} holds {values.shape[0]} samples but there are {labels.shape[0]} labels")
    if labels.shape[0] == 0:
        raise DataError(f"{name} is empty; a metric needs at least one sample")


def require_classes(scores: Tensor, labels: Tensor) -> None:
    """Refuse `scores` that are not (n, classes), and labels that are none of the classes."""
    require_samples("scores", scores, labels)
    if scores.ndim != 2:
        raise DataError(f"scores have the shape {tuple(scores.shape)}; give (samples, classes)")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= scores.shape[1]:
        raise DataError(f"labels run from {low} to {high}; there are {scores.shape[1]} classes")


def require_probabilities(probabilities: Tensor, labels: Tensor) -> None:
    """Refuse rows that are no probabilities of classes."""
    require_classes(probabilities, labels)
    in_range = bool(((probabilities >= 0) & (probabilities <= 1)).all())
    if not in_range or bool(((probabilities.double().sum(dim=1) - 1).abs() > 1e-3).any()):
        raise DataError("probabilities must lie in [0, 1] and sum to 1 per sample")
