"""S4NN and BS4NN: temporal backpropagation with relative targets, as published (docs/methods/s4nn.md).

A network is trained by `weights.kind`: "real" is S4NN (Kheradpisheh and Masquelier 2020, arXiv 1910.09495),
"binary" is BS4NN (Kheradpisheh, Mirsadeghi and Masquelier 2021, arXiv 2007.04039). The mathematics is
`ops.s4nn.reference`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from bitspike.coding import FirstSpike
from bitspike.contracts import Batch, Prediction, StepReport, Task, unwrap
from bitspike.errors import BitspikeError, UsageError
from bitspike.metrics.calibration import fit_temperature
from bitspike.networks.first_spike import FirstSpikeNetwork
from bitspike.ops.s4nn import native as cpu
from bitspike.ops.s4nn import reference
from bitspike.ops.s4nn.function import use_native
from bitspike.ops.s4nn.settings import StepSettings
from bitspike.settings import layered

if TYPE_CHECKING:
    from bitspike.experiment import Experiment

UNLIMITED = 2**31 - 1
CHUNK = 500  # samples decided at a time


class S4NNNetwork(FirstSpikeNetwork):
    """A `FirstSpikeNetwork` with what the rule carries from step to step; checkpoints hold it.

    `alpha (layers,)` float64: BS4NN's scale; `thresholds[l]` is theta / alpha. `fired` int32: in how many
    samples of this epoch each hidden neuron fired, up to `quota`; `seen`, `wrong`: samples of this epoch, and
    those with an error.
    """

    alpha: Tensor
    fired: Tensor
    quota: Tensor
    seen: Tensor
    wrong: Tensor

    def __init__(self, *arguments: Any, theta: tuple[float, ...], alpha: float) -> None:
        super().__init__(*arguments)
        self.theta = theta
        hidden = sum(latent.shape[1] for latent in list(self.latents)[:-1])
        self.register_buffer("alpha", torch.full((len(theta),), alpha, dtype=torch.float64))
        self.register_buffer("fired", torch.zeros(hidden, dtype=torch.int32))
        self.register_buffer("quota", torch.tensor(UNLIMITED))
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("wrong", torch.tensor(0))
        for threshold in self.thresholds:
            threshold.requires_grad_(False)
        self.set_thresholds()

    def set_thresholds(self) -> None:
        """thresholds[l] <- theta / alpha (equation 5)."""
        for threshold, theta, alpha in zip(self.thresholds, self.theta, self.alpha.tolist(), strict=True):
            threshold.data.fill_(theta / alpha)


@dataclass(frozen=True)
class S4NN:
    """Settings of the rule; times are in steps, potentials in units of the weights (binary: of alpha).

    `gamma` the margin of the relative targets (6), `silent_target` what the true class is told when nobody
    fires ("early": (7), "none": the published BS4NN), `thresholds` theta of the hidden layers and of the
    output. Step sizes: eta is `optimizer.lr`, times `output_rate` in the output layer; lambda is
    `optimizer.weight_decay` (decoupled, per sample); `mu` is alpha's (17), `alpha` its start; both only for
    binary weights. `online`: samples one after the other, whatever the batch size; else one update by the sum
    over the batch. `backward_weights` as in section 6.2, online only. After each epoch hidden neurons that
    fired on less than `dead_share` of the samples get new weights.
    """

    gamma: int = 3
    silent_target: Literal["early", "none"] = "early"
    thresholds: tuple[float, ...] = (100.0, 100.0)
    alpha: float = 5.0
    mu: float = 0.01
    output_rate: float = 1.0
    online: bool = False
    backward_weights: Literal["post", "pre"] = "post"
    normalise: bool = True
    dead_share: float = 0.001

    def __post_init__(self) -> None:
        if self.gamma < 0:
            raise UsageError(f"rule.gamma is {self.gamma}; a margin in steps must not be negative")
        if len(self.thresholds) != 2 or not all(theta > 0 for theta in self.thresholds):
            raise UsageError(f"rule.thresholds is {self.thresholds}; give (hidden, output), both positive")
        if not self.alpha > 0 or not self.output_rate > 0:
            raise UsageError("rule.alpha and rule.output_rate must be positive")
        if not 0 <= self.dead_share < 1:
            raise UsageError(f"rule.dead_share is {self.dead_share}; it is a share, 0 (no reset) to below 1")

    def check(self, experiment: Experiment) -> None:
        """Refuse codings without spike times, and online learning by anything but plain steps."""
        layered(experiment.network, "S4NN")
        if experiment.weights.kind == "bernoulli":
            raise UsageError("S4NN trains real and binary weights; set weights.kind to one of these")
        n_steps = _coding(experiment).n_steps
        if self.gamma >= n_steps:
            raise UsageError(f"rule.gamma is {self.gamma} steps of coding.n_steps = {n_steps}; use fewer")
        if self.online and experiment.optimizer.name != "sgd":
            raise UsageError(
                "rule.online makes plain steps; set optimizer.name to sgd, or rule.online to False"
            )

    def init(
        self, experiment: Experiment, task: Task, generator: torch.Generator
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Uniform weights (section 8); one parameter group per layer holds its eta."""
        network, optimizer = layered(experiment.network, "S4NN"), experiment.optimizer
        hidden, output = self.thresholds
        model = S4NNNetwork(
            task.n_inputs,
            task.n_classes,
            _coding(experiment).n_steps,
            network,
            experiment.weights,
            generator,
            experiment.backend,
            theta=(hidden,) * len(network.hidden) + (output,),
            alpha=self.alpha if experiment.weights.kind == "binary" else 1.0,
        )
        groups: list[dict[str, Any]] = []
        for layer, latent in enumerate(model.latents):
            model.weights.bound(latent)
            rate = self.output_rate if layer == len(network.hidden) else 1.0
            groups.append({"params": [latent], "lr": optimizer.lr * rate})
        kind = torch.optim.AdamW if optimizer.name == "adam" else torch.optim.SGD
        return model, kind(groups, lr=optimizer.lr, weight_decay=optimizer.weight_decay)

    def step(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, batch: Batch, generator: torch.Generator
    ) -> StepReport:
        """Learn from a batch: online, by one plain step (13), or by the optimiser from the summed
        gradient."""
        network = _network(model)
        if network is not model:
            raise UsageError("rule S4NN updates weights in place; train it in one process")
        settings = self._settings(network, optimiser)
        weights = [latent.detach() for latent in network.latents]
        plain = isinstance(optimiser, torch.optim.SGD)
        native = use_native(network.backend, weights[0])
        counts = network.fired if self.dead_share > 0 and network.fired.numel() else None
        n = len(batch.labels)
        if native:
            grads = None if plain else [torch.zeros_like(weight) for weight in weights]
            quota = int(network.quota)
            sums = cpu.step(
                batch.inputs, batch.labels, weights, network.alpha, settings,
                online=self.online, fired=counts, quota=quota, grads=grads,
            )  # fmt: skip
        else:
            sums, grads = self._reference_step(network, batch, weights, settings, counts, plain)
        if grads is not None:
            for latent, gradient in zip(network.latents, grads, strict=True):
                latent.grad = gradient
            optimiser.step()
            for latent in network.latents:
                network.weights.bound(latent)
        if settings.binary:
            if not bool((network.alpha > 0).all()):
                raise BitspikeError(f"alpha fell to {network.alpha.tolist()}; take a smaller rule.mu")
            network.set_thresholds()
        network.seen.add_(n)
        network.wrong.add_(sums.n_error)
        widths = [weight.shape[1] for weight in weights[:-1]]
        firing = tuple(count / width for count, width in zip(sums.fired, widths, strict=False))
        return StepReport(sums.loss, n, sums.n_correct, firing)

    def _settings(self, network: S4NNNetwork, optimiser: torch.optim.Optimizer) -> StepSettings:
        groups = optimiser.param_groups
        progress = groups[0]["lr"] / groups[0].get("initial_lr", groups[0]["lr"])
        return StepSettings(
            n_steps=network.n_steps,
            thresholds=network.theta,
            eta=tuple(float(group["lr"]) for group in groups),
            gamma=self.gamma,
            decay=float(groups[0]["weight_decay"]),
            mu=self.mu * progress,
            delay=network.delay,
            binary=network.weights.kind == "binary",
            normalise=self.normalise,
            backward_weights=self.backward_weights,
            silent_target=self.silent_target,
            clip=network.weights.clip,
        )

    def _reference_step(
        self, network: S4NNNetwork, batch: Batch, weights: list[Tensor], settings: StepSettings,
        counts: Tensor | None, plain: bool,
    ) -> tuple[cpu.StepSums, list[Tensor] | None]:  # fmt: skip
        inputs, labels, scale = batch.inputs, batch.labels, network.alpha.clone()
        if self.online:
            updated, alpha, traces = reference.online(inputs, labels, weights, scale, settings)
        else:
            updated, alpha, trace = reference.batched(inputs, labels, weights, scale, settings)
            traces = [trace]
        layers = [torch.cat([trace.times[index] for trace in traces]) for index in range(len(weights) + 1)]
        errors = torch.cat([trace.errors for trace in traces])
        decided = torch.cat([trace.decided for trace in traces])
        active = [times < settings.n_steps for times in layers[1:]]
        if counts is not None:
            spikes = torch.cat([layer.sum(0) for layer in active[:-1]])
            counts.copy_((counts + spikes).clamp(max=int(network.quota)))
        if alpha is not None and settings.binary:
            network.alpha.copy_(alpha)
        grads = None if plain else reference.gradients(traces[0], settings)
        if plain:
            for weight, new in zip(weights, updated, strict=True):
                weight.copy_(new)
        sums = cpu.StepSums(
            loss=float(0.5 * errors.double().square().sum()),
            n_correct=int((decided == labels).sum()),
            n_error=int((errors != 0).any(1).sum()),
            fired=tuple(int(layer.sum()) for layer in active),
        )
        return sums, grads

    @torch.no_grad()
    def end_epoch(self, model: nn.Module, generator: torch.Generator) -> dict[str, float]:
        """Redraw the incoming weights of hidden neurons that fired on less than `dead_share` of the samples
        (section 8).

        Figures: neurons redrawn, share of samples without any error, and alpha of binary layers. The next
        epoch counts only up to what this one would have asked for, so that samples need not be followed to
        their end.
        """
        network = _network(model)
        seen = int(network.seen)
        figures = {"zero_error": 1 - int(network.wrong) / max(seen, 1)}
        if self.dead_share > 0:
            needed, redrawn, start = self.dead_share * seen, 0, 0
            low, high = network.weights.hidden
            for latent in list(network.latents)[:-1]:
                n_in, width = latent.shape
                dead = (network.fired[start : start + width] < needed).nonzero().flatten()
                fresh = torch.rand((n_in, len(dead)), generator=generator) * (high - low) + low
                latent[:, dead] = fresh.to(latent)
                network.weights.bound(latent)
                redrawn, start = redrawn + len(dead), start + width
            network.quota.fill_(math.ceil(needed))
            figures["dead_neurons_redrawn"] = float(redrawn)
        if network.weights.kind == "binary":
            figures |= {f"alpha_{layer}": value for layer, value in enumerate(network.alpha.tolist(), 1)}
        for counter in (network.fired, network.seen, network.wrong):
            counter.zero_()
        return figures

    @torch.no_grad()
    def predict(self, model: nn.Module, inputs: Tensor, generator: torch.Generator) -> Prediction:
        """The honest decision: earliest output, then largest margin, then lowest index; silent: largest
        margin."""
        network = _network(model)
        if use_native(network.backend, network.latents[0]):
            return network.decide_packed(inputs)
        return Prediction.concatenate([_decide(network, part) for part in torch.split(inputs, CHUNK)])

    @torch.no_grad()
    def calibrate(self, model: nn.Module, batch: Batch, max_silent: float) -> dict[str, Any]:
        """Fit the temperature of the probabilities; thresholds stay as the paper has them (`max_silent` is
        not used). Real weights are first put on the grid they ship on."""
        network = _network(model)
        network.snap()
        prediction = self.predict(network, batch.inputs, torch.Generator())
        temperature = fit_temperature(prediction.potentials, batch.labels)
        network.temperature.fill_(temperature)
        return {
            "temperature": temperature,
            "validation_accuracy": float((prediction.labels == batch.labels).double().mean()),
            "validation_silent": float(prediction.silent.double().mean()),
        }


