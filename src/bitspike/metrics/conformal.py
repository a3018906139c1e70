"""Split conformal prediction: sets of classes that hold the label with a probability chosen beforehand.

The score of a class is 1 - p[class]. If calibration data and new data are exchangeable, the set of all classes with a
score <= q, q the threshold below, holds the label of a new input with probability >= 1 - alpha, whatever the model
(Vovk, Gammerman and Shafer 2005; Papadopoulos et al. 2002; Sadinle, Lei and Wasserman, JASA 2019). The probability is
that over new inputs and calibration data together; `coverage_range` says how far one set of calibration data strays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import DataError, UsageError
from bitspike.metrics._checks import require_probabilities, require_samples
from bitspike.packed import conformal

GRID = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # few, for they are bytes of the model file
_LOOSER = 1e-4


def label_scores(probabilities: Tensor, labels: Tensor) -> Tensor:
    """1 - p_i[label_i], (n,) float64; `probabilities` (n, classes), `labels` (n,)."""
    require_probabilities(probabilities, labels)
    return 1 - probabilities.double().gather(1, labels.long().unsqueeze(1)).squeeze(1)


def conformal_threshold(scores: Tensor, alpha: float) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest of the `scores` (n,) of calibration data; infinity where n is less."""
    n = len(scores)
    rank = _rank(n, alpha)
    return float(scores.double().sort().values[rank - 1]) if rank <= n else math.inf


