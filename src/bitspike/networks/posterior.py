"""Networks drawn from a posterior over one-bit weights: any network whose `weights` are of kind bernoulli."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from torch import nn

from bitspike.errors import UsageError
from bitspike.weights import bernoulli, sign_straight_through


def draw(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """A network of binary weights, +1 with probability sigmoid(2 latent); latents are drawn in their order."""
    return _fixed(model, generator)


def mode(model: nn.Module) -> nn.Module:
    """The most probable network: the sign of every latent, sign(0) = +1."""
    return _fixed(model, None)


def decided(model: nn.Module) -> float:
    """Mean |tanh(latent)| over all synapses: 1 where every weight is certain, 0 where all are coin tosses."""
    latents: Any = model.latents
    values = torch.cat([latent.detach().flatten() for latent in latents])
    return float(values.tanh().abs().mean())


@torch.no_grad()
def _fixed(model: nn.Module, generator: torch.Generator | None) -> nn.Module:
    weights: Any = getattr(model, "weights", None)
    if weights is None or weights.kind != "bernoulli":
        kind = getattr(weights, "kind", "no")
        raise UsageError(
            f"a network of {kind} weights has no posterior; train one with weights.kind bernoulli"
        )
    result: nn.Module = copy.deepcopy(model)
    latents: Any = result.latents
    result.weights = dataclasses.replace(weights, kind="binary", clip=None)
    for latent in latents:
        latent.copy_(sign_straight_through(latent) if generator is None else bernoulli(latent, generator))
    return result
