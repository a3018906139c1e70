"""The optimiser and its schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from bitspike.errors import UsageError


@dataclass(frozen=True)
class Optimizer:
    """The optimiser and its step sizes: of the weights, of hidden thresholds, of output thresholds.

    `cosine` takes the steps to 0 over all batches of the run, `exponential` to `final` times the start; `inverse-sqrt`
    divides them by sqrt(n) in epoch n = 0, 1, 2, ... (by 1 in epoch 0).
    """

    name: Literal["adam", "sgd"] = "adam"
    lr: float = 1e-2
    lr_threshold: float = 0.05
    lr_output_threshold: float = 0.05
    weight_decay: float = 0.0
    schedule: Literal["cosine", "exponential", "constant", "inverse-sqrt"] = "cosine"
    final: float = 0.01

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise UsageError(f"optimizer.lr is {self.lr}; a step size must be positive")
        if not 0 < self.final <= 1:
            raise UsageError(f"optimizer.final is {self.final}; it is a share of the first step size, 0 to 1")

    def factor(self, progress: float, epoch: int = 0) -> float:
        """Step size relative to the first one, at `progress` in [0, 1] of the run, in epoch 0, 1, ..."""
        if self.schedule == "inverse-sqrt":
            return 1 / math.sqrt(max(1, epoch))
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
        if self.schedule == "exponential":
            return float(self.final**progress)
        return 1.0
