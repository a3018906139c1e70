"""Accuracy when the input spikes are disturbed: moved in time, or lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bitspike.contracts import Prediction
from bitspike.errors import UsageError
from bitspike.metrics.accuracy import accuracy

Predict = Callable[[Tensor], Prediction]  # spike times (n, inputs) -> decisions


def jitter(spike_times: Tensor, strength: int, n_steps: int, generator: torch.Generator) -> Tensor:
    """Move each spike by a uniform integer in [-strength, strength], clipped to [0, n_steps - 1].

    `spike_times` (n, inputs) integer; `n_steps` means never and stays so.
    """
    if strength < 0:
        raise UsageError(f"jitter strength is {strength} steps; it must not be negative")
    shift = torch.randint(-strength, strength + 1, spike_times.shape, generator=generator)
    moved = (spike_times.long() + shift).clamp(0, n_steps - 1).to(spike_times.dtype)
    return torch.where(spike_times >= n_steps, spike_times, moved)


def delete(spike_times: Tensor, probability: float, n_steps: int, generator: torch.Generator) -> Tensor:
    """Lose each spike with the given probability, independently; a lost spike becomes `n_steps` (never)."""
    if not 0 <= probability <= 1:
        raise UsageError(f"deletion probability is {probability}; it must lie in [0, 1]")
    lost = torch.rand(spike_times.shape, generator=generator) < probability
    return spike_times.masked_fill(lost, n_steps)


def jitter_curve(
    predict: Predict, spike_times: Tensor, labels: Tensor, n_steps: int, strengths: Sequence[int],
    generator: torch.Generator,
) -> list[tuple[int, float]]:  # fmt: skip
    """Accuracy under jitter of each strength J (steps): [(J, accuracy), ...], fresh noise for each."""
    return [(j, accuracy(predict(jitter(spike_times, j, n_steps, generator)), labels)) for j in strengths]


def deletion_curve(
    predict: Predict, spike_times: Tensor, labels: Tensor, n_steps: int, probabilities: Sequence[float],
    generator: torch.Generator,
) -> list[tuple[float, float]]:  # fmt: skip
    """Accuracy when spikes are lost with each probability p: [(p, accuracy), ...], fresh noise for each."""
    return [(p, accuracy(predict(delete(spike_times, p, n_steps, generator)), labels)) for p in probabilities]
