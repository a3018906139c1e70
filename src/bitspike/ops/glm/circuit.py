"""What a circuit does with its potentials, in plain PyTorch: log-probabilities, divergences, label trains.

Rows stand value-major, c * n + i. VOWEL specification, equations (3) to (5).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bitspike.ops import elementary
from bitspike.ops.glm.chance import exponentials


class Chances(NamedTuple):
    """p `(..., values, n)` and ln p of every value, and of silence `(..., n)`."""

    p: Tensor
    log_p: Tensor
    log_silent: Tensor


def chances(u: Tensor, values: int) -> Chances:
    """p_c = e_c / (e_0 + e_1 + ... + e_C), by `exponentials`, of potentials `u` `(..., values * n)`."""
    u = u.reshape(*u.shape[:-1], values, -1)
    e, total, m = exponentials(u)
    log_total = elementary.log(total) + m
    return Chances(e / total.unsqueeze(-2), u - log_total.unsqueeze(-2), -log_total)


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
