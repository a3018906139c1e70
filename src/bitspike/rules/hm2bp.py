"""HM2-BP, hybrid macro/micro level backpropagation of spike trains (Jin, Zhang, Li, NeurIPS 2018, arXiv 1805.07866).

Macro: the loss sees spike counts o only, E = 1/2 sum over outputs with |o - y| > margin of q (o - y)^2. Micro: between
two layers timing is the spike-train level potential e (S-PSP); `ops.lif.function` has the equations. Specification:
docs/methods/hm2bp.md. The settings' defaults are our own, found for mini-batches; the published value of each stands in
its line below, and recipes/hm2bp_paper.py has them all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from bitspike.coding import Cochlea, Direct, EventBins, Poisson
from bitspike.contracts import Batch, Progress, StepReport, Task
from bitspike.errors import DataError, UsageError
from bitspike.experiment import Experiment, Rule
from bitspike.ops.lif.settings import Micro
from bitspike.ranges import Range, above, at_least
from bitspike.rules.gradient import GradientLearner
from bitspike.settings import LIF

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bitspike.networks.lif import LIFNetwork


@dataclass(frozen=True)
class HM2BP(Rule, Micro):
    """Settings; in brackets what the paper's code uses where it differs. Those of the backward pass are `Micro`'s.

    For deep networks, beyond the paper: `silent_ratio`, `saturation` and `clip_norm`. Errors that a saturated neuron
    cannot meet would stay for good and drive whole maps to their limit.
    """

    desired: float = 35.0
    """target count of the true class, spikes in the window"""
    undesired: float = 0.0
    """target count of the other classes (5)"""
    margin: float = 5.0
    """no error within it, in spikes"""
    inject: bool = True
    """a silent target gets a regular train in the backward pass"""
    boost: bool = False
    """weights of wrongly decided samples grow by exp(class error / 20) per epoch (on)"""
    reg: float = 0.0
    """exponential regulariser, added to the gradient: lambda (10)"""
    reg_beta: float = 0.04
    """its beta"""
    reg_limit: float = 8.0
    """its w_max"""
    clip_norm: float | None = None
    """a batch's gradient is scaled down to this norm (beyond the paper)"""

    networks: ClassVar = (LIF,)
    codings: ClassVar = (Direct, Poisson, EventBins, Cochlea)
    ranges: ClassVar[dict[str, Range]] = {
        **Micro.micro_ranges,
        "desired": at_least(1),
        "undesired": at_least(0),
        "margin": at_least(0),
        "reg": at_least(0),
        "reg_limit": above(0),
        "clip_norm": above(0, none=True),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.undesired < self.desired:
            raise UsageError(
                f"rule.undesired is {self.undesired} and rule.desired {self.desired}; needs undesired < desired"
            )
        if self.cutoff is not None and (not self.cutoff > 0 or self.backward_bin > 1):
            raise UsageError("rule.cutoff must be positive (in tau_m), and needs rule.backward_bin = 1")

    def check(self, experiment: Experiment) -> None:
        """Refuse counts that no neuron reaches, and closed forms and cut-offs where they do not exist."""
        network, n_steps = cast(LIF, experiment.network), experiment.coding.n_steps
        most = (n_steps - 1) // (network.refractory + 1)
        if self.desired - self.margin > most:
            raise UsageError(
                f"rule.desired is {self.desired}, but in {n_steps} steps a neuron fires at most {most} times; "
                "lower it, or raise coding.n_steps"
            )
        if self.spsp == "closed" and network.refractory == 0 and isinstance(experiment.coding, Direct):
            raise UsageError(
                "rule.spsp closed resets every neuron in step 1, after a constant current has begun, and without "
                "refractory steps that cuts it; set rule.spsp to trace, or network.refractory to 1 or more"
            )
        if self.cutoff is not None and experiment.backend != "reference":
            raise UsageError(
                "rule.cutoff runs in the slow reference only; set backend to reference, or cutoff to None"
            )
        if self.cutoff is not None and (
            self.spsp != "closed" or any(not layer.isdigit() for layer in network.hidden)
        ):
            raise UsageError("rule.cutoff belongs to spsp closed and dense layers")

    def injected_every(self, n_steps: int, refractory: int) -> int | None:
        """Steps between the spikes that a silent target is given (section 6.4); None where it is given none.

        I = floor(T / desired), but no less than `refractory` + 1, the least of any neuron, and no more than T - 1, so
        that there is a spike.
        """
        if not self.inject:
            return None
        return max(1, min(n_steps - 1, max(refractory + 1, math.floor(n_steps / self.desired))))

    def build(self, experiment: Experiment, task: Task, generator: torch.Generator) -> LIFNetwork:
        """Latents as `weights` says; thresholds are constants (section 6.10)."""
        from bitspike.networks.lif import LIFNetwork

        coding, network = experiment.coding, cast(LIF, experiment.network)
        n_inputs = coding.channels_of(task.n_inputs)
        model = LIFNetwork(
            coding.map_shape(task.input_shape, n_inputs), task.n_classes, coding, network, experiment.weights,
            generator, experiment.backend,
        )  # fmt: skip
        return model.to(task.device)

    def learner(self, network: LIFNetwork, experiment: Experiment) -> HM2BPLearner:
        """Gradient steps by HM2-BP's backward pass; `optimizer.lr` is the step of all weights."""
        return HM2BPLearner(self, network, experiment)


class HM2BPLearner(GradientLearner):
    """One update per batch by its mean gradient; with `boost` a weight per training sample."""

    def __init__(self, rule: HM2BP, network: LIFNetwork, experiment: Experiment) -> None:
        self.rule, self.network, settings = rule, network, experiment.optimizer
        group = {
            "params": list(network.parameters()),
            "lr": settings.lr,
            "weight_decay": settings.weight_decay,
        }
        super().__init__(network, settings, [group])
        self.boost = Boost(network.n_classes) if rule.boost else None

    def step(self, batch: Batch, progress: Progress, generator: torch.Generator) -> StepReport:
        """One update by the mean gradient of the batch; clips latents."""
        import torch

        from bitspike.ops.lif.function import Macro

        self.follow(progress)
        rule, network, n = self.rule, self.network, len(batch.labels)
        with torch.no_grad():
            signal = network.signal(batch.inputs, generator)
        interval = rule.injected_every(network.n_steps, network.neurons[-1].refractory)
        run = self.model(signal, rule, Macro(batch.labels, interval), generator)
        targets = torch.full_like(run.counts, rule.undesired).scatter_(1, batch.labels[:, None], rule.desired)
        error = run.counts - targets
        counted = torch.where(error.abs() > rule.margin, error, 0)
        losses = 0.5 * counted.square().sum(1)
        correct = run.counts.detach().argmax(1) == batch.labels
        weighted = losses
        if self.boost is not None:
            weighted = losses * self.boost.of(batch)
            self.boost.note(batch, ~correct)
        self.optimiser.zero_grad(set_to_none=True)
        weighted.mean().backward()  # type: ignore[no-untyped-call]
        if rule.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(network.parameters(), rule.clip_norm)
        if rule.reg:
            for latent in network.latents:
                assert latent.grad is not None
                latent.grad += regulariser(latent.detach(), rule.reg, rule.reg_beta, rule.reg_limit)
        self.optimiser.step()
        for latent in network.latents:
            network.synapse.bound(latent.data)
        firing = tuple(float(share) * n for share in run.firing)
        return StepReport(float(losses.detach().sum()), n, int(correct.sum()), firing)

    def end_epoch(self, generator: torch.Generator) -> dict[str, float]:
        """Let the weights of wrongly decided samples grow, where `boost` is on."""
        return {} if self.boost is None else self.boost.grow()

    def state_dict(self) -> dict[str, Tensor]:
        """The optimiser's, and `boost.q`, `boost.label`, `boost.wrong` of the samples."""
        return super().state_dict() | ({} if self.boost is None else self.boost.state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take the state back; weights of samples are forgotten where `boost` is off now."""
        own = {name: tensor for name, tensor in state.items() if name.startswith("boost.")}
        super().load_state_dict({name: tensor for name, tensor in state.items() if name not in own})
        if self.boost is not None and own:
            self.boost.load_state_dict(own)


class Boost:
    """A weight q per training sample (specification, section 6.8), and what was decided wrongly in this epoch.

    It grows with the largest number of a sample that it has seen; a new sample's weight is 1.
    """

    def __init__(self, n_classes: int) -> None:
        import torch

        self.n_classes = n_classes
        self.q = torch.ones(0, dtype=torch.float64)
        self.label = torch.zeros(0, dtype=torch.int64)
        self.wrong = torch.zeros(0, dtype=torch.bool)

    def of(self, batch: Batch) -> Tensor:
        """The weights of a batch, `(batch,)` float32."""
        if batch.rows is None:
            raise UsageError("rule.boost weighs training samples by number; batches must carry their rows")
        self._reach(int(batch.rows.max()) + 1)
        return self.q[batch.rows].float().to(batch.labels.device)

    def note(self, batch: Batch, wrong: Tensor) -> None:
        """Remember which samples of a batch were decided wrongly."""
        assert batch.rows is not None
        self.label[batch.rows], self.wrong[batch.rows] = batch.labels.cpu(), wrong.cpu()

    def grow(self) -> dict[str, float]:
        """q <- q exp(err_c / 20) for wrong samples, err_c = sum of wrong q over sum of q in class c; then forget."""
        import torch

        if torch.distributed.is_initialized():
            size = torch.tensor(len(self.q))
            torch.distributed.all_reduce(size, torch.distributed.ReduceOp.MAX)
            self._reach(int(size))
            seen = torch.where(self.wrong, 1, torch.where(self.label >= 0, 0, -1))
            torch.distributed.all_reduce(seen, torch.distributed.ReduceOp.MAX)
            torch.distributed.all_reduce(self.label, torch.distributed.ReduceOp.MAX)
            self.wrong.copy_(seen == 1)
        known = self.label >= 0
        total, wrong = (
            torch.zeros(self.n_classes, dtype=torch.float64).index_add_(0, self.label[which], self.q[which])
            for which in (known, known & self.wrong)
        )
        growth = torch.exp(wrong / total.clamp(min=1e-12) / 20)
        self.q[self.wrong] *= growth[self.label[self.wrong]]
        self.wrong.zero_()
        self.label.fill_(-1)
        return {"largest_sample_weight": float(self.q.max())}

    def state_dict(self) -> dict[str, Tensor]:
        """`boost.q` (n,) float64, `boost.label` (n,) int64 (-1: not seen in this epoch), `boost.wrong` (n,) bool."""
        return {"boost.q": self.q, "boost.label": self.label, "boost.wrong": self.wrong}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take the three tensors back."""
        own = self.state_dict()
        if state.keys() != own.keys() or any(state[name].dtype != own[name].dtype for name in own):
            raise DataError(f"weights of samples are {sorted(state)}; expected {sorted(own)}")
        if len({tensor.shape for tensor in state.values()}) != 1 or state["boost.q"].ndim != 1:
            raise DataError("boost.q, boost.label and boost.wrong are no rows of one length")
        if not bool(((state["boost.label"] >= -1) & (state["boost.label"] < self.n_classes)).all()):
            raise DataError(f"boost.label is no class; expected -1 to {self.n_classes - 1}")
        self.q, self.label, self.wrong = (state[f"boost.{name}"].clone() for name in ("q", "label", "wrong"))

    def _reach(self, n: int) -> None:
        import torch

        more = n - len(self.q)
        if more > 0:
            self.q = torch.cat([self.q, torch.ones(more, dtype=torch.float64)])
            self.label = torch.cat([self.label, torch.full((more,), -1)])
            self.wrong = torch.cat([self.wrong, torch.zeros(more, dtype=torch.bool)])


def regulariser(weight: Tensor, strength: float, beta: float, limit: float) -> Tensor:
    """lambda beta (w / w_max) exp(beta (mean over a neuron's inputs of (w / w_max)^2 - 1)) (section 6.9)."""
    import torch

    scaled = weight / limit
    mean = scaled.square().flatten(0, -2).mean(0)
    return strength * beta * scaled * torch.exp(beta * (mean - 1))
