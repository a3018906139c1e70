"""The published, dense formulation of an S4NN training step: one-hot over all bins, matrix product,
cumulative sum.

Cost grows with n_steps and with every dark pixel; it is the benchmark's rival, and a second witness of the
reference.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.ops.s4nn.reference import causal, delta_below, effective, normalised, targets
from bitspike.ops.s4nn.settings import StepSettings


def layer_times(
    times: Tensor, weight: Tensor, threshold: Tensor | float, n_steps: int, delay: int = 1
) -> Tensor:
    """First-spike times of one layer (equations 2 to 4) by a cumulative sum over all steps.

    `times (batch, n_in)` int64, `weight (n_in, n_out)` -> `(batch, n_out)` int64.
    """
    bins = torch.zeros(*times.shape, n_steps + 1, dtype=weight.dtype, device=weight.device)
    bins.scatter_(2, times[:, :, None], 1.0)
    potential = (weight.t() @ bins[:, :, : n_steps - delay]).cumsum(dim=2)  # (batch, n_out, steps)
    above = potential > threshold
    first = above.to(torch.uint8).argmax(dim=2)
    return torch.where(above.any(dim=2), first + delay, n_steps)


def step(
    inputs: Tensor, labels: Tensor, weights: list[Tensor], alpha: Tensor | None, settings: StepSettings
) -> list[Tensor]:
    """One batched training step, in place on `weights`; returns the firing times of every layer, the input's
    first."""
    layers = [inputs.long()]
    for index, weight in enumerate(weights):
        theta = settings.thresholds[index]
        threshold = theta / alpha[index] if settings.binary and alpha is not None else theta
        used = effective(weight, settings)
        layers.append(layer_times(layers[-1], used, threshold, settings.n_steps, settings.delay))
    delta = (targets(layers[-1], labels, settings) - layers[-1]).to(weights[0].dtype) / settings.n_steps
    delta = normalised(delta) if settings.normalise else delta
    for index in reversed(range(len(weights))):
        weight, eta = weights[index], settings.eta[index]
        mask = causal(layers[index], layers[index + 1], settings).to(weight.dtype)
        gradient = torch.einsum("bj,bij->ij", delta, mask)
        if settings.binary and alpha is not None:
            signs = effective(weight, settings)
            alpha[index] -= settings.mu * (gradient * signs).mean()
        if index:
            below = delta_below(delta, weight, mask)
            delta = normalised(below) if settings.normalise else below
        weight.sub_(eta * gradient).mul_((1 - eta * settings.decay) ** len(inputs))
    return layers
