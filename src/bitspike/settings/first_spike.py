"""Non-leaky integrate-and-fire neurons that fire at most once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bitspike.contracts import NetworkSettings
from bitspike.errors import UsageError


@dataclass(frozen=True)
class IF(NetworkSettings):
    """Widths of the hidden layers, and steps that a spike takes from layer to layer (0, or 1 as in the S4NN papers)."""

    hidden: tuple[int, ...] = (600,)
    delay: Literal[0, 1] = 0

    def __post_init__(self) -> None:
        if any(width < 1 for width in self.hidden):
            raise UsageError(f"network.hidden is {self.hidden}; every layer needs at least one neuron")
