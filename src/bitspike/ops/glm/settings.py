"""Settings of learning by circuits that fire by chance, shared by kernels and rules. Importing this needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

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
