"""Local learning of circuits that fire by chance, weights held for a window: the published rules' sums, mended.

A synapse moves by its trace, the post circuit's error and a broadcast signal. With constant weights the rules of
FL-SNN (arXiv 1910.09594) and VOWEL (arXiv 2004.09416) are such sums over a window. Their signal is mostly the reward of
the same step, on which a hidden spike has no influence; here it is that of later steps alone (docs/methods/glm.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from bitspike.coding import EventBins, Latency, Poisson
from bitspike.contracts import Batch, Progress, StepReport, Task
from bitspike.errors import UsageError
from bitspike.experiment import Experiment, Rule
from bitspike.ops.glm.settings import Signal
from bitspike.ranges import Range, above, at_least
from bitspike.rules import circuits
from bitspike.rules.gradient import GradientLearner, take_back
from bitspike.settings import GLM

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bitspike.networks.glm import GLMNetwork
    from bitspike.ops.glm.online import Parameters
    from bitspike.ops.lif.signals import Spikes

BIAS_STEP = 0.01
HIDDEN_RATE = 0.3  # of a hidden circuit, for step sizes
TINY = 1e-6
MOMENTUM = 0.9  # of the mean baseline, over batches


@dataclass(frozen=True)
class ThreeFactor(Rule, Signal):
    """Settings, beside those of `Signal`, which has the equations.

    `optimizer.lr`: of real weights, by how much one Adam step moves a potential at most; of one-bit ones, the latents'
    step.
    """

    baseline: Literal["none", "mean", "leave-one-out"] = "mean"
    """scalar: what is taken from the reward: nothing, its running mean at that step, or the mean of the other draws"""
    feedback: Literal["random", "symmetric"] = "random"
    """vector: fixed random numbers, or the output's own weights"""
    start: float = 0.5
    """standard deviation of the first hidden layer's potentials at the start; 0: weights as `weights` says"""
    scale_step: float = 0.01
    """one-bit weights: step of the logarithm of the scales"""

    networks: ClassVar = (GLM,)
    codings: ClassVar = (Latency, Poisson, EventBins)
    ranges: ClassVar[dict[str, Range]] = {
        **Signal.signal_ranges,
        "start": at_least(0),
        "scale_step": above(0),
    }

    def check(self, experiment: Experiment) -> None:
        """Refuse what the signal cannot be made of."""
        network = cast(GLM, experiment.network)
        if self.baseline == "leave-one-out" and self.signal == "scalar" and self.draws < 2:
            raise UsageError("rule.baseline leave-one-out needs other draws; set rule.draws to 2 or more")
        if self.signal == "importance" and self.draws < 2:
            raise UsageError("rule.signal importance compares draws; set rule.draws to 2 or more")
        if network.top_down:
            raise UsageError(
                "network.top_down: hidden circuits are drawn as if they did not know the label, so they may not hear "
                "outputs, which are held at it while learning; set it to False, or use rule FLSNN"
            )
        if self.signal == "vector" and self.feedback == "symmetric" and len(network.hidden) > 1:
            raise UsageError(
                "rule.feedback symmetric takes the weights from a hidden layer to the output, which lower layers do "
                "not have; set it to random, or network.hidden to one layer"
            )
        if experiment.optimizer.weight_decay:
            raise UsageError("set optimizer.weight_decay to 0: the rule has no decay")

    def build(self, experiment: Experiment, task: Task, generator: torch.Generator) -> GLMNetwork:
        """Weights as `weights` says; the first hidden layer's so that its potentials spread by `start`."""
        import torch

        model = circuits.start(experiment, task, generator)
        traces = float(model.tables[0].abs().sum())
        rate = spikes_per_step(model.spikes(task.sample))
        with torch.no_grad():
            for index, (source, target) in enumerate(model.topology.connections):
                latent = model.latents[index]
                if experiment.weights.one_bit:
                    heard = model.topology.groups[source].n
                    spread = 2 * math.sqrt(rate) if source == 0 else math.sqrt(heard / 2)
                    model.scales[index].fill_(-math.log(traces * spread))
                elif source == 0 and self.start and target != model.topology.output:
                    square = float((model.tables[0] ** 2).sum()) * rate
                    bound = self.start * math.sqrt(3 / square)
                    latent.copy_(torch.rand(latent.shape, generator=generator) * 2 * bound - bound)
        return model.to(task.device)

    def learner(self, network: GLMNetwork, experiment: Experiment) -> ThreeFactorLearner:
        """Adam, or plain steps, on the sums of a batch."""
        return ThreeFactorLearner(self, network, experiment)


def spikes_per_step(spikes: Spikes) -> float:
    """Of an input, a mean over a batch."""
    import torch

    from bitspike.ops.lif.signals import unpack

    return max(float(unpack(spikes, torch.float32).sum(2).mean()), TINY)


