"""Accuracy when inputs are disturbed: spikes moved in time or lost, pixels with noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.coding import SpikeList
from bitspike.errors import UsageError
from bitspike.metrics.correctness import accuracy
from bitspike.prediction import Prediction

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


def jitter_trains(spikes: SpikeList, strength: int, generator: torch.Generator) -> SpikeList:
    """Move each spike by a uniform integer in [-strength, strength], clipped to [1, n_steps - 1].

    Two spikes of a channel that fall into one step become one.
    """
    if strength < 0:
        raise UsageError(f"jitter strength is {strength} steps; it must not be negative")
    shift = torch.randint(-strength, strength + 1, spikes.steps.shape, generator=generator).numpy()
    steps = np.clip(spikes.steps + shift, 1, spikes.n_steps - 1)
    rows = np.repeat(np.arange(len(spikes)), np.diff(spikes.offsets))
    keys = np.unique((rows * spikes.n_steps + steps) * spikes.n_channels + spikes.channels)
    places, channels = np.divmod(keys, spikes.n_channels)
    rows, steps = np.divmod(places, spikes.n_steps)
    return _spike_list(rows, steps, channels, spikes)


def delete_trains(spikes: SpikeList, probability: float, generator: torch.Generator) -> SpikeList:
    """Lose each spike with the given probability, independently."""
    if not 0 <= probability <= 1:
        raise UsageError(f"deletion probability is {probability}; it must lie in [0, 1]")
    kept = (torch.rand(spikes.steps.shape, generator=generator) >= probability).numpy()
    rows = np.repeat(np.arange(len(spikes)), np.diff(spikes.offsets))
    return _spike_list(rows[kept], spikes.steps[kept], spikes.channels[kept], spikes)


def add_noise(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Add to each uint8 pixel normal noise of standard deviation 255 * strength; rounded, clipped to 0..255."""
    if strength < 0:
        raise UsageError(f"noise strength is {strength}; it must not be negative")
    noise = torch.randn(images.shape, generator=generator) * (255 * strength)
    return (images + noise).round().clamp(0, 255).to(torch.uint8)


def _spike_list(rows: Any, steps: Any, channels: Any, like: SpikeList) -> SpikeList:
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(like)))]).astype(np.int64)
    return SpikeList(
        steps.astype(np.int16), channels.astype(np.int32), offsets, like.n_steps, like.n_channels
    )
