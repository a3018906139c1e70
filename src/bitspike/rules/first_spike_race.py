"""The library's own rule for networks of one spike per neuron: a race of output spikes as a likelihood.

The loss is the negative log-likelihood of a competing-risk model of the honest decision (earliest output spike, ties by
potential, silence by the last potential); `ops.first_spike.reference.race_loss` has its equations. Hidden neurons get
their gradient through the running maximum of their potential, `ops.first_spike.reference.layer_backward`: a neuron has
fired by step a iff M(a) > threshold, and the step is differentiated as a triangle of half-width `width`. Weights are
binary (sign, straight-through) or real; thresholds are learned, per neuron, and cost nothing at inference.

Same neuron, same single spike, same integer times and same bits as BS4NN and S4NN (`rules/s4nn.py`), other training.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bitspike.coding import FirstSpike
from bitspike.contracts import Batch, Prediction, StepReport, Task, unwrap
from bitspike.errors import UsageError
from bitspike.metrics.calibration import fit_temperature
from bitspike.networks.decision import Readout, best_operating, candidate_shifts, decide, sweep
from bitspike.networks.first_spike import FirstSpikeNetwork
from bitspike.ops import backend as backends
from bitspike.ops import first_spike as ops
from bitspike.settings import layered

if TYPE_CHECKING:
    from bitspike.experiment import Experiment

CHUNK = 250  # samples decided at a time: keeps the potentials of all slots in cache


@dataclass(frozen=True)
class FirstSpikeRace:
    """Settings of the race loss; potentials are in units of one binary synapse (real weights: of the weights).

    `tau_c` temperature of the classes, `tau_h` of the hazard, `beta` the worth of a silent right answer (below 1
    charges for silence), `width` half-width of the triangular surrogate, `theta_out` the outputs' threshold at the
    start, `p0` the share of images on which a hidden neuron fires at the start, `dropout` the share of hidden spikes
    lost in training, `skip`: samples with tau_c |gradient| below it skip the backward pass.
    """

    tau_c: float = 4.0
    tau_h: float = 4.0
    beta: float = 0.3
    width: float = 16.0
    theta_out: float = 36.0
    p0: float = 0.15
    dropout: float = 0.0
    skip: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("tau_c", "tau_h", "width"):
            if not getattr(self, name) > 0:
                raise UsageError(f"rule.{name} is {getattr(self, name)}; it must be positive")
        for name in ("beta", "p0"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(
                    f"rule.{name} is {getattr(self, name)}; it is a share, above 0 and at most 1"
                )
        if not 0 <= self.dropout < 1:
            raise UsageError(f"rule.dropout is {self.dropout}; it is a share below 1")

    def check(self, experiment: Experiment) -> None:
        """Refuse what the rule cannot train."""
        if not isinstance(experiment.coding, FirstSpike):
            raise UsageError("FirstSpikeRace trains networks of first spikes; set coding to FirstSpike")
        network = layered(experiment.network, "FirstSpikeRace")
        if network.delay != 0:
            raise UsageError(
                "FirstSpikeRace has no delay between layers (a pure shift of time); set network.delay to 0"
            )
        if not network.hidden:
            raise UsageError(
                "FirstSpikeRace needs at least one hidden layer; set network.hidden, for example 600"
            )

    def init(
        self, experiment: Experiment, task: Task, generator: torch.Generator
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Uniform latents; each hidden threshold is the (1 - p0) quantile of max_t V over the sample, at least 0."""
        model = FirstSpikeNetwork(
            task.n_inputs, task.n_classes, experiment.coding.n_steps, layered(experiment.network, "FirstSpikeRace"),
            experiment.weights, generator,
            experiment.backend,
        )  # fmt: skip
        _start_thresholds(model, task.sample, self.p0, self.theta_out, generator)
        settings = experiment.optimizer
        groups = [
            {"params": list(model.latents), "lr": settings.lr, "weight_decay": settings.weight_decay},
            {"params": list(model.thresholds[:-1]), "lr": settings.lr_threshold, "weight_decay": 0.0},
            {"params": [model.thresholds[-1]], "lr": settings.lr_output_threshold, "weight_decay": 0.0},
        ]
        if settings.name == "adam":
            return model, torch.optim.AdamW(groups, fused=True)
        return model, torch.optim.SGD(groups)

    def step(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, batch: Batch, generator: torch.Generator
    ) -> StepReport:
        """One gradient step on the mean loss of the batch; clips latents, keeps thresholds at 0 or above."""
        network = _network(model)
        backend = backends.resolve(network.backend, batch.inputs.device)
        race = model(batch.inputs, self.width, self.dropout, generator)
        losses = ops.race_loss(
            race.margins, race.n_active, batch.labels, tau_c=self.tau_c, tau_h=self.tau_h, beta=self.beta,
            skip=self.skip, backend=backend,
        )  # fmt: skip
        optimiser.zero_grad(set_to_none=True)
        losses.mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        for latent in network.latents:
            network.weights.bound(latent.data)
        for threshold in network.thresholds:
            threshold.data.clamp_(min=0)
        kernels = ops.implementation(backend)
        n_correct = int((kernels.decided(race.margins.detach(), race.n_active) == batch.labels).sum())
        n = len(batch.labels)
        return StepReport(
            float(losses.detach().sum()), n, n_correct, tuple(float(f) * n for f in race.firing)
        )

    def end_epoch(self, model: nn.Module, generator: torch.Generator) -> dict[str, float]:
        """Nothing to do."""
        return {}

    def predict(self, model: nn.Module, inputs: Tensor, generator: torch.Generator) -> Prediction:
        """The honest decision of the network as it stands; see `layers.decision.decide`."""
        network = _network(model)
        if backends.resolve(network.backend, inputs.device) == "native":
            return network.decide_packed(inputs)
        temperature = float(network.temperature)
        return Prediction.concatenate(
            [
                decide(network.readout(part), network.n_steps, temperature)
                for part in torch.split(inputs, CHUNK)
            ]
        )

    def calibrate(self, model: nn.Module, batch: Batch, max_silent: float) -> dict[str, Any]:
        """Shift all output thresholds together to the best validation accuracy with at most `max_silent` silent images,
        then fit the temperature of the probabilities there. Real weights are first put on the grid they ship on."""
        network = _network(model)
        network.snap()
        with torch.no_grad():
            parts = [network.readout(part) for part in torch.split(batch.inputs, CHUNK)]
            readout = _join(parts)
            binary = network.weights.one_bit
            lowest = -float(network.thresholds[-1].min())  # a threshold below 0 would fire before any input
            spacing = 1.0 if binary else self.tau_h / 4
            shifts = [shift for shift in candidate_shifts(spacing) if shift >= lowest]
            points = sweep(readout, batch.labels, network.n_steps, shifts)
            best = best_operating(points, max_silent)
            network.thresholds[-1] += best.shift
            prediction = decide(readout, network.n_steps, 1.0, best.shift)
            temperature = fit_temperature(prediction.potentials, batch.labels)
            network.temperature.fill_(temperature)
        return {
            "threshold_shift": best.shift,
            "temperature": temperature,
            "validation_accuracy": best.accuracy,
            "validation_silent": best.silent,
            "max_silent": max_silent,
            "sweep": [
                {
                    "threshold": self.theta_out + p.shift,
                    **{k: v for k, v in dataclasses.asdict(p).items() if k != "shift"},
                }
                for p in points
            ],
        }