class ThreeFactorLearner(GradientLearner):
    """`wanted` `(classes, n_steps, output rows)`: what outputs are to emit.

    `mean` `(n_steps,)`: the running reward; `rate`: input spikes per step, of the first batch. `feedback{l}` `(output
    rows, rows)`: B of hidden layer l.
    """

    def __init__(self, rule: ThreeFactor, network: GLMNetwork, experiment: Experiment) -> None:
        import torch

        from bitspike.ops.glm.circuit import label_trains

        self.rule, self.network, settings = rule, network, experiment.optimizer
        groups: list[dict[str, Any]] = [{"params": [latent], "lr": settings.lr} for latent in network.latents]
        groups.append({"params": list(network.biases), "lr": BIAS_STEP})
        if len(network.scales):
            groups.append({"params": list(network.scales), "lr": rule.scale_step})
        if len(network.feedback):
            groups.append({"params": list(network.feedback), "lr": BIAS_STEP})
        super().__init__(network, settings, groups)
        generator = torch.Generator().manual_seed(experiment.seed)
        hidden, last = network.topology.groups[1:-1], network.topology.groups[-1].rows
        self.random = [torch.randn(last, group.rows, generator=generator) for group in hidden]
        classes, outputs = torch.arange(network.n_classes, device=network.device), network.topology.groups[-1]
        self.wanted = label_trains(
            classes, network.settings.label, network.n_steps, outputs.n, outputs.values
        )
        self.mean = torch.zeros(network.n_steps)
        self.rate = torch.zeros(())

    def share(self, wrap: object) -> None:
        """Refused: no gradient flows through torch."""
        raise UsageError("rule ThreeFactor sums its gradients itself, so it runs in one process only")

    def step(self, batch: Batch, progress: Progress, generator: torch.Generator) -> StepReport:
        """One batch; reported are -ln p of the labels' trains per step, and decisions with outputs held at labels."""
        import torch

        from bitspike.ops import glm

        network, n = self.network, len(batch.labels)
        spikes = network.spikes(batch.inputs, generator)
        if not self.rate:
            self.rate.fill_(spikes_per_step(spikes))
            self._set_first_steps()
        self.follow(progress)
        used = network.parameters_in_use(generator if network.synapse.kind == "bernoulli" else None)
        keys = torch.randint(-(2**63), 2**63 - 1, (n,), generator=generator)
        with torch.no_grad():
            learned = glm.implementation(network.implementation).learn(
                network.topology, used, *network.tables, spikes, self.wanted[batch.labels], keys, self.rule,
                self._feedback(used), self.mean.to(network.device),
            )  # fmt: skip
            self.mean.lerp_(learned.reward.cpu(), 1 - MOMENTUM)
            self._move(learned.gradients, used, n)
        correct = int((learned.scores.argmax(1) == batch.labels).sum())
        firing = tuple(rate * n for rate in learned.rates)
        return StepReport(-float(learned.log_likelihood) / network.n_steps, n, correct, firing)

    def _set_first_steps(self) -> None:
        """Of real weights: lr / (spikes per step of the source times the sum of its filters)."""
        network, groups = self.network, self.network.topology.groups
        if network.synapse.kind != "real":
            return
        rates = [float(self.rate), *(HIDDEN_RATE * group.n for group in groups[1:-1]), 1.0]
        traces = float(network.tables[0].abs().sum())
        for index, (source, _) in enumerate(network.topology.connections):
            self.first[index] = self.settings.lr / (max(rates[source], TINY) * traces)

    def _feedback(self, used: Parameters) -> list[list[Tensor]]:
        """B per hidden layer and filter."""
        topology, n_filters = self.network.topology, len(self.network.tables[0])
        if self.rule.feedback == "random":
            return [[b.to(used.weights[0])] * n_filters for b in self.random]
        found = []
        for layer in range(1, topology.output):
            weight = used.weights[topology.connections.index((layer, topology.output))]
            found.append([weight[:, k].T for k in range(n_filters)])
        return found

    def _move(self, sums: Parameters, used: Parameters, n: int) -> None:
        network = self.network
        for index, gradient in enumerate(sums.weights):
            mask = network.mask(index)
            if mask is not None:
                gradient.mul_(mask)
            if len(network.scales):
                network.scales[index].grad = (gradient * used.weights[index]).sum((0, 1)).div_(-n)
                gradient.mul_(network.scales[index].exp())
            network.latents[index].grad = gradient.div_(-n)
        rest = zip([*network.biases, *network.feedback], [*sums.biases, *sums.feedback], strict=True)
        for parameter, gradient in rest:
            parameter.grad = gradient.div_(-n)
        self.optimiser.step()
        for latent in network.latents:
            network.synapse.bound(latent)

    def state_dict(self) -> dict[str, Tensor]:
        """The optimiser's, the running reward, and B."""
        return super().state_dict() | self._carried()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take the state back."""
        own = self._carried()
        super().load_state_dict({name: tensor for name, tensor in state.items() if name not in own})
        take_back(own, state)
        if self.rate:
            self._set_first_steps()

    def _carried(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "rate": self.rate} | {
            f"feedback{layer}": b for layer, b in enumerate(self.random, start=1)
        }