def _coding(experiment: Experiment) -> FirstSpike:
    if not isinstance(experiment.coding, FirstSpike):
        raise UsageError("rule S4NN learns from firing times; set coding to FirstSpike")
    return experiment.coding


def _network(model: nn.Module) -> S4NNNetwork:
    network = unwrap(model)
    assert isinstance(network, S4NNNetwork)
    return network


def _decide(network: S4NNNetwork, inputs: Tensor) -> Prediction:
    n_steps, layers = network.n_steps, [inputs]
    weights = [network.weight(layer).detach() for layer in range(len(network.latents))]
    kernels = cpu if use_native(network.backend, weights[0]) else reference
    for weight, threshold in zip(weights, network.thresholds, strict=True):
        layers.append(kernels.layer_times(layers[-1], weight, threshold.detach(), n_steps, network.delay))
    output = layers[-1].long()
    decision_time = output.min(1).values
    silent = decision_time == n_steps
    until = torch.where(silent, n_steps - 1, decision_time - network.delay)
    potentials = (layers[-2] <= until[:, None]).to(weights[-1].dtype) @ weights[-1] - network.thresholds[-1]
    tied = (output == decision_time[:, None]) & ~silent[:, None]
    labels = potentials.masked_fill(~(tied | silent[:, None]), -torch.inf).argmax(1)
    spikes = [((t <= decision_time[:, None]) & (t < n_steps)).sum(1) for t in layers[:-1]]
    synops = [count * weight.shape[1] for count, weight in zip(spikes, weights, strict=True)]
    return Prediction(
        labels=labels,
        probabilities=(potentials / network.temperature).softmax(1),
        decision_time=decision_time,
        silent=silent,
        tied=tied,
        potentials=potentials,
        n_spikes=torch.stack(spikes).sum(0),
        n_synops=torch.stack(synops).sum(0),
    )