def _network(model: nn.Module) -> FirstSpikeNetwork:
    network = unwrap(model)
    assert isinstance(network, FirstSpikeNetwork)
    return network


def _join(parts: list[Readout]) -> Readout:
    """Readouts of consecutive batches as one; unused slots repeat the last one's values."""
    slots = max(part.margins.shape[1] for part in parts)

    def pad(x: Tensor) -> Tensor:
        extra = slots - x.shape[1]
        return torch.cat([x, x[:, -1:].expand(-1, extra, *x.shape[2:])], 1) if extra else x

    return Readout(
        margins=torch.cat([pad(part.margins) for part in parts]),
        n_active=torch.cat([part.n_active for part in parts]),
        bins=torch.cat([pad(part.bins) for part in parts]),
        spikes=torch.cat([pad(part.spikes) for part in parts]),
        synops=torch.cat([pad(part.synops) for part in parts]),
    )


@torch.no_grad()
def _start_thresholds(
    model: FirstSpikeNetwork, sample: Tensor, p0: float, theta_out: float, generator: torch.Generator
) -> None:
    backend = backends.resolve(model.backend, sample.device)
    kernels = ops.implementation(backend)
    spikes = kernels.sort_times(sample, model.n_steps)
    binary = model.weights.one_bit
    for index, threshold in enumerate(model.thresholds[:-1]):
        weight = model.weight(index, generator)  # of a posterior a draw: the mode may be another network
        maxima, _ = kernels.layer_forward(spikes, weight, threshold, binary)
        last = (spikes.n_active.long() - 1)[:, None, None].expand(-1, 1, maxima.shape[2])
        highest = maxima.gather(1, last)[:, 0, : threshold.numel()].float()
        threshold.copy_(torch.quantile(highest, 1 - p0, dim=0).clamp(min=0))
        _, crossing = kernels.layer_forward(spikes, weight, threshold, binary)
        spikes = kernels.hidden_spikes(spikes, crossing, None)
    model.thresholds[-1].fill_(theta_out)
