"""Weight kinds: what a synapse holds while training (the latent) and what the network uses (the weight)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from bitspike.errors import UsageError


class _Sign(torch.autograd.Function):
    """w = +1 where latent >= 0, else -1; the gradient passes unchanged (straight-through)."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor) -> Tensor:
        return torch.copysign(latent.new_ones(()), latent + 0.0)  # + 0.0 turns -0 into +0

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def sign_straight_through(latent: Tensor) -> Tensor:
    """w = sgn(latent) with sgn(0) = +1, so that one bit holds it; dL/dlatent := dL/dw (BS4NN spec, equation 15)."""
    weight: Tensor = _Sign.apply(latent)  # type: ignore[no-untyped-call]
    return weight


@dataclass(frozen=True)
class Weights:
    """Kind of weight (`real`, or `binary`: +1/-1 by sign, straight-through), start U[low, high) per layer, clip.

    `hidden`, `output` and `conv` are the (low, high) of the latents' uniform start in hidden dense layers, the output
    layer and convolutions; `clip` bounds the latents after each step (None: unbounded).
    """

    kind: Literal["binary", "real"] = "binary"
    hidden: tuple[float, ...] = (-0.5, 0.5)
    output: tuple[float, ...] = (-0.5, 0.5)
    clip: float | None = 1.0
    conv: tuple[float, ...] = (-0.5, 0.5)

    def __post_init__(self) -> None:
        for name, bounds in (("hidden", self.hidden), ("output", self.output), ("conv", self.conv)):
            if len(bounds) != 2 or not bounds[0] < bounds[1]:
                raise UsageError(f"weights.{name} is {bounds}; give (low, high) with low < high")
        if self.clip is not None and not self.clip > 0:
            raise UsageError(f"weights.clip is {self.clip}; it must be positive or None")

    def start(self, *shape: int, is_output: bool, generator: torch.Generator) -> Tensor:
        """Latents of `shape`, `(n_in, n_out)` or that of a convolution, float32, uniform in [low, high)."""
        low, high = self.output if is_output else self.hidden if len(shape) == 2 else self.conv
        return torch.rand(shape, generator=generator) * (high - low) + low

    def forward(self, latent: Tensor) -> Tensor:
        """The weight that the network uses, `(n_in, n_out)`, differentiable in the latent."""
        return sign_straight_through(latent) if self.kind == "binary" else latent

    def bound(self, latent: Tensor) -> None:
        """Clip the latents in place after an optimiser step."""
        if self.clip is not None:
            with torch.no_grad():
                latent.clamp_(-self.clip, self.clip)
