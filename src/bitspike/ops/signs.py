"""Signs and draws of latents, differentiable straight through."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Sign(torch.autograd.Function):
    """w = +1 where latent >= 0, else -1; the gradient passes unchanged (straight-through)."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor) -> Tensor:
        return torch.copysign(latent.new_ones(()), latent + 0.0)  # + 0.0 turns -0 into +0

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _Draw(torch.autograd.Function):
    """w = +1 where `plus`, else -1; the gradient passes unchanged to the latent."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, plus: Tensor) -> Tensor:
        return torch.where(plus, 1.0, -1.0).to(latent.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def bernoulli(latent: Tensor, generator: torch.Generator) -> Tensor:
    """w = +1 with probability sigmoid(2 latent), else -1; dL/dlatent := dL/dw at the draw.

    For a loss that is linear in each weight this is the natural gradient of E[loss] in the natural parameter `latent`
    (its gradient in the mean tanh(latent)): BiSNN specification, section 5, with s = 1.
    """
    u = torch.rand(latent.shape, generator=generator)
    plus = u.to(latent.device) * (1 + torch.exp((-2 * latent.detach()).clamp(-40, 40))) < 1
    weight: Tensor = _Draw.apply(latent, plus)  # type: ignore[no-untyped-call]
    return weight


def sign_straight_through(latent: Tensor) -> Tensor:
    """w = sgn(latent) with sgn(0) = +1, so that one bit holds it; dL/dlatent := dL/dw (BS4NN spec, equation 15)."""
    weight: Tensor = _Sign.apply(latent)  # type: ignore[no-untyped-call]
    return weight
