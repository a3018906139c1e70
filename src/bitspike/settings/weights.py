"""Weight kinds: what a synapse holds while training (the latent) and what the network uses (the weight)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bitspike.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Weights:
    """Kind of weight, start of the latents, clip.

    real: the weight is the latent. binary: +1/-1 by the latent's sign, straight-through. bernoulli: the latent is the
    natural parameter of a posterior over +1/-1, P(+1) = sigmoid(2 latent), trained by draws (`bernoulli`); its mode is
    the sign.
    `hidden`, `output` and `conv` are the (low, high) of the latents' uniform start in hidden dense layers, the output
    layer and convolutions; `ends`: low or high, with equal probability, instead. `clip` bounds the latents after each
    step (None: unbounded).
    """

    kind: Literal["binary", "real", "bernoulli"] = "binary"
    hidden: tuple[float, ...] = (-0.5, 0.5)
    output: tuple[float, ...] = (-0.5, 0.5)
    clip: float | None = 1.0
    conv: tuple[float, ...] = (-0.5, 0.5)
    ends: bool = False

    @property
    def one_bit(self) -> bool:
        """Does a synapse of the network that decides hold one bit?"""
        return self.kind != "real"

    def __post_init__(self) -> None:
        for name, bounds in (("hidden", self.hidden), ("output", self.output), ("conv", self.conv)):
            if len(bounds) != 2 or not bounds[0] < bounds[1]:
                raise UsageError(f"weights.{name} is {bounds}; give (low, high) with low < high")
        if self.clip is not None and not self.clip > 0:
            raise UsageError(f"weights.clip is {self.clip}; it must be positive or None")

    def start(self, *shape: int, is_output: bool, generator: torch.Generator) -> Tensor:
        """Latents of `shape`, `(n_in, n_out)` or that of a convolution, float32, uniform in [low, high)."""
        low, high = self.output if is_output else self.hidden if len(shape) <= 2 else self.conv
        if self.ends:
            return torch.where(torch.rand(shape, generator=generator) < 0.5, low, high)
        return torch.rand(shape, generator=generator) * (high - low) + low

    def forward(self, latent: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The weight that the network uses, differentiable in the latent; bernoulli with a generator: a draw."""
        if self.kind == "bernoulli" and generator is not None:
            return bernoulli(latent, generator)
        return sign_straight_through(latent) if self.one_bit else latent

    def bound(self, latent: Tensor) -> None:
        """Clip the latents in place after an optimiser step."""
        if self.clip is not None:
            with torch.no_grad():
                latent.clamp_(-self.clip, self.clip)
