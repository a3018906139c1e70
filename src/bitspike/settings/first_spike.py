"""Non-leaky integrate-and-fire neurons that fire at most once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from bitspike.contracts import NetworkSettings
from bitspike.ranges import Range, count


@dataclass(frozen=True)
class IF(NetworkSettings):
    """Non-leaky integrate-and-fire neurons in dense layers; each fires at most once."""

    ranges: ClassVar[Mapping[str, Range]] = {"hidden": count(1)}

    hidden: tuple[int, ...] = (600,)
    """neurons of each hidden layer, from the input on"""
    delay: Literal[0, 1] = 0
    """steps that a spike takes from layer to layer; 1 in the S4NN papers"""

    @property
    def weighted(self) -> tuple[str, ...]:
        """Names of the layers that have weights: all of them."""
        return (*map(str, self.hidden), "output")
