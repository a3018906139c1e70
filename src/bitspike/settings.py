"""Settings that several rules share: the shape of a network and its optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bitspike.errors import UsageError


@dataclass(frozen=True)
class Network:
    """Widths of the hidden layers, and steps that a spike takes from layer to layer (0, or 1 as in the S4NN papers)."""

    hidden: tuple[int, ...] = (600,)
    delay: Literal[0, 1] = 0

    def __post_init__(self) -> None:
        if any(width < 1 for width in self.hidden):
            raise UsageError(f"network.hidden is {self.hidden}; every layer needs at least one neuron")


@dataclass(frozen=True)
class Optimizer:
    """The optimiser and its step sizes: of the weights, of hidden thresholds, of output thresholds.

    `cosine` takes the steps to 0 over all batches of the run, `exponential` to `final` times the start.
    """

    name: Literal["adam", "sgd"] = "adam"
    lr: float = 1e-2
    lr_threshold: float = 0.05
    lr_output_threshold: float = 0.05
    weight_decay: float = 0.0
    schedule: Literal["cosine", "exponential", "constant"] = "cosine"
    final: float = 0.01

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise UsageError(f"optimizer.lr is {self.lr}; a step size must be positive")
        if not 0 < self.final <= 1:
            raise UsageError(f"optimizer.final is {self.final}; it is a share of the first step size, 0 to 1")

    def factor(self, progress: float) -> float:
        """Step size relative to the first one, at `progress` in [0, 1] of the run."""
        import math

        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
        if self.schedule == "exponential":
            return float(self.final**progress)
        return 1.0
