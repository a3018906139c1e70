"""BiSNN: spiking networks with binary weights, trained online by local errors (Jang, Skatchkovsky, Simeone, 2020).

arXiv 2012.08300. One update per time step and layer, no gradient across layers or time. The kind of the weights is the
rule: `binary` is ST-BiSNN (straight-through), `bernoulli` Bayes-BiSNN, `real` the baseline with full precision. The
equations are in `ops.srm.reference`; specification: docs/methods/bisnn.md. Defaults are our own, for the published
steps and starts need thousands of epochs; recipes/bisnn_paper.py has them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from bitspike.coding import EventBins, Poisson
from bitspike.contracts import Batch, Progress, StepReport, Task
from bitspike.errors import UsageError
from bitspike.experiment import Experiment, Rule
from bitspike.ops.srm.settings import Draws, Kind, Update
from bitspike.ranges import Range, at_least, between
from bitspike.rules.gradient import GradientLearner, take_back
from bitspike.settings import SRM

PRIOR = re.compile(r"prior\d+")

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bitspike.networks.srm import SRMNetwork
    from bitspike.ops.srm.step import Latents, Moments


@dataclass(frozen=True)
class BiSNN(Rule, Draws):
    """Settings, beside those of `Draws`; `tau`, `s_max`, `stabiliser`: only for weights of kind bernoulli, relaxed."""

    relaxation: Literal["hard", "relaxed"] = "hard"
    """draws of bernoulli weights: hard, W in {-1, +1} with factor s = 1; relaxed with s of (12) (published, tau 1)"""
    tau: float = 0.1
    """temperature of relaxed draws W = tanh((w + delta)/tau)"""
    rho: float = 0.0
    """weight of the divergence from the prior, bernoulli weights only"""
    prior: float = 0.5
    """the prior's P(+1), bernoulli weights only"""

    networks: ClassVar = (SRM,)
    codings: ClassVar = (Poisson, EventBins)
    ranges: ClassVar[dict[str, Range]] = {
        **Draws.draw_ranges,
        "rho": at_least(0),
        "prior": between(0, 1, low_open=True, high_open=True),
    }

    def check(self, experiment: Experiment) -> None:
        """Refuse windows without steps to learn from, and decay."""
        network = cast(SRM, experiment.network)
        first = max(network.burn_in, len(network.hidden))
        if first >= experiment.coding.n_steps:
            raise UsageError(
                f"network.burn_in leaves none of the {experiment.coding.n_steps} steps to learn from; lower it"
            )
        if experiment.optimizer.weight_decay:
            raise UsageError("set optimizer.weight_decay to 0: in BiSNN the pull to the prior is rule.rho")

    def build(self, experiment: Experiment, task: Task, generator: torch.Generator) -> SRMNetwork:
        """Latents as `weights` says; readouts of random signs."""
        from bitspike.networks.srm import SRMNetwork

        coding, network = experiment.coding, cast(SRM, experiment.network)
        n_inputs = coding.channels_of(task.n_inputs)
        model = SRMNetwork(
            coding.map_shape(task.input_shape, n_inputs), task.n_classes, coding, network, experiment.weights,
            generator, experiment.backend,
        )  # fmt: skip
        return model.to(task.device)

    def learner(self, network: SRMNetwork, experiment: Experiment) -> BiSNNLearner:
        """Online steps; `optimizer.lr` is the step of all latents."""
        return BiSNNLearner(self, network, experiment)


