"""What one S4NN or BS4NN training step needs to know besides weights and data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bitspike.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Relative targets and how errors travel, shared by the step and the rule; times are in steps."""

    gamma: int = 3
    """margin of the relative targets, in steps (6)"""
    silent_target: Literal["early", "none"] = "early"
    """what the true class is told when nobody fires: an early target (7), or nothing (the published BS4NN)"""
    mu: float = 0.0
    """step size of alpha (17), binary weights only"""
    backward_weights: Literal["post", "pre"] = "post"
    """which weights carry the errors down in an online step: after this sample's update (as published), or before"""
    normalise: bool = True
    """divide the errors of a layer by their 2-norm, for each sample"""


@dataclass(frozen=True, kw_only=True)
class StepSettings(Targets):
    """Constants of the rule; `thresholds` (theta) and `eta` hold one value per layer, times are in steps.

    `decay` is lambda of equation 13, `mu` the step size of alpha (equation 17), `silent_target` what the true
    class is told when nobody fires ("early": equation 7, "none": no signal), `backward_weights` which weights
    carry the deltas down in an online step ("post": after this sample's update, as the authors' code; "pre":
    before it; a batch always uses "pre"). `sign_of_zero` is what sgn(0) counts as; 0 exists for the authors'
    convention and only in the reference.
    """

    n_steps: int
    thresholds: tuple[float, ...]
    eta: tuple[float, ...]
    decay: float = 0.0
    delay: int = 1
    binary: bool = False
    clip: float | None = None
    sign_of_zero: Literal[1, 0] = 1

    def __post_init__(self) -> None:
        if len(self.thresholds) != len(self.eta):
            raise UsageError(
                f"{len(self.thresholds)} thresholds, {len(self.eta)} step sizes: give one of each per layer"
            )
        if not 1 <= self.n_steps <= 32766:
            raise UsageError(f"n_steps is {self.n_steps}; spike times are 16-bit, so 1 to 32766 steps")