def coverage_range(n: int, alpha: float, level: float = 0.95) -> tuple[float, float]:
    """The range that holds the coverage of new inputs with probability `level`, by one threshold of `n` samples.

    Over calibration sets the coverage is Beta(k, n + 1 - k), k = ceil((n + 1)(1 - alpha)), where scores have no ties:
    mean k / (n + 1), variance mean (1 - mean) / (n + 2). Ends are its (1 - level)/2 and (1 + level)/2 quantiles; (1, 1)
    where k > n, for then sets hold every class. Raises `UsageError` on an `alpha` or `level` outside (0, 1). Vovk,
    ACML 2012, proposition 2a.
    """
    if not 0 < level < 1:
        raise UsageError(f"level is {level}; it must lie between 0 and 1")
    k = _rank(n, alpha)
    if k > n:
        return 1.0, 1.0
    j = torch.arange(k, n + 1, dtype=torch.float64)
    ways = math.lgamma(n + 1) - torch.lgamma(j + 1) - torch.lgamma(n + 1 - j)

    def quantile(share: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(50):
            x = (low + high) / 2
            below = float(
                (ways + j * math.log(x) + (n - j) * math.log1p(-x)).exp().sum()
            )  # P(Binomial(n, x) >= k)
            low, high = (x, high) if below < share else (low, x)
        return (low + high) / 2

    return quantile((1 - level) / 2), quantile((1 + level) / 2)


def conformal_grid(scores: Tensor, alphas: tuple[float, ...] = GRID) -> list[tuple[float, float]]:
    """(alpha, threshold) for every alpha whose threshold exists, loosened a little, for a model file.

    1 - threshold is made smaller by 0.005 to 0.015 % and has five digits: the class on the edge stays in the set
    where another engine's probabilities differ in their last bits.
    """
    pairs = []
    for alpha in sorted(alphas):
        exact = conformal_threshold(scores, alpha)
        if exact <= 1:
            pairs.append((alpha, round(1 - float(f"{(1 - exact) * (1 - _LOOSER):.5g}"), 15)))
    return pairs


def prediction_sets(probabilities: Tensor, threshold: float) -> Tensor:
    """The classes with 1 - p <= threshold, bool (n, classes); they can be none."""
    return _sets(probabilities, threshold)


def set_figures(sets: Tensor, labels: Tensor) -> dict[str, float]:
    """coverage (share of sets that hold the label), mean_set_size, and the shares of singletons and empty sets."""
    require_samples("sets", sets, labels)
    size = sets.sum(1)
    held = sets.gather(1, labels.long().unsqueeze(1))
    return {
        "coverage": _mean(held),
        "mean_set_size": _mean(size),
        "singletons": _mean(size == 1),
        "empty": _mean(size == 0),
    }


@dataclass(frozen=True)
class EarlyStopping:
    """When to answer, and the threshold of the sets at that time.

    An input is answered at the first time k at which its preliminary set {c: 1 - p_k[c] <= preliminary[k]} holds at
    least one and at most `size` classes, else at the last. Its set is {c: 1 - p_k[c] <= threshold} at that time k.
    """

    preliminary: Tensor  # (n_times,) float64
    threshold: float
    size: int = 1
    n_samples: int = 0  # that `threshold` comes from

    def stop(self, probabilities: Tensor) -> Tensor:
        """The place of the stopping time, int64 (n,), of `probabilities` over time (n, n_times, classes)."""
        count = _sets(probabilities, self.preliminary[:, None].numpy()).sum(2)
        ready = (count >= 1) & (count <= self.size)
        ready[:, -1] = True
        return ready.to(torch.uint8).argmax(1)

    def sets(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """The sets at the stopping times, bool (n, classes), and the places of those times, int64 (n,)."""
        place = self.stop(probabilities)
        return prediction_sets(_at(probabilities, place), self.threshold), place


def early_stopping(
    probabilities: Tensor, labels: Tensor, alpha: float, generator: torch.Generator, size: int = 1
) -> EarlyStopping:
    """Learn when to stop on one half of the calibration data, and the threshold at that time on the other.

    `probabilities` (n, n_times, classes) over time, `labels` (n,); the halves are drawn by `generator`. The stopping
    rule is fixed before the second half is looked at, so the scores at the stopping time are exchangeable with that of
    a new input: coverage >= 1 - alpha holds as for `conformal_threshold`, and with the range of half as many data.
    """
    _require_over_time(probabilities, labels)
    if size < 1:
        raise DataError(f"size is {size}; a set that is small enough to answer holds at least 1 class")
    if len(labels) < 2:
        raise DataError("early stopping needs at least 2 calibration samples, one for each half")
    order = torch.randperm(len(labels), generator=generator)
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    thresholds = [
        conformal_threshold(label_scores(probabilities[first, k], labels[first]), alpha)
        for k in range(probabilities.shape[1])
    ]
    rule = EarlyStopping(torch.tensor(thresholds, dtype=torch.float64), math.inf, size)
    held = probabilities[second]
    stopped = _at(held, rule.stop(held))
    final = conformal_threshold(label_scores(stopped, labels[second]), alpha)
    return EarlyStopping(rule.preliminary, final, size, len(second))


def early_figures(
    rule: EarlyStopping, probabilities: Tensor, labels: Tensor, times: Tensor, latest: Tensor | None = None
) -> dict[str, Any]:
    """`set_figures` of new data at their stopping times, and `decision_time`, the mean of times[stop] (steps).

    `probabilities` (n, n_times, classes), `times` (n_times,) steps; `latest` (n,): a network that stops by itself
    decides no later than that.
    """
    _require_over_time(probabilities, labels)
    sets, place = rule.sets(probabilities)
    when = times[place]
    return {
        **set_figures(sets, labels),
        "decision_time": _mean(when if latest is None else torch.minimum(when, latest)),
    }


def _require_over_time(probabilities: Tensor, labels: Tensor) -> None:
    if probabilities.ndim != 3 or probabilities.shape[1] == 0:
        shape = tuple(probabilities.shape)
        raise DataError(f"probabilities over time have the shape {shape}; give (n, n_times, classes)")
    require_samples("probabilities", probabilities, labels)


def _rank(n: int, alpha: float) -> int:
    """ceil((n + 1)(1 - alpha)), at least 1, exact where (n + 1) alpha is whole but for rounding."""
    conformal.check_alpha(alpha)
    return max(1, n + 1 - math.floor((n + 1) * alpha + 1e-9))


def _sets(probabilities: Tensor, threshold: Any) -> Tensor:
    return torch.from_numpy(conformal.sets(probabilities.detach().cpu().numpy(), threshold))


def _at(probabilities: Tensor, place: Tensor) -> Tensor:
    return probabilities[torch.arange(len(place)), place]


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
