"""Several networks that decide together: draws from a posterior, runs of several seeds, snapshots of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitspike.contracts import Prediction
from bitspike.errors import UsageError
from bitspike.networks.posterior import draw
from bitspike.packed import average as arithmetic
from bitspike.packed.average import LEAST, Average
from bitspike.packed.decisions import Decisions


class Committee(nn.Module):
    """`members`: networks of any kind, each with its own `temperature`; `temperature` (buffer) is the committee's own.

    p = mean_k p_k with p_k = softmax(potentials_k / T_k), or, of potentials, p = softmax(mean_k potentials_k / T_k).
    Probabilities are softmax(ln p / T), computed in float64; the decision is the largest p, ties to the lowest index.
    """

    temperature: Tensor

    def __init__(self, members: Sequence[nn.Module], average: Average = "probability") -> None:
        super().__init__()
        if not members:
            raise UsageError("a committee needs at least one member")
        self.members = nn.ModuleList(members)
        self.average: Average = average
        self.register_buffer("temperature", torch.ones(()))

    @torch.no_grad()
    def combine(self, predictions: Sequence[Prediction]) -> Prediction:
        """The committee's decisions from those of its members, in their order.

        The committee has decided when its last member has: decision times are the largest, spikes and additions sums.
        It is silent where all members are; tied are the classes of the largest p. Potentials are ln p (below 1e-30:
        ln 1e-30), a regression's p itself.
        """
        temperatures = [float(member.temperature) for member in self.members]  # type: ignore[arg-type]
        decided = [_decisions(prediction) for prediction in predictions]
        joint = arithmetic.combine(decided, temperatures, self.average)
        potentials = [one.potentials for one in decided]
        members = arithmetic.member_probabilities(potentials, temperatures).swapaxes(0, 1).astype(np.float32)
        p = joint.potentials
        if p.shape[1] > 1:  # no regression
            p = arithmetic.softmax(p, float(self.temperature)).astype(np.float32)
        arrays = {**vars(joint), "probabilities": p, "members": members}
        device = predictions[0].labels.device
        return Prediction(**{name: torch.from_numpy(array).to(device) for name, array in arrays.items()})

    @torch.no_grad()
    def over_time(self, inputs: Any, times: Tensor) -> Tensor:
        """Probabilities had the answer been demanded after step times[k], averaged as in `combine`."""
        found: list[Any] = [member.over_time(inputs, times) for member in self.members]  # type: ignore[operator]
        p = torch.stack(found).double()
        scaled = (
            p.clamp_min(LEAST).log().mean(0)
            if self.average == "potential"
            else p.mean(0).clamp_min(LEAST).log()
        )
        return (scaled / float(self.temperature)).softmax(2).float()


def _decisions(prediction: Prediction) -> Decisions:
    names = [field.name for field in fields(Decisions)]
    return Decisions(**{name: getattr(prediction, name).numpy(force=True) for name in names})


class Ensemble(nn.Module):
    """Draws from a posterior, made anew whenever it is asked: `drawn` is a committee of `draws` networks.

    `posterior` is a network whose weights are of kind bernoulli; `temperature` (buffer) as in `Committee`.
    """

    temperature: Tensor

    def __init__(self, posterior: nn.Module, draws: int, average: Average = "probability") -> None:
        super().__init__()
        self.posterior, self.draws, self.average = posterior, draws, average
        self.register_buffer("temperature", torch.ones(()))

    def drawn(self, generator: torch.Generator) -> Committee:
        """A committee of fresh draws."""
        committee = Committee([draw(self.posterior, generator) for _ in range(self.draws)], self.average)
        committee.temperature.copy_(self.temperature)
        return committee
