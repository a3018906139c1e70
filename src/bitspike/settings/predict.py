"""What decides after training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from bitspike.ranges import Range, check, count


@dataclass(frozen=True)
class Predict:
    """What decides after training, for weights of kind bernoulli.

    map: the most probable network. ensemble: networks drawn anew for every thousand inputs. committee: networks drawn
    once, the same for all inputs and in the model file. BiSNN specification, section 6.
    """

    ranges: ClassVar[Mapping[str, Range]] = {"draws": count(1, 1000)}

    mode: Literal["map", "ensemble", "committee"] = "map"
    """the mode of the posterior (map), draws from it (ensemble), or a fixed committee of draws"""
    draws: int = 10
    """networks of an ensemble or a committee"""
    average: Literal["probability", "potential"] = "probability"
    """what is averaged over them: probabilities, or potentials (`networks.committee`)"""

    def __post_init__(self) -> None:
        check(self, self.ranges, "predict")
