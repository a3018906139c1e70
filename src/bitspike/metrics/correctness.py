"""Accuracy: the honest one, and the tie-optimistic one that the papers' code computes."""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.errors import DataError
from bitspike.metrics._checks import percentiles, require_samples
from bitspike.prediction import Prediction


def accuracy(prediction: Prediction, labels: Tensor) -> float:
    """Share of samples whose one decision is the label.

    accuracy = 1/n sum_i [decision_i = label_i]; ties are already broken in the decision, without the label.
    `labels` is (n,). Raises `DataError` when empty or of another length.
    """
    require_samples("prediction", prediction.labels, labels)
    return _share(prediction.labels == labels)


def accuracy_tie_optimistic(prediction: Prediction, labels: Tensor) -> float:
    """Share of samples whose label is among the classes that share the earliest output spike.

    Silent samples (no output spike) are judged by their decision. The rule needs the label, so no user of the
    model can get this figure; it is for comparison with papers only (S4NN/BS4NN specification, section 4).
    """
    require_samples("prediction", prediction.labels, labels)
    n_classes = prediction.tied.shape[1]
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= n_classes:
        raise DataError(f"labels run from {low} to {high}; there are {n_classes} classes")
    among_tied = prediction.tied.gather(1, labels.long().unsqueeze(1)).squeeze(1)
    return _share(among_tied | (prediction.labels == labels))


def bootstrap_interval(
    values: Tensor, generator: torch.Generator, level: float = 0.95, n_resamples: int = 1000
) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of the mean of `values` (n,), such as [decision = label].

    Draws `n_resamples` samples of size n with replacement and takes the (1-level)/2 and (1+level)/2 quantiles
    of their means. With all values equal the interval is a point. Efron, Ann. Statist. 7(1), 1979.
    """
    require_samples("values", values, values)
    numbers, n = values.double(), values.shape[0]
    means = torch.stack(
        [numbers[torch.randint(n, (n,), generator=generator)].mean() for _ in range(n_resamples)]
    )
    return percentiles(means, level)


def _share(hits: Tensor) -> float:
    return int(hits.sum()) / hits.shape[0]
