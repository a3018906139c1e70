"""Votes, the rule: the perceptron's, on latents whose signs vote, with an average that decides which way is safe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from votes_network import Votes, VotesNetwork

from bitspike.coding import FirstSpike
from bitspike.contracts import Batch, Learner, Progress, StepReport, Task
from bitspike.errors import UsageError
from bitspike.experiment import Experiment, Rule
from bitspike.ranges import Range, between
from bitspike.recipes.first_spike_race import bs4nn_digits
from bitspike.settings import Optimizer


@dataclass(frozen=True)
class Perceptron(Rule):
    """w <- w + lr ((1 - m) d + m average of d), d = mean over wrong samples of x (y - p)."""

    inertia: float = 0.5
    """share m of the average of past steps"""

    networks: ClassVar = (Votes,)
    codings: ClassVar = (FirstSpike,)
    kinds: ClassVar = ("binary", "bernoulli")
    ranges: ClassVar[dict[str, Range]] = {"inertia": between(0, 1, high_open=True)}

    def check(self, experiment: Experiment) -> None:
        """One step is not enough to be early in."""
        if experiment.coding.n_steps < 2:
            raise UsageError("Perceptron needs coding.n_steps of 2 or more")

    def build(self, experiment: Experiment, task: Task, generator: torch.Generator) -> VotesNetwork:
        """Latents as `weights` says."""
        network = VotesNetwork(
            task.n_inputs, task.n_classes, experiment.coding, experiment.weights, generator
        )
        return network.to(task.device)

    def learner(self, network: VotesNetwork, experiment: Experiment) -> PerceptronLearner:
        """Plain steps with inertia."""
        return PerceptronLearner(self, network, experiment)


class PerceptronLearner(Learner):
    """`average`: of past steps, `(n_in, n_classes)`."""

    def __init__(self, rule: Perceptron, network: VotesNetwork, experiment: Experiment) -> None:
        self.rule, self.network, self.settings = rule, network, experiment.optimizer
        assert isinstance(experiment.network, Votes)
        self.scale = experiment.network.scale
        self.average = torch.zeros_like(network.latents[0].data)

    @torch.no_grad()
    def step(self, batch: Batch, progress: Progress, generator: torch.Generator) -> StepReport:
        """One step by a mini-batch."""
        latent, m = self.network.latents[0], self.rule.inertia
        worth = (self.network.n_steps - batch.inputs).float() / self.network.n_steps
        p = (worth @ self.network.synapse.forward(latent, generator) / self.scale).softmax(1)
        truth = torch.nn.functional.one_hot(batch.labels, p.shape[1]).to(p.dtype)
        step = worth.T @ (truth - p) / len(batch.labels)
        self.average.mul_(m).add_(step, alpha=1 - m)
        latent.add_(
            self.average, alpha=self.settings.lr * self.settings.factor(progress.share, progress.epoch)
        )
        self.network.synapse.bound(latent)
        loss = -p.gather(1, batch.labels[:, None]).clamp(min=1e-9).log().sum()
        fired = float((p.argmax(1)[:, None] == torch.arange(p.shape[1], device=p.device)).float().mean())
        n = len(batch.labels)
        return StepReport(float(loss), n, int((p.argmax(1) == batch.labels).sum()), (fired * n,))

    def state_dict(self) -> dict[str, Tensor]:
        """The average."""
        return {"average": self.average}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take it back."""
        self.average.copy_(state["average"])


votes_digits = replace(
    bs4nn_digits,
    name="votes-digits",
    network=Votes(scale=8.0),
    rule=Perceptron(),
    optimizer=Optimizer(lr=0.5),
    training=replace(bs4nn_digits.training, epochs=8),
)
