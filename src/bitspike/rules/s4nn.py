"""S4NN and BS4NN: temporal backpropagation with relative targets, as published (docs/methods/s4nn.md).

A network is trained by `weights.kind`: "real" is S4NN (Kheradpisheh and Masquelier 2020, arXiv 1910.09495),
"binary" is BS4NN (Kheradpisheh, Mirsadeghi and Masquelier 2021, arXiv 2007.04039). The mathematics is
`ops.s4nn.reference`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from bitspike.coding import FirstSpike
from bitspike.contracts import Batch, Progress, StepReport, Task
from bitspike.errors import BitspikeError, UsageError
from bitspike.experiment import Experiment, Rule
from bitspike.ops.s4nn.settings import StepSettings, Targets
from bitspike.ranges import Range, above, at_least, between, count
from bitspike.rules.gradient import GradientLearner, take_back
from bitspike.settings import IF

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bitspike.networks.first_spike import FirstSpikeNetwork
    from bitspike.ops.s4nn.native import StepSums

UNLIMITED = 2**31 - 1
COUNTERS = ("alpha", "fired", "quota", "seen", "wrong")


@dataclass(frozen=True)
class S4NN(Rule, Targets):
    """Settings of the rule, beside those of `Targets`; potentials in units of the weights (binary: of alpha).

    Step sizes: eta is `optimizer.lr`, times `output_rate` in the output layer; lambda is `optimizer.weight_decay`
    (decoupled, per sample).
    """

    mu: float = 0.01
    """step size of alpha (17), binary weights only"""
    thresholds: tuple[float, ...] = (100.0, 100.0)
    """theta of the hidden layers and of the output"""
    alpha: float = 5.0
    """start of alpha, binary weights only"""
    alpha_output: float | None = None
    """start of alpha in the output layer; None: as in the others"""
    output_rate: float = 1.0
    """step size of the output layer over that of the hidden ones"""
    online: bool = False
    """samples one after the other, whatever the batch size; else one update by the sum over the batch"""
    dead_share: float = 0.001
    """after each epoch hidden neurons that fired on less than this share of the samples get new weights; 0: none"""

    networks: ClassVar = (IF,)
    codings: ClassVar = (FirstSpike,)
    kinds: ClassVar = ("real", "binary")
    ranges: ClassVar[dict[str, Range]] = {
        "gamma": count(0),
        "mu": at_least(0),
        "thresholds": above(0),
        "alpha": above(0),
        "alpha_output": above(0, none=True),
        "output_rate": above(0),
        "dead_share": between(0, 1, high_open=True),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.thresholds) != 2:
            raise UsageError(f"rule.thresholds is {self.thresholds}; give (hidden, output)")

    def check(self, experiment: Experiment) -> None:
        """Refuse margins longer than the window, and online learning by anything but plain steps."""
        n_steps = experiment.coding.n_steps
        if self.gamma >= n_steps:
            raise UsageError(f"rule.gamma is {self.gamma} steps of coding.n_steps = {n_steps}; use fewer")
        if self.online and experiment.optimizer.name != "sgd":
            raise UsageError(
                "rule.online makes plain steps; set optimizer.name to sgd, or rule.online to False"
            )

    def build(self, experiment: Experiment, task: Task, generator: torch.Generator) -> FirstSpikeNetwork:
        """Latents as `weights` says, clipped; thresholds theta / alpha, the same for all neurons of a layer (5)."""
        from bitspike.networks.first_spike import FirstSpikeNetwork

        network = cast(IF, experiment.network)
        model = FirstSpikeNetwork(
            task.n_inputs, task.n_classes, experiment.coding, network, experiment.weights, generator,
            experiment.backend,
        )  # fmt: skip
        for latent in model.latents:
            model.synapse.bound(latent)
        for threshold in model.thresholds:
            threshold.requires_grad_(False)
        for threshold, theta, alpha in zip(
            model.thresholds, self.theta(model), self.scales(model), strict=True
        ):
            threshold.data.fill_(theta / alpha)
        return model.to(task.device)

    def theta(self, network: FirstSpikeNetwork) -> tuple[float, ...]:
        """theta of every layer."""
        hidden, output = self.thresholds
        return (hidden,) * (len(network.latents) - 1) + (output,)

    def scales(self, network: FirstSpikeNetwork) -> tuple[float, ...]:
        """alpha of every layer at the start; 1 for real weights."""
        n_hidden = len(network.latents) - 1
        if network.synapse.kind != "binary":
            return (1.0,) * (n_hidden + 1)
        return (self.alpha,) * n_hidden + (self.alpha if self.alpha_output is None else self.alpha_output,)

    def learner(self, network: FirstSpikeNetwork, experiment: Experiment) -> S4NNLearner:
        """Plain steps in place, sample by sample or by batches, or an optimiser's by the summed gradient."""
        return S4NNLearner(self, network, experiment)