class BiSNNLearner(GradientLearner):
    """One update per time step; `priors` holds w_0 of every latent, the natural parameter of its prior."""

    def __init__(self, rule: BiSNN, network: SRMNetwork, experiment: Experiment) -> None:
        import torch

        self.rule, self.network, settings = rule, network, experiment.optimizer
        latents = list(network.latents)
        super().__init__(network, settings, [{"params": latents, "lr": settings.lr}])
        self.adam = settings.name == "adam"
        self._start_moments()
        natural = 0.5 * math.log(rule.prior / (1 - rule.prior))
        bayes = experiment.weights.kind == "bernoulli"
        self.priors = [torch.full_like(latent.data, natural) for latent in latents] if bayes else []

    def share(self, wrap: object) -> None:
        """Refused: weights move in every time step."""
        raise UsageError("BiSNN updates its weights within a step, so it runs in one process only")

    def step(self, batch: Batch, progress: Progress, generator: torch.Generator) -> StepReport:
        """One window of a batch: first `burn_in` steps without learning under one draw, then an update in every step.

        Reported are the loss of the last layer's readout, its mean over the steps that learn, and how many decisions by
        the mean readout are right, under weights that learn meanwhile: no estimate of accuracy.
        """
        import torch

        from bitspike.ops import counter, srm
        from bitspike.ops.srm.step import State

        self.follow(progress)
        network, n = self.network, len(batch.labels)
        kernels = srm.implementation(network.implementation)
        window, target = network.window(batch.inputs, generator), network.target(batch.labels)
        seed = int(torch.randint(2**62, (), generator=generator))
        layers = [network.layer(index) for index in range(len(network.operators))]
        states = [State.zeros(layer.op, n, network.latents[0].data) for layer in layers]
        learned = [self._learned(index) for index in range(len(layers))]
        count = int(self.optimiser.state[network.latents[0]]["step"]) if self.adam else 0
        burn_in = max(network.burn_in, len(layers))
        loss, read = torch.zeros((), device=network.device), torch.zeros((), device=network.device)
        spikes = [states[0].p.new_zeros((n, layer.n_out)) for layer in layers]
        for t, x in enumerate(window):
            learns = t >= burn_in
            update = self._update(count)
            for index, layer in enumerate(layers):
                key = counter.key(seed, max(t, burn_in - 1), 2 * index)
                states[index], out = kernels.step(
                    layer, states[index], x, learned[index], target if learns else None, update, key
                )
                x = out.spikes
                spikes[index] += x
            if learns:
                count += 1
                loss, read = loss + out.losses.sum(), read + out.readout
        if self.adam:
            for latent in network.latents:
                self.optimiser.state[latent]["step"].fill_(count)
        labels = (read[:, 0] > 0).long() if network.n_readouts == 1 else read.argmax(1)
        correct = None if network.n_classes == 1 else int((labels == batch.labels).sum())
        shares = tuple(float(count.mean()) / len(window) * n for count in spikes)
        return StepReport(float(loss) / (len(window) - burn_in), n, correct, shares)

    def end_epoch(self, generator: torch.Generator) -> dict[str, float]:
        """How decided the posterior is: the mean of |tanh w|."""
        from bitspike.networks.posterior import decided

        return {"decided": decided(self.network)} if self.network.synapse.kind == "bernoulli" else {}

    def end_task(self) -> None:
        """What was learned becomes the prior of what comes: w_0 <- w (continual learning, specification section 7)."""
        for prior, latent in zip(self.priors, self.network.latents, strict=False):
            prior.copy_(latent.detach())

    def state_dict(self) -> dict[str, Tensor]:
        """The optimiser's, and `priorK` of latent K."""
        return super().state_dict() | self._carried()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take the state back, in place: the kernels share the optimiser's memory."""
        super().load_state_dict({name: tensor for name, tensor in state.items() if not PRIOR.fullmatch(name)})
        self._start_moments()
        take_back(self._carried(), state)

    def _carried(self) -> dict[str, Tensor]:
        return {f"prior{index}": prior for index, prior in enumerate(self.priors)}

    def _start_moments(self) -> None:
        """Adam's moments are 0 where it has none yet: the kernels move the optimiser's own memory."""
        import torch

        for latent in self.network.latents if self.adam else ():
            if not self.optimiser.state[latent]:
                self.optimiser.state[latent] = {
                    "step": torch.zeros(()), "exp_avg": torch.zeros_like(latent),
                    "exp_avg_sq": torch.zeros_like(latent),
                }  # fmt: skip

    def _learned(self, index: int) -> Latents:
        """What a layer learns, sharing memory with parameters, priors and the optimiser's moments."""
        from bitspike.ops.srm.step import Latents, Moments

        network = self.network
        weight, bias = network.place(index)

        def prior(place: int) -> Tensor | float:
            return self.priors[place] if self.priors else 0.0

        def moments(place: int) -> Moments:
            state = self.optimiser.state[network.latents[place]]
            return Moments(state["exp_avg"], state["exp_avg_sq"])

        both = None
        if self.adam:
            both = (moments(weight), moments(bias) if network.bias else None)
        return Latents(
            weight=network.latents[weight].data,
            bias=network.latents[bias].data if network.bias else None,
            prior=prior(weight),
            prior_bias=prior(bias) if network.bias else 0.0,
            moments=both,
        )

    def _update(self, count: int) -> Update:
        kinds: dict[str, Kind] = {
            "real": "real", "binary": "straight-through", "bernoulli": self.rule.relaxation
        }  # fmt: skip
        rule, synapse = self.rule, self.network.synapse
        return Update(
            kinds[synapse.kind],
            lr=float(self.optimiser.param_groups[0]["lr"]),
            rho=rule.rho if synapse.kind == "bernoulli" else 0.0,
            tau=rule.tau,
            s_max=rule.s_max,
            stabiliser=rule.stabiliser,
            clip=synapse.clip,
            box=rule.box,
            count=count,
        )
