"""Networks drawn from a posterior over one-bit weights: any network whose weights are of kind bernoulli."""

from __future__ import annotations

import copy
import dataclasses
from typing import TypeVar

import torch
from torch import Tensor

from bitspike.errors import UsageError
from bitspike.networks.base import Network
from bitspike.ops.signs import bernoulli, sign_straight_through

N = TypeVar("N", bound=Network)


def draw(network: N, generator: torch.Generator) -> N:
    """A network of binary weights, +1 with probability sigmoid(2 latent); latents are drawn in their order."""
    return _fixed(network, generator)


def mode(network: N) -> N:
    """The most probable network: the sign of every latent, sign(0) = +1."""
    return _fixed(network, None)


def decided(network: Network) -> float:
    """Mean |tanh(latent)| over all synapses: 1 where every weight is certain, 0 where all are coin tosses."""
    values = torch.cat([latent.detach().flatten() for latent in _latents(network)])
    return float(values.tanh().abs().mean())


def _latents(network: Network) -> list[Tensor]:
    """What `weights` names latents.K, in order."""
    return [parameter for name, parameter in network.named_parameters() if name.startswith("latents.")]


@torch.no_grad()
def _fixed(network: N, generator: torch.Generator | None) -> N:
    if network.synapse.kind != "bernoulli":
        raise UsageError(
            f"a network of {network.synapse.kind} weights has no posterior; train one with weights.kind bernoulli"
        )
    result = copy.deepcopy(network)
    result.synapse = dataclasses.replace(network.synapse, kind="binary", clip=None)
    for latent in _latents(result):
        latent.copy_(sign_straight_through(latent) if generator is None else bernoulli(latent, generator))
    return result
