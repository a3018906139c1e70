"""Selective prediction: how wrong are the decisions that a model keeps when it may refuse the least confident ones?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bitspike.errors import DataError
from bitspike.metrics._checks import require_samples


@dataclass(frozen=True)
class RiskCoverage:
    """Share of inputs answered, k/n for k = 1..n, and share of wrong ones among them; (n,) float64 each."""

    coverage: Tensor
    risk: Tensor

    @property
    def aurc(self) -> float:
        """Area under the curve, 1/n sum_k risk_k; 0 is perfect."""
        return float(self.risk.mean())

    @property
    def eaurc(self) -> float:
        """AURC minus that of a model with as many errors, all of them less confident than every right decision.

        The least AURC is 1/n sum_{j=1..m} j / (n - m + j) with m errors, exactly (the paper approximates the sum).
        """
        n = len(self.risk)
        m = round(float(self.risk[-1]) * n)
        errors = torch.arange(1, m + 1, dtype=torch.float64)
        return self.aurc - float((errors / (n - m + errors)).sum()) / n


def risk_coverage(confidence: Tensor, correct: Tensor) -> RiskCoverage:
    """Risk of the k most confident decisions: risk_k = (errors among them) / k.

    `confidence` (n,), any score that grows with certainty; `correct` (n,) bool. Among equal confidences risk_k is its
    mean over all orders, so neither labels nor the order of samples break ties. Geifman and El-Yaniv, NeurIPS 2017;
    AURC and excess AURC: Geifman, Uziel and El-Yaniv, ICLR 2019.
    """
    require_samples("confidence", confidence, correct)
    if bool(confidence.isnan().any()):
        raise DataError("confidence holds NaN; a decision without a confidence cannot be ranked")
    ordered, order = confidence.sort(descending=True)
    new = torch.cat([torch.ones(1, dtype=torch.bool), ordered[1:] != ordered[:-1]])
    group = new.cumsum(0) - 1
    size = torch.bincount(group)
    wrong = torch.bincount(group, (~correct.bool()[order]).double(), minlength=len(size))
    errors = (wrong / size)[group].cumsum(0)
    k = torch.arange(1, len(errors) + 1, dtype=torch.float64)
    return RiskCoverage(k / len(errors), errors / k)
