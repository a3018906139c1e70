"""Accuracy: the honest one, and the tie-optimistic one that the papers' code computes."""

from __future__ import annotations

import math
from statistics import NormalDist

from torch import Tensor

from bitspike.errors import DataError
from bitspike.metrics._checks import require_samples
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


def accuracy_interval(share: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval (low, high) of an accuracy `share` measured on `n` samples: what a test set of this size tells.

    (share + z^2 / 2n +- z sqrt(share (1 - share) / n + z^2 / 4n^2)) / (1 + z^2 / n), z the (1 + level)/2 quantile of
    the normal distribution. Raises `DataError` without samples, and on a share or level out of range. Wilson, JASA 22,
    1927.
    """
    if n < 1 or not 0 <= share <= 1 or not 0 < level < 1:
        raise DataError(f"no interval of level {level} for an accuracy of {share} on {n} samples")
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    low, high = ((centre + side * half) / (1 + z * z / n) for side in (-1, 1))
    return max(0.0, low), min(1.0, high)


def _share(hits: Tensor) -> float:
    return int(hits.sum()) / hits.shape[0]
