"""Weight kinds: what a synapse holds while training (the latent) and what the network uses (the weight)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bitspike.errors import UsageError
from bitspike.ranges import Range, above, check

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Weights:
    """What a synapse is, and where its latent starts.

    real: the weight is the latent. binary: +1/-1 by the latent's sign, straight-through. bernoulli: the latent is the
    natural parameter of a posterior over +1/-1, P(+1) = sigmoid(2 latent), trained by draws (`ops.signs.bernoulli`);
    its mode is the sign. Latents start uniform between (low, high), normal N(0, gain^2), or xavier: uniform within
    +- gain sqrt(6 / (fan_in + fan_out)).
    """

    ranges: ClassVar[Mapping[str, Range]] = {"clip": above(0, none=True), "gain": above(0)}

    kind: Literal["binary", "real", "bernoulli"] = "binary"
    """what a synapse holds: a real number, +1 or -1 (binary), or a posterior over these (bernoulli)"""
    hidden: tuple[float, ...] = (-0.5, 0.5)
    """uniform start: (low, high) of hidden dense layers"""
    output: tuple[float, ...] = (-0.5, 0.5)
    """uniform start: (low, high) of the output layer"""
    clip: float | None = 1.0
    """the latents stay within +- clip; None: anywhere"""
    conv: tuple[float, ...] = (-0.5, 0.5)
    """uniform start: (low, high) of convolutions"""
    ends: bool = False
    """uniform start: low or high, with equal probability, and nothing between"""
    init: Literal["uniform", "normal", "xavier"] = "uniform"
    """how latents start"""
    gain: tuple[float, ...] = (1.0,)
    """normal and xavier start: one number for all layers, or one per layer with weights"""

    @property
    def one_bit(self) -> bool:
        """Does a synapse of the network that decides hold one bit?"""
        return self.kind != "real"

    def __post_init__(self) -> None:
        check(self, self.ranges, "weights")
        for name, bounds in (("hidden", self.hidden), ("output", self.output), ("conv", self.conv)):
            if len(bounds) != 2 or not -math.inf < bounds[0] < bounds[1] < math.inf:
                raise UsageError(f"weights.{name} is {bounds}; give (low, high) with low < high")
        if not self.gain:
            raise UsageError("weights.gain is empty; give one number, or one per layer with weights")
        if self.init == "uniform" and self.gain != (1.0,):
            raise UsageError(
                "weights.gain belongs to weights.init normal or xavier; choose one, or leave it at 1"
            )
        if self.init != "uniform" and self.ends:
            raise UsageError(
                f"weights.ends belongs to weights.init uniform, not {self.init}; set it to False"
            )

    def check_layers(self, layers: tuple[str, ...]) -> None:
        """Refuse, with `UsageError`, a `gain` that is neither one number nor one for each of these layers, if any."""
        if layers and len(self.gain) not in (1, len(layers)):
            raise UsageError(
                f"weights.gain has {len(self.gain)} numbers, but {len(layers)} layers have weights "
                f"({', '.join(layers)}); give one number, or {len(layers)}"
            )

    def initial(
        self,
        *shape: int,
        layer: int,
        is_output: bool,
        generator: torch.Generator,
        fans: tuple[int, int] | None = None,
    ) -> Tensor:
        """Latents of `shape` as training starts, float32: `(n_in, n_out)`, or `(size, size, channels, n_filters)`.

        `layer` counts layers with weights from 0 on. uniform: in [low, high). normal: N(0, gain^2). xavier: in
        [-a, a), a = gain sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, equation 16); the fans of a convolution
        are those of its window. `fans`: (fan_in, fan_out), where the shape does not say it (biases, some of a layer's
        neurons).
        """
        import torch

        if self.init == "uniform":
            low, high = self.output if is_output else self.hidden if len(shape) <= 2 else self.conv
            if self.ends:
                return torch.where(torch.rand(shape, generator=generator) < 0.5, low, high)
            return torch.rand(shape, generator=generator) * (high - low) + low
        if 1 < len(self.gain) <= layer:
            raise UsageError(
                f"weights.gain has {len(self.gain)} numbers; there is none for layer {layer + 1} with weights"
            )
        gain = self.gain[layer if len(self.gain) > 1 else 0]
        if self.init == "normal":
            return torch.randn(shape, generator=generator) * gain
        window = math.prod(shape[:-2])
        fan_in, fan_out = fans or (window * shape[-2], window * shape[-1])
        bound = gain * math.sqrt(6 / (fan_in + fan_out))
        return torch.rand(shape, generator=generator) * (2 * bound) - bound

    def forward(self, latent: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The weight that the network uses, differentiable in the latent; bernoulli with a generator: a draw."""
        from bitspike.ops.signs import bernoulli, sign_straight_through

        if self.kind == "bernoulli" and generator is not None:
            return bernoulli(latent, generator)
        return sign_straight_through(latent) if self.one_bit else latent

    def bound(self, latent: Tensor) -> None:
        """Clip the latents in place after an optimiser step."""
        import torch

        if self.clip is not None:
            with torch.no_grad():
                latent.clamp_(-self.clip, self.clip)
