"""What a circuit does with its potentials, in plain PyTorch: chances, draws, log-probabilities, errors.

Rows stand value-major, c * n + i. In float32 exp and log are those of `ops.elementary` and sums have one order,
so the native kernels draw the same spikes. VOWEL specification, equations (3) to (5).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bitspike.ops import elementary


class Chances(NamedTuple):
    """p `(..., values, n)` and ln p of every value, and of silence `(..., n)`."""

    p: Tensor
    log_p: Tensor
    log_silent: Tensor


def chances(u: Tensor, values: int) -> Chances:
    """p_c = e_c / (e_0 + e_1 + ... + e_C), e_c = exp(u_c - m), e_0 = exp(-m), m = max(0, u): a softmax with logit 0.

    `u` `(..., values * n)`. In float32 an exponent below -87 counts as -87.
    """
    u = u.reshape(*u.shape[:-1], values, -1)
    m = u.amax(-2).clamp_min(0)
    e = elementary.exp(u - m.unsqueeze(-2))
    total = elementary.exp(-m)
    for c in range(values):
        total = total + e[..., c, :]
    log_total = elementary.log(total) + m
    return Chances(e / total.unsqueeze(-2), u - log_total.unsqueeze(-2), -log_total)


def draw(p: Tensor, uniform: Tensor) -> Tensor:
    """Spikes `(..., values, n)`: the first value c with uniform < p_1 + ... + p_c, added in this order; else none."""
    below = p.new_zeros(uniform.shape, dtype=torch.bool)
    total, spikes = torch.zeros_like(uniform), []
    for c in range(p.shape[-2]):
        total = total + p[..., c, :]
        now = (uniform < total) & ~below
        spikes.append(now)
        below = below | now
    return torch.stack(spikes, -2).to(p.dtype)


def log_likelihood(chance: Chances, spikes: Tensor) -> Tensor:
    """ln p of what every circuit emitted, `(..., n)`, of spikes `(..., values, n)`."""
    return (chance.log_p * spikes).sum(-2) + chance.log_silent * (1 - spikes.sum(-2))


def divergence(chance: Chances, spikes: Tensor, silence: float) -> Tensor:
    """ln(p / r) of what every circuit emitted; r: silent with probability `silence`, each value with (1 - it) / C."""
    values = chance.p.shape[-2]
    log_reference = math.log(silence) + spikes.sum(-2) * (
        math.log((1 - silence) / values) - math.log(silence)
    )
    return log_likelihood(chance, spikes) - log_reference


def divergence_gradient(chance: Chances, silence: float) -> Tensor:
    """d KL(p || r) / du_c = p_c (ln(p_c / r_c) - KL), `(..., values, n)`; the mean over what may be emitted."""
    values = chance.p.shape[-2]
    ratio = chance.log_p - math.log((1 - silence) / values)
    silent = chance.log_silent - math.log(silence)
    kl = (chance.p * ratio).sum(-2) + chance.log_silent.exp() * silent
    return chance.p * (ratio - kl.unsqueeze(-2))


def label_trains(labels: Tensor, pattern: tuple[int, ...], n_steps: int, n: int, values: int) -> Tensor:
    """What outputs are to emit, `(batch, n_steps, values * n)`: the label's circuit the pattern over and over."""
    emits = [[float(pattern[t % len(pattern)] == c) for c in range(1, values + 1)] for t in range(n_steps)]
    is_label = labels[:, None] == torch.arange(n, device=labels.device)
    return (torch.tensor(emits, device=labels.device)[:, :, None] * is_label[:, None, None]).flatten(2)
