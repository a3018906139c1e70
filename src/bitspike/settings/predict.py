"""What decides after training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bitspike.errors import UsageError


@dataclass(frozen=True)
class Predict:
    """What decides after training, for weights of kind bernoulli: their `mode`, draws, or a fixed committee of draws.

    map: the most probable network. ensemble: `draws` networks drawn anew for every thousand inputs. committee: `draws`
    networks drawn once, the same for all inputs and in the model file. `average`: of the members' probabilities, or of
    their potentials (`layers.committee`). BiSNN specification, section 6.
    """

    mode: Literal["map", "ensemble", "committee"] = "map"
    draws: int = 10
    average: Literal["probability", "potential"] = "probability"

    def __post_init__(self) -> None:
        if not 1 <= self.draws <= 1000:
            raise UsageError(f"predict.draws is {self.draws}; 1 to 1000 networks")
