"""Settings of learning by circuits that fire by chance, shared by kernels and rules. Importing this needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bitspike.ops.glm.topology import Topology
from bitspike.ranges import Range, at_least, between, count


@dataclass(frozen=True)
class Signal:
    """How hidden circuits learn what they did.

    scalar: a reward for all, g = (L - baseline) D; L(t) = sum over t' > t (`same_step`: >= t) of lam^(t' - t - 1) times
    the outputs' ln p, minus alpha times the sum over t' >= t of lam^(t' - t) ln(p / r). importance: g = (M softmax over
    the M draws of L at alpha 0, minus 1) D. vector: g_c = p_c (q_c - sum over c' of p_c' q_c'), q the outputs' errors
    through B, minus alpha times the gradient of KL(p || r).
    """

    signal_ranges: ClassVar[dict[str, Range]] = {
        "draws": count(1),
        "lam": between(0, 1),
        "alpha": at_least(0),
        "silence": between(0, 1, low_open=True, high_open=True),
    }

    signal: Literal["vector", "scalar", "importance"] = "vector"
    """how hidden circuits learn: outputs' errors through feedback (vector), one reward for all (scalar), the draws'
    importance"""
    draws: int = 1
    """draws of the hidden circuits per sample"""
    baseline: Literal["none", "mean", "leave-one-out"] = "none"
    """scalar: what is taken from the reward: nothing, its running mean at that step, or the mean of the other draws"""
    lam: float = 0.5
    """weight of a reward per step that it lies later"""
    alpha: float = 0.0
    """weight of the divergence of hidden circuits from the reference"""
    silence: float = 0.7
    """reference: probability of silence"""
    same_step: bool = False
    """scalar: count the reward of the same step too, as published"""


@dataclass(frozen=True, kw_only=True)
class FLSNNUpdate:
    """FL-SNN's rule, shared by the step and the rule: equations (6) to (11)."""

    update_ranges: ClassVar[dict[str, Range]] = {
        "kappa": between(0, 1, high_open=True),
        "alpha": at_least(0),
        "steps": count(1),
        "beta": between(0, 1, high_open=True, none=True),
    }

    kappa: float = 0.2
    """what traces and the learning signal keep from block to block"""
    alpha: float = 1.0
    """weight of the divergence of hidden circuits from the reference"""
    steps: int = 1
    """steps of a block, after which weights move"""
    beta: float | None = None
    """what N and Dn of the control variate keep, such as 0.05; None: no control variate"""
    normalise: Literal["none", "all", "group"] = "none"
    """reward and divergence divided by nothing, by all circuits, or each by its circuits (as early public code)"""


@dataclass(frozen=True, kw_only=True)
class VOWELUpdate:
    """VOWEL's rule, shared by the step and the rule: equations (5) to (10)."""

    update_ranges: ClassVar[dict[str, Range]] = {
        "kappa": between(0, 1, high_open=True),
        "beta": between(0, 1, high_open=True),
        "gamma": at_least(0),
    }

    kappa: float = 0.2
    """what traces keep from step to step"""
    beta: float = 0.05
    """what N and Dn of the baseline keep"""
    gamma: float = 1.0
    """weight of the divergence of hidden circuits from the reference"""
    baseline: bool = True
    """take the baseline N / Dn from the reward"""
    aliased: bool = False
    """y and e are one tensor, as in the public code: not the rule of the paper"""


@dataclass(frozen=True, kw_only=True)
class FLSNNSettings(FLSNNUpdate):
    """One update by step size `lr`."""

    lr: float

    def divisors(self, topology: Topology) -> tuple[float, float]:
        """What the output's ln p and the divergence of hidden circuits are divided by."""
        n_out = topology.groups[-1].n
        n_hidden = sum(group.n for group in topology.groups[1:-1])
        if self.normalise == "all":
            return n_out + n_hidden, n_out + n_hidden
        return (n_out, max(n_hidden, 1)) if self.normalise == "group" else (1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class VOWELSettings(VOWELUpdate):
    """One update by step size `lr`."""

    lr: float
