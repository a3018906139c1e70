"""Votes, the network: one layer of one-bit synapses without hidden neurons; its settings and what decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from votes_packed import VotesPacked

from bitspike.contracts import Coding, NetworkSettings
from bitspike.networks.base import Decides, LayerFacts, Network
from bitspike.ops.operators import Dense
from bitspike.packed.weights import Signs
from bitspike.prediction import Prediction
from bitspike.ranges import Range, above
from bitspike.settings import Weights


@dataclass(frozen=True)
class Votes(NetworkSettings):
    """Settings of the network."""

    scale: float = 1.0
    """potentials are divided by it while training"""

    hidden: ClassVar[tuple[str, ...]] = ()
    ranges: ClassVar[dict[str, Range]] = {"scale": above(0)}


class VotesNetwork(Network):
    """U_c = sum_i w_ic (n_steps - t_i) after the window; `latents[0]` is `(n_in, n_classes)`."""

    system = "votes"
    decides: Decides = "window"

    def __init__(
        self, n_inputs: int, n_classes: int, coding: Coding, weights: Weights, generator: torch.Generator
    ) -> None:
        super().__init__(coding, n_classes, weights, "reference")
        self.op = Dense(n_inputs, n_classes)
        start = weights.initial(*self.op.weight_shape, layer=0, is_output=True, generator=generator)
        self.latents = nn.ParameterList([start])

    def forward(self, times: Tensor) -> Tensor:
        """Potentials `(batch, n_classes)` of spike times `(batch, n_in)`."""
        potentials: Tensor = (self.n_steps - times).float() @ self.synapse.forward(self.latents[0])
        return potentials

    def _decide(self, inputs: Tensor, generator: torch.Generator | None) -> Prediction:
        potentials, spikes = self(inputs), (inputs < self.n_steps).sum(1)
        silent = spikes == 0
        return Prediction(
            labels=potentials.argmax(1),
            probabilities=(potentials.double() / float(self.temperature)).softmax(1).float(),
            decision_time=torch.where(silent, self.n_steps, self.n_steps - 1),
            silent=silent,
            tied=(potentials == potentials.amax(1, keepdim=True)) & ~silent[:, None],
            potentials=potentials,
            n_spikes=spikes,
            n_synops=spikes * self.n_classes,
        )

    @property
    def anytime(self) -> bool:
        """Votes so far."""
        return True

    @torch.no_grad()
    def over_time(self, inputs: Tensor, times: Tensor) -> Tensor:
        """The votes of the spikes up to each step."""
        votes = [self(torch.where(inputs <= time, inputs, self.n_steps)) for time in times]
        return (torch.stack(votes, 1).double() / float(self.temperature)).softmax(2).float()

    @property
    def layers(self) -> tuple[LayerFacts, ...]:
        """Inputs and outputs."""
        n = self.op.n_in * self.op.n_out
        return LayerFacts("input", self.op.n_in), LayerFacts("output", self.op.n_out, n, n, self.op)

    def packed(self) -> VotesPacked:
        """Sign bits."""
        weight = self.synapse.forward(self.latents[0]).numpy(force=True)
        return VotesPacked(Signs.of(weight > 0), self.n_steps)
