"""Calibration: do the probabilities mean what they say? NLL, Brier score, ECE with interval, temperature scaling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bitspike.errors import DataError
from bitspike.metrics._checks import require_classes, require_probabilities, require_samples

Binning = Literal["width", "mass"]

_SMALLEST = torch.finfo(torch.float32).tiny
_COLDEST, _HOTTEST = 1 / 50, 1000.0  # bounds of the temperature, in units of the margins' mean spread


def negative_log_likelihood(probabilities: Tensor, labels: Tensor) -> float:
    """NLL = -1/n sum_i ln p_i[label_i], in nats.

    `probabilities` (n, classes), `labels` (n,). A probability below the smallest normal float32 (1.18e-38)
    counts as that, so that one underflow costs 87.3 nats and not infinity.
    """
    require_probabilities(probabilities, labels)
    given = probabilities.double().gather(1, labels.long().unsqueeze(1))
    return float(-given.clamp_min(_SMALLEST).log().mean())


def brier(probabilities: Tensor, labels: Tensor) -> float:
    """Brier score = 1/n sum_i sum_c (p_i[c] - [c = label_i])^2; 0 is perfect, 2 the worst. Brier, 1950."""
    require_probabilities(probabilities, labels)
    truth = torch.nn.functional.one_hot(labels.long(), probabilities.shape[1])
    return float((probabilities.double() - truth).square().sum(dim=1).mean())


def decided_confidence(probabilities: Tensor, decided: Tensor) -> Tensor:
    """The confidence of each decision: the probability of the decided class, `(n,)`.

    `probabilities` `(n, classes)`, `decided` `(n,)` class indices.
    """
    return probabilities.gather(1, decided.long().unsqueeze(1)).squeeze(1)


@dataclass(frozen=True)
class Reliability:
    """Reliability diagram: per confidence bin its edges, number of samples, mean confidence and accuracy.

    All tensors are (n_bins,) float64 but `count` (int64); `confidence` and `accuracy` are NaN in empty bins.
    """

    lower: Tensor
    upper: Tensor
    count: Tensor
    confidence: Tensor
    accuracy: Tensor


def reliability(
    confidence: Tensor, correct: Tensor, n_bins: int = 15, binning: Binning = "width"
) -> Reliability:
    """Sort decisions into bins (lower, upper] by confidence; confidence 0 goes to the first bin.

    `confidence` (n,) in [0, 1] is the probability of the decided class, `correct` (n,) bool. "width": edges
    b / n_bins, rounded to the dtype of `confidence`, so that a confidence of exactly k/n_bins lies in the lower bin.
    "mass": the upper edge of bin b is the confidence of rank ceil(b n / n_bins), so that equal confidences share one
    bin, whatever their order; bins can be empty.
    """
    edges, index = _bins(confidence, correct, n_bins, binning)
    count = torch.bincount(index, minlength=n_bins)
    total = torch.bincount(index, confidence.double(), minlength=n_bins)
    hits = torch.bincount(index, correct.double(), minlength=n_bins)
    return Reliability(edges[:-1], edges[1:], count, total / count, hits / count)


def expected_calibration_error(
    confidence: Tensor, correct: Tensor, n_bins: int = 15, binning: Binning = "width"
) -> float:
    """ECE = sum_b n_b/n |accuracy_b - confidence_b| over the bins of `reliability`, whose arguments these are.

    Equal width: Guo et al., ICML 2017, equation 3. Equal mass: Nguyen and O'Connor, EMNLP 2015.
    """
    bins = reliability(confidence, correct, n_bins, binning)
    gap = (bins.accuracy - bins.confidence).abs().nan_to_num(0.0)
    return float((gap * bins.count).sum() / bins.count.sum())


def ece_interval(
    confidence: Tensor, correct: Tensor, generator: torch.Generator, n_bins: int = 15, binning: Binning = "width",
    level: float = 0.95, n_resamples: int = 1000,
) -> tuple[float, float]:  # fmt: skip
    """Percentile bootstrap interval (low, high) of the ECE: samples drawn with replacement, bins those of the data.

    ECE* = 1/n sum_b |sum over the drawn samples in b of (correct - confidence)|. Gaps of random sign do not cancel in
    it, so both ends lie high where n / n_bins is small: a well calibrated model's interval need not reach 0.
    """
    if not 0 < level < 1:
        raise DataError(f"level is {level}; it must lie between 0 and 1")
    _, index = _bins(confidence, correct, n_bins, binning)
    gaps, n = correct.double() - confidence.double(), len(confidence)
    at_once = max(1, min(n_resamples, 1_000_000 // n))
    errors = []
    for start in range(0, n_resamples, at_once):
        rows = min(at_once, n_resamples - start)
        drawn = torch.randint(n, (rows * n,), generator=generator)
        cell = index[drawn] + torch.arange(rows).repeat_interleave(n) * n_bins
        sums = torch.bincount(cell, gaps[drawn], minlength=rows * n_bins).view(rows, n_bins)
        errors.append(sums.abs().sum(1) / n)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.quantile(torch.cat(errors), ends)
    return float(low), float(high)


def fit_temperature(margins: Tensor, labels: Tensor) -> float:
    """The temperature T > 0 that minimises the NLL of softmax(margins / T) on validation data.

    With b = 1/T the NLL is convex; its derivative 1/n sum_i (E_p[margin_i] - margin_i[label_i]) is bisected
    in ln b, in float64. T stays within 1/50 and 1000 times the mean over samples of (max margin - mean
    margin): the lower bound is taken when the data are separable (every label has the largest margin), the
    upper one when margins say nothing about labels. Equal margins give 1. Guo et al., ICML 2017, section 4.2.

    `margins` (n, classes): potential minus threshold at the decision; `labels` (n,).
    """
    require_classes(margins, labels)
    scores = margins.double()
    if not bool(scores.isfinite().all()):
        raise DataError("margins hold NaN or infinity; a temperature cannot be fitted to them")
    scores = scores - scores.amax(dim=1, keepdim=True)
    spread = float(-scores.mean())
    if spread == 0:
        return 1.0
    given = scores.gather(1, labels.long().unsqueeze(1)).mean()

    def slope(inverse: float) -> float:
        expected = (torch.softmax(scores * inverse, dim=1) * scores).sum(dim=1).mean()
        return float(expected - given)

    low, high = 1 / (_HOTTEST * spread), 1 / (_COLDEST * spread)  # of b
    if slope(low) >= 0:
        return 1 / low
    if slope(high) <= 0:
        return 1 / high
    for _ in range(50):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return float((low * high) ** -0.5)


def _bins(confidence: Tensor, correct: Tensor, n_bins: int, binning: Binning) -> tuple[Tensor, Tensor]:
    """The n_bins + 1 edges, float64, and the bin of each sample."""
    require_samples("confidence", confidence, correct)
    if n_bins < 1:
        raise DataError(f"n_bins is {n_bins}; at least 1 is needed")
    if not bool(((confidence >= 0) & (confidence <= 1)).all()):
        raise DataError("confidence must lie in [0, 1] and must not be NaN")
    edges = torch.arange(n_bins + 1, dtype=torch.float64) / n_bins
    if binning == "mass":
        n = len(confidence)
        ranks = torch.arange(1, n_bins) * n  # upper edge b: the value of rank ceil(b n / n_bins)
        values = confidence.sort().values.double()
        edges[1:-1] = values[((ranks + n_bins - 1) // n_bins - 1).clamp(min=0)]
    index = torch.bucketize(confidence.contiguous(), edges[1:-1].to(confidence.dtype))
    return edges, index
