"""The library's own rule for networks of one spike per neuron: a race of output spikes as a likelihood.

The loss is the negative log-likelihood of a competing-risk model of the honest decision (earliest output spike, ties by
potential, silence by the last potential); `ops.first_spike.reference.race_loss` has its equations. Hidden neurons get
their gradient through the running maximum of their potential, `ops.first_spike.reference.layer_backward`: a neuron has
fired by step a iff M(a) > threshold, and the step is differentiated as a triangle of half-width `width`. Weights are
binary (sign, straight-through) or real; thresholds are learned, per neuron, and cost nothing at inference.

Same neuron, same single spike, same integer times and same bits as BS4NN and S4NN (`rules/s4nn.py`), other training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from bitspike.coding import FirstSpike
from bitspike.contracts import Batch, Progress, StepReport, Task
from bitspike.errors import UsageError
from bitspike.experiment import Experiment, Rule
from bitspike.ranges import Range, above, between
from bitspike.rules.gradient import GradientLearner
from bitspike.settings import IF

if TYPE_CHECKING:
    import torch

    from bitspike.networks.first_spike import FirstSpikeNetwork


@dataclass(frozen=True)
class FirstSpikeRace(Rule):
    """Settings of the race loss; potentials are in units of one binary synapse (real weights: of the weights)."""

    tau_c: float = 4.0
    """temperature of the classes, in units of potential"""
    tau_h: float = 4.0
    """temperature of the hazard, in units of potential"""
    beta: float = 0.3
    """worth of a silent right answer; below 1 charges for silence"""
    width: float = 16.0
    """half-width of the triangular surrogate, in units of potential"""
    theta_out: float = 36.0
    """the outputs' threshold at the start"""
    p0: float = 0.15
    """share of images on which a hidden neuron fires at the start"""
    dropout: float = 0.0
    """share of hidden spikes lost in training"""
    skip: float = 1e-3
    """samples with tau_c |gradient| below it skip the backward pass"""

    networks: ClassVar = (IF,)
    codings: ClassVar = (FirstSpike,)
    ranges: ClassVar[dict[str, Range]] = {
        "tau_c": above(0),
        "tau_h": above(0),
        "width": above(0),
        "beta": between(0, 1, low_open=True),
        "p0": between(0, 1, low_open=True),
        "dropout": between(0, 1, high_open=True),
    }

    def check(self, experiment: Experiment) -> None:
        """Refuse delays, and networks without a hidden layer."""
        network = cast(IF, experiment.network)
        if network.delay != 0:
            raise UsageError(
                "FirstSpikeRace has no delay between layers (a pure shift of time); set network.delay to 0"
            )
        if not network.hidden:
            raise UsageError(
                "FirstSpikeRace needs at least one hidden layer; set network.hidden, for example 600"
            )

    def build(self, experiment: Experiment, task: Task, generator: torch.Generator) -> FirstSpikeNetwork:
        """Latents as `weights` says; hidden thresholds: (1 - p0) quantile of max_t V over the sample, at least 0."""
        from bitspike.networks.first_spike import FirstSpikeNetwork, Sweep

        network = cast(IF, experiment.network)
        spacing = 1.0 if experiment.weights.one_bit else self.tau_h / 4
        model = FirstSpikeNetwork(
            task.n_inputs, task.n_classes, experiment.coding, network, experiment.weights, generator,
            experiment.backend, Sweep(spacing, self.theta_out),
        ).to(task.device)  # fmt: skip
        model.start_thresholds(task.sample, self.p0, self.theta_out, generator)
        return model

    def learner(self, network: FirstSpikeNetwork, experiment: Experiment) -> FirstSpikeRaceLearner:
        """Gradient steps on the race loss."""
        return FirstSpikeRaceLearner(self, network, experiment)


class FirstSpikeRaceLearner(GradientLearner):
    """Gradient steps on the mean race loss; weights, hidden and output thresholds have step sizes of their own."""

    def __init__(self, rule: FirstSpikeRace, network: FirstSpikeNetwork, experiment: Experiment) -> None:
        self.rule, self.network, settings = rule, network, experiment.optimizer
        groups = [
            {"params": list(network.latents), "lr": settings.lr, "weight_decay": settings.weight_decay},
            {"params": list(network.thresholds[:-1]), "lr": settings.lr_threshold},
            {"params": [network.thresholds[-1]], "lr": settings.lr_output_threshold},
        ]
        super().__init__(network, settings, groups)

    def step(self, batch: Batch, progress: Progress, generator: torch.Generator) -> StepReport:
        """One gradient step; clips latents, keeps thresholds at 0 or above."""
        from bitspike.ops import first_spike as ops

        self.follow(progress)
        rule, network = self.rule, self.network
        backend = network.implementation
        race = self.model(batch.inputs, rule.width, rule.dropout, generator)
        losses = ops.race_loss(
            race.margins, race.n_active, batch.labels, tau_c=rule.tau_c, tau_h=rule.tau_h, beta=rule.beta,
            skip=rule.skip, backend=backend,
        )  # fmt: skip
        self.optimiser.zero_grad(set_to_none=True)
        losses.mean().backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        for latent in network.latents:
            network.synapse.bound(latent.data)
        for threshold in network.thresholds:
            threshold.data.clamp_(min=0)
        kernels = ops.implementation(backend)
        n_correct = int((kernels.decided(race.margins.detach(), race.n_active) == batch.labels).sum())
        n = len(batch.labels)
        return StepReport(
            float(losses.detach().sum()), n, n_correct, tuple(float(f) * n for f in race.firing)
        )
