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