class S4NNLearner(GradientLearner):
    """`alpha` (layers,) float64: BS4NN's scale; thresholds are theta / alpha.

    `fired` int32: in how many samples of this epoch each hidden neuron fired, up to `quota`; `seen`, `wrong`: samples
    of this epoch, and those with an error.
    """

    def __init__(self, rule: S4NN, network: FirstSpikeNetwork, experiment: Experiment) -> None:
        import torch

        self.rule, self.network, settings = rule, network, experiment.optimizer
        last = len(network.latents) - 1
        groups = [
            {"params": [latent], "lr": settings.lr * (rule.output_rate if layer == last else 1.0),
             "weight_decay": settings.weight_decay, "fused": False}  # fused steps differ in their last bits
            for layer, latent in enumerate(network.latents)
        ]  # fmt: skip
        super().__init__(network, settings, groups)
        self.theta = rule.theta(network)
        self.alpha = torch.tensor(rule.scales(network), dtype=torch.float64)
        hidden = sum(latent.shape[1] for latent in list(network.latents)[:-1])
        self.fired = torch.zeros(hidden, dtype=torch.int32)
        self.quota, self.seen, self.wrong = torch.tensor(UNLIMITED), torch.tensor(0), torch.tensor(0)

    def share(self, wrap: object) -> None:
        """Refused: weights are moved in place."""
        raise UsageError("rule S4NN updates weights in place; train it in one process")

    def step(self, batch: Batch, progress: Progress, generator: torch.Generator) -> StepReport:
        """Learn from a batch: online, by one plain step (13), or by the optimiser from the summed gradient."""
        import torch

        from bitspike.ops.s4nn import native

        self.follow(progress)
        network, settings = self.network, self._settings()
        weights = [latent.detach() for latent in network.latents]
        plain = self.settings.name == "sgd"
        counts = self.fired if self.rule.dead_share > 0 and self.fired.numel() else None
        n = len(batch.labels)
        if network.implementation == "native":
            grads = None if plain else [torch.zeros_like(weight) for weight in weights]
            sums = native.step(
                batch.inputs, batch.labels, weights, self.alpha, settings,
                online=self.rule.online, fired=counts, quota=int(self.quota), grads=grads,
            )  # fmt: skip
        else:
            sums, grads = self._reference_step(batch, weights, settings, counts, plain)
        if grads is not None:
            for latent, gradient in zip(network.latents, grads, strict=True):
                latent.grad = gradient
            self.optimiser.step()
            for latent in network.latents:
                network.synapse.bound(latent)
        if settings.binary:
            if not bool((self.alpha > 0).all()):
                raise BitspikeError(f"alpha fell to {self.alpha.tolist()}; take a smaller rule.mu")
            self._set_thresholds()
        self.seen.add_(n)
        self.wrong.add_(sums.n_error)
        widths = [weight.shape[1] for weight in weights[:-1]]
        firing = tuple(fired / width for fired, width in zip(sums.fired, widths, strict=False))
        return StepReport(sums.loss, n, sums.n_correct, firing)

    def end_epoch(self, generator: torch.Generator) -> dict[str, float]:
        """Redraw the incoming weights of hidden neurons that fired on less than `dead_share` of the samples.

        Section 8. Figures: neurons redrawn, share of samples without any error, and alpha of binary layers. The next
        epoch counts only up to what this one would have asked for, so that samples need not be followed to their end.
        """
        import torch

        network, seen = self.network, int(self.seen)
        figures = {"zero_error": 1 - int(self.wrong) / max(seen, 1)}
        if self.rule.dead_share > 0:
            needed, redrawn, start = self.rule.dead_share * seen, 0, 0
            for index, latent in enumerate(list(network.latents)[:-1]):
                n_in, width = latent.shape
                dead = (self.fired[start : start + width] < needed).nonzero().flatten()
                drawn: dict[str, Any] = {"layer": index, "is_output": False, "generator": generator}
                fresh = network.synapse.initial(n_in, len(dead), fans=(n_in, width), **drawn)
                with torch.no_grad():
                    latent[:, dead] = fresh.to(latent)
                network.synapse.bound(latent)
                redrawn, start = redrawn + len(dead), start + width
            self.quota.fill_(math.ceil(needed))
            figures["dead_neurons_redrawn"] = float(redrawn)
        if network.synapse.kind == "binary":
            figures |= {f"alpha_{layer}": value for layer, value in enumerate(self.alpha.tolist(), 1)}
        for counter in (self.fired, self.seen, self.wrong):
            counter.zero_()
        return figures

    def state_dict(self) -> dict[str, Tensor]:
        """The optimiser's, and the counters."""
        return super().state_dict() | {name: vars(self)[name] for name in COUNTERS}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take the state back; thresholds follow alpha."""
        super().load_state_dict({name: tensor for name, tensor in state.items() if name not in COUNTERS})
        take_back({name: vars(self)[name] for name in COUNTERS}, state)
        self._set_thresholds()

    def _set_thresholds(self) -> None:
        """thresholds[l] <- theta / alpha (equation 5)."""
        for threshold, theta, alpha in zip(
            self.network.thresholds, self.theta, self.alpha.tolist(), strict=True
        ):
            threshold.data.fill_(theta / alpha)

    def _settings(self) -> StepSettings:
        groups, rule, network = self.optimiser.param_groups, self.rule, self.network
        progress = groups[0]["lr"] / self.first[0]
        return StepSettings(
            n_steps=network.n_steps,
            thresholds=self.theta,
            eta=tuple(float(group["lr"]) for group in groups),
            gamma=rule.gamma,
            decay=self.settings.weight_decay,
            mu=rule.mu * progress,
            delay=network.delay,
            binary=network.synapse.kind == "binary",
            normalise=rule.normalise,
            backward_weights=rule.backward_weights,
            silent_target=rule.silent_target,
            clip=network.synapse.clip,
        )

    def _reference_step(
        self, batch: Batch, weights: list[Tensor], settings: StepSettings, counts: Tensor | None, plain: bool
    ) -> tuple[StepSums, list[Tensor] | None]:
        import torch

        from bitspike.ops.s4nn import reference
        from bitspike.ops.s4nn.native import StepSums

        inputs, labels, scale = batch.inputs, batch.labels, self.alpha.clone()
        if self.rule.online:
            updated, alpha, traces = reference.online(inputs, labels, weights, scale, settings)
        else:
            updated, alpha, trace = reference.batched(inputs, labels, weights, scale, settings)
            traces = [trace]
        layers = [torch.cat([trace.times[index] for trace in traces]) for index in range(len(weights) + 1)]
        errors = torch.cat([trace.errors for trace in traces])
        decided = torch.cat([trace.decided for trace in traces])
        active = [times < settings.n_steps for times in layers[1:]]
        if counts is not None:
            spikes = torch.cat([layer.sum(0) for layer in active[:-1]]).to(counts.device)
            counts.copy_((counts + spikes).clamp(max=int(self.quota)))
        if alpha is not None and settings.binary:
            self.alpha.copy_(alpha)
        grads = None if plain else reference.gradients(traces[0], settings)
        if plain:
            for weight, new in zip(weights, updated, strict=True):
                weight.copy_(new)
        sums = StepSums(
            loss=float(0.5 * errors.double().square().sum()),
            n_correct=int((decided == labels).sum()),
            n_error=int((errors != 0).any(1).sum()),
            fired=tuple(int(layer.sum()) for layer in active),
        )
        return sums, grads
