"""Does a model notice inputs unlike those it was trained on? Scores of strangeness, and how well they tell apart.

All scores grow with uncertainty.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bitspike.errors import DataError


def entropy(probabilities: Tensor) -> Tensor:
    """H_i = -sum_c p_i[c] ln p_i[c], in nats, of probabilities (..., classes); 0 ln 0 = 0. Float64."""
    each: Tensor = torch.special.entr(probabilities.double())
    return each.sum(-1)


def least_confidence(probabilities: Tensor) -> Tensor:
    """1 - max_c p_i[c] (n,) float64, of probabilities (n, classes). Hendrycks and Gimpel, ICLR 2017."""
    return 1 - probabilities.double().amax(-1)


def mutual_information(member_probabilities: Tensor) -> Tensor:
    """I_i = H(mean_k p_k) - mean_k H(p_k) >= 0, in nats: how far the members of a committee disagree.

    `member_probabilities` (members, n, classes); result (n,) float64. Depeweg et al., ICML 2018, equation 5.
    """
    if member_probabilities.ndim != 3:
        shape = tuple(member_probabilities.shape)
        raise DataError(f"member probabilities have the shape {shape}; give (members, n, classes)")
    members = member_probabilities.double()
    return (entropy(members.mean(0)) - entropy(members).mean(0)).clamp(min=0)


def auroc(inside: Tensor, outside: Tensor) -> float:
    """P(outside > inside) + 1/2 P(outside = inside) over all pairs of scores: 1 tells all apart, 1/2 is chance.

    `inside` (n,) and `outside` (m,): scores of inputs in and out of the distribution. The area under the ROC curve.
    """
    _require_scores(inside, outside)
    ordered = inside.double().sort().values
    below = torch.searchsorted(ordered, outside.double())
    not_above = torch.searchsorted(ordered, outside.double(), right=True)
    return int((below + not_above).sum()) / (2 * len(inside) * len(outside))


def false_positive_rate(inside: Tensor, outside: Tensor, accepted: float = 0.95) -> float:
    """Share of `outside` with score <= t, with t the smallest score that at least `accepted` of `inside` do not exceed.

    At 0.95 this is "FPR at 95 % TPR" with inputs of the distribution as the positives. Hendrycks et al., ICLR 2019.
    """
    _require_scores(inside, outside)
    if not 0 < accepted <= 1:
        raise DataError(f"accepted is {accepted}; it is a share, above 0 and at most 1")
    rank = max(1, math.ceil(accepted * len(inside) - 1e-9))
    threshold = inside.double().sort().values[rank - 1]
    return int((outside.double() <= threshold).sum()) / len(outside)


def _require_scores(inside: Tensor, outside: Tensor) -> None:
    for name, scores in (("inside", inside), ("outside", outside)):
        if scores.ndim != 1 or len(scores) == 0:
            raise DataError(
                f"{name} has the shape {tuple(scores.shape)}; give one score per input, at least one"
            )
        if bool(scores.isnan().any()):
            raise DataError(f"{name} holds NaN; scores must be numbers")
