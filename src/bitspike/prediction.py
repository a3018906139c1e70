"""Decisions as tensors, with their probabilities."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bitspike.packed.decisions import Decisions

_DECISIONS = tuple(field.name for field in fields(Decisions))


@dataclass(frozen=True)
class Prediction:
    """One honest decision per input, and what it cost: `packed.decisions.Decisions` as tensors, and probabilities."""

    labels: Int[Tensor, " n"]  # the decision, ties broken by potential, then by lowest index
    probabilities: Float[Tensor, "n classes"]
    decision_time: Int[Tensor, " n"]  # in steps; n_steps where no output fired or there is no time
    silent: Bool[Tensor, " n"]  # no output fired
    tied: Bool[Tensor, "n classes"]  # the classes that share the earliest output spike; none when silent
    potentials: Float[Tensor, "n classes"]  # potential minus threshold at the decision
    n_spikes: Int[Tensor, " n"]  # input and hidden spikes up to and including the decision step
    n_synops: Int[Tensor, " n"]  # additions those spikes cause, fan-out counted
    members: Float[Tensor, "n members classes"] | None = None  # of a committee: its members' probabilities

    @staticmethod
    def of(decisions: Decisions, probabilities: Any, members: Any = None) -> Prediction:
        """From the decisions of a packed network; arrays share their memory with the tensors."""
        tensors = {name: torch.from_numpy(array) for name, array in vars(decisions).items()}
        shared = None if members is None else torch.as_tensor(members)
        return Prediction(**tensors, probabilities=torch.as_tensor(probabilities), members=shared)

    def decisions(self) -> Decisions:
        """The decisions as arrays."""
        return Decisions(**{name: getattr(self, name).numpy(force=True) for name in _DECISIONS})

    @staticmethod
    def concatenate(parts: list[Prediction]) -> Prediction:
        """Join the predictions of consecutive batches."""
        joined: dict[str, Any] = {}
        for field in fields(Prediction):
            values = [getattr(part, field.name) for part in parts]
            joined[field.name] = None if values[0] is None else torch.cat(values)
        return Prediction(**joined)

    def to(self, device: torch.device | str) -> Prediction:
        """The same on another device."""
        moved: dict[str, Any] = {
            name: None if value is None else value.to(device) for name, value in vars(self).items()
        }
        return Prediction(**moved)
