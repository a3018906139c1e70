"""The optimiser and its schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bitspike.errors import UsageError
from bitspike.ranges import Range, above, at_least, between, check

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Optimizer:
    """The optimiser, its first step sizes and how they shrink.

    The first `hold` of the run is spent at the first step sizes; then, over the batches that are left, cosine: to 0,
    linear and exponential: to `final` times the first. inverse-sqrt: divided by sqrt(n) in epoch n = 0, 1, 2, ...
    (by 1 in epoch 0).
    """

    ranges: ClassVar[Mapping[str, Range]] = {
        "lr": above(0),
        "lr_threshold": at_least(0),
        "lr_output_threshold": at_least(0),
        "weight_decay": at_least(0),
        "hold": between(0, 1, high_open=True),
        "final": between(0, 1, low_open=True),
    }

    name: Literal["adam", "sgd"] = "adam"
    """adam (with decoupled weight decay), or sgd: plain steps"""
    lr: float = 1e-2
    """first step size of the weights"""
    lr_threshold: float = 0.05
    """first step size of hidden thresholds, where they are learned"""
    lr_output_threshold: float = 0.05
    """first step size of output thresholds, where they are learned"""
    weight_decay: float = 0.0
    """decay of the weights: w <- w (1 - lr * weight_decay) in every step"""
    schedule: Literal["cosine", "linear", "exponential", "constant", "inverse-sqrt"] = "cosine"
    """how step sizes shrink"""
    hold: float = 0.0
    """the share of the run that passes before step sizes shrink"""
    final: float = 0.01
    """linear, exponential: the last step size, as a share of the first"""

    def __post_init__(self) -> None:
        check(self, self.ranges, "optimizer")
        if self.hold and self.schedule == "inverse-sqrt":
            raise UsageError(
                f"optimizer.hold is {self.hold}, but inverse-sqrt counts epochs from the first; set optimizer.hold to 0"
            )

    def factor(self, progress: float, epoch: int = 0) -> float:
        """Step size relative to the first one, at `progress` in [0, 1] of the run, in epoch 0, 1, ..."""
        if self.schedule == "inverse-sqrt":
            return 1 / math.sqrt(max(1, epoch))
        passed = max(0.0, (progress - self.hold) / (1 - self.hold))
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * passed))
        if self.schedule == "linear":
            return 1 + (self.final - 1) * passed
        if self.schedule == "exponential":
            return float(self.final**passed)
        return 1.0

    def build(self, groups: Sequence[Mapping[str, Any]]) -> torch.optim.Optimizer:
        """The optimiser of parameter groups, each `params` (tensors), `lr` and, where there is decay, `weight_decay`.

        Weight decay has one meaning: w <- w (1 - lr * weight_decay), then the step (AdamW; for plain SGD torch's
        w <- w - lr (g + weight_decay w) is the same). A group without `weight_decay` has none.
        """
        import torch

        own = [{**group, "params": list(group["params"])} for group in groups]
        own = [{"weight_decay": 0.0, **group} for group in own]
        if self.name == "sgd":
            return torch.optim.SGD(own, lr=self.lr)
        tensors = [tensor for group in own for tensor in group["params"]]
        fused = all(
            t.dtype in (torch.float32, torch.float64) and t.device.type in ("cpu", "cuda") for t in tensors
        )
        return torch.optim.AdamW(own, lr=self.lr, fused=fused)
