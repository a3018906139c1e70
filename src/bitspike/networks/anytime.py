"""The probabilities of an answer demanded early, at the end of any step."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bitspike.errors import UsageError
from bitspike.networks.base import Network
from bitspike.networks.inputs import chunks


def steps_between(n_steps: int, count: int = 16) -> Int[Tensor, " n_times"]:
    """At most `count` evenly spaced steps, rising, the last one n_steps - 1."""
    even = torch.linspace(n_steps / count - 1, n_steps - 1, count).round().long().clamp(min=0)
    return torch.tensor(sorted(set(even.tolist())))


def check_times(times: Tensor, n_steps: int) -> None:
    """Refuse times that are no steps of the window."""
    if times.ndim != 1 or not len(times) or int(times.min()) < 0 or int(times.max()) >= n_steps:
        raise UsageError(f"times are {times.tolist()}; give steps from 0 to {n_steps - 1}, one at least")


def over_time(
    network: Network, inputs: Any, times: Int[Tensor, " n_times"], batch: int = 200
) -> Float[Tensor, "n n_times classes"]:
    """`network.over_time`, `batch` inputs at a time."""
    return torch.cat([network.over_time(part, times) for part in chunks(inputs, batch)])


def first_spike_probabilities(
    layers: list[Tensor], weight: Tensor, threshold: Tensor, times: Tensor, delay: int, temperature: float
) -> Float[Tensor, "n n_times classes"]:
    """softmax(margins / temperature) of the output neurons at min(t, u), u the step of the decision's potentials.

    `layers`: spike times of the last layer below the outputs `(n, n_hidden)` and of the outputs `(n, classes)`. An
    output spike at time s is decided by the potentials of step u = s - `delay`; after it nothing changes.
    """
    below, outputs = layers
    until = outputs.long().amin(1, keepdim=True) - delay
    margins = [(below <= torch.minimum(until, time)).to(weight.dtype) @ weight - threshold for time in times]
    return (torch.stack(margins, 1).double() / temperature).softmax(2).float()
