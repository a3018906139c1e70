"""How an online step uses and moves what it learns. Importing this needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bitspike.ranges import Range, above, check

Kind = Literal["real", "straight-through", "hard", "relaxed"]


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Constants of the surrogate and of relaxed draws, shared by the step and the rule."""

    box: float = 0.5
    """half-width of the surrogate, 1 where -box < U <= box"""
    tau: float = 1.0
    """temperature of relaxed draws W = tanh((w + delta)/tau)"""
    s_max: float = 1e3
    """bound of the factor s of relaxed draws"""
    stabiliser: Literal["log", "additive"] = "log"
    """additive: the published form of s, for parity"""

    draw_ranges: ClassVar[dict[str, Range]] = {"box": above(0), "tau": above(0), "s_max": above(0)}


@dataclass(frozen=True)
class Update(Draws):
    """How a step uses and moves the latents w (BiSNN specification, sections 4 and 5).

    real: W = w. straight-through: W = sign(w), sign(0) = +1. hard: W = +1 where u (1 + exp(-2 w)) < 1, else -1, with u
    uniform: a draw from Bern(sigmoid(2 w)). relaxed: W = tanh((w + delta)/tau), delta = 0.5 ln(u/(1-u)) (9).
    w <- w - lr rho (w - w_0) - lr G, with G = g s (Adam: of g s); s is that of (10) where relaxed, else 1.
    `clip` bounds w afterwards. `box`: half-width of the surrogate, 1 where -box < U <= box. `count`: Adam
    steps made before.
    """

    kind: Kind = "straight-through"
    lr: float = 0.1
    rho: float = 0.0
    clip: float | None = None
    count: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        check(self, {"lr": above(0), **self.draw_ranges}, "update")
