"""HM2-BP, hybrid macro/micro level backpropagation of spike trains (Jin, Zhang, Li, NeurIPS 2018, arXiv 1805.07866).

Macro: the loss sees spike counts o only, E = 1/2 sum over outputs with |o - y| > margin of q (o - y)^2. Micro: between
two layers timing is the spike-train level potential e (S-PSP); `ops.spike_train.function` has the equations.
Specification: docs/methods/hm2bp.md. The settings' defaults are our own, found for mini-batches; the published value of
each stands in its line below, and recipes/hm2bp_paper.py has them all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from bitspike.coding import FirstSpike, Pixel, Poisson
from bitspike.contracts import Batch, Prediction, StepReport, Task, chunks, unwrap
from bitspike.errors import UsageError
from bitspike.metrics.calibration import fit_temperature
from bitspike.networks.lif import LIFNetwork, maps
from bitspike.ops.lif.function import Macro, Micro
from bitspike.ops.lif.signals import Adjoint
from bitspike.settings import LIF

if TYPE_CHECKING:
    from bitspike.experiment import Experiment

CHUNK = 200  # samples decided at a time


@dataclass(frozen=True)
class HM2BP:
    """Settings; in brackets what the paper's code uses where it differs from the default.

    `desired`, `undesired`: target counts of the true class and of the others (5); `margin`: no error within it.
    `spsp`: S-PSP by the simulator's dynamics, or in closed form (closed); `cutoff`: only in closed form and in the slow
    reference: spikes older than so many tau_m are ignored (4); `backward_bin`: steps whose gradient is averaged.
    `side_effect`: the factor 1 + S (on); `silent_side`: S of silent neurons (code); `silent_e`: their S-PSP.
    `ratio`: pass down e/o_j instead of 1; `pool_scale`: divide a pool's error by its threshold or its area (area).
    `lateral_factor`: correction for the inhibition between outputs (code); `inject`: a silent target gets a regular
    train in the backward pass. `boost`: weights of wrongly decided samples grow by exp(class error / 20) per epoch
    (on). `reg`, `reg_beta`, `reg_limit`: exponential regulariser lambda, beta, w_max, added to the gradient (10, 0.04,
    8).

    For deep networks, beyond the paper: `silent_ratio`: the ratio through a silent neuron, 1 in the paper, which is
    more than any that fires passes on (its e/o_j is about 0.3); `saturation`: a neuron with this share of the spikes
    that its window holds has no error that asks for more: it cannot give more, so such an error would stay for good
    and drive whole maps to their limit; `clip_norm`: a batch's gradient is scaled down to this norm.
    """

    desired: float = 35.0
    undesired: float = 0.0
    margin: float = 5.0
    spsp: Literal["trace", "closed"] = "trace"
    cutoff: float | None = None
    backward_bin: int = 1
    side_effect: bool = False
    silent_side: Literal["none", "code"] = "none"
    silent_e: float = 0.1
    ratio: bool = True
    silent_ratio: float = 1.0
    saturation: float | None = None
    pool_scale: Literal["threshold", "area"] = "threshold"
    lateral_factor: Literal["off", "clamped", "code"] = "off"
    inject: bool = True
    boost: bool = False
    reg: float = 0.0
    reg_beta: float = 0.04
    reg_limit: float = 8.0
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.undesired < self.desired:
            raise UsageError(
                f"rule.undesired is {self.undesired} and rule.desired {self.desired}; wants 0 <= undesired < desired"
            )
        if self.margin < 0 or self.silent_e < 0 or self.reg < 0:
            raise UsageError("rule.margin, rule.silent_e and rule.reg must not be negative")
        if not 0 <= self.silent_ratio <= 1:
            raise UsageError(f"rule.silent_ratio is {self.silent_ratio}; it lies between 0 and 1")
        if self.saturation is not None and not 0 < self.saturation <= 1:
            raise UsageError(
                f"rule.saturation is {self.saturation}; it is a share, above 0 and at most 1, or None"
            )
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise UsageError(f"rule.clip_norm is {self.clip_norm}; it must be positive or None")
        if not self.reg_limit > 0:
            raise UsageError(f"rule.reg_limit is {self.reg_limit}; it must be positive")
        if self.cutoff is not None and (not self.cutoff > 0 or self.backward_bin > 1):
            raise UsageError("rule.cutoff must be positive (in tau_m), and wants rule.backward_bin = 1")
        Adjoint(self.spsp, self.backward_bin)

    def check(self, experiment: Experiment) -> None:
        """Refuse what the rule cannot train."""
        network, n_steps = experiment.network, experiment.coding.n_steps
        if not isinstance(network, LIF):
            raise UsageError("HM2BP trains spike trains of leaky neurons; set network to LIF")
        if isinstance(experiment.coding, (FirstSpike, Pixel)):
            raise UsageError(
                "HM2BP wants spike trains or currents; set coding to Direct, Poisson or one of recordings"
            )
        most = (n_steps - 1) // (network.refractory + 1)
        if self.desired - self.margin > most:
            raise UsageError(
                f"rule.desired is {self.desired}, but in {n_steps} steps a neuron fires at most {most} times; "
                "lower it, or raise coding.n_steps"
            )
        if self.cutoff is not None and experiment.backend != "reference":
            raise UsageError(
                "rule.cutoff runs in the slow reference only; set backend to reference, or cutoff to None"
            )
        if self.cutoff is not None and (
            self.spsp != "closed" or any(not layer.isdigit() for layer in network.hidden)
        ):
            raise UsageError("rule.cutoff belongs to spsp closed and dense layers")

    def init(
        self, experiment: Experiment, task: Task, generator: torch.Generator
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Uniform latents; `optimizer.lr` is the step of all weights, thresholds are constants (section 6.10).

        Adam's `weight_decay` is decoupled (AdamW): w <- w (1 - lr * weight_decay).
        """
        coding, network = experiment.coding, experiment.network
        assert isinstance(network, LIF)
        n_inputs = coding.n_channels(task.n_inputs) if isinstance(coding, Poisson) else task.n_inputs
        model = LIFNetwork(
            maps(task.input_shape, coding, n_inputs), task.n_classes, coding, network, experiment.weights, generator,
            experiment.backend,
        )  # fmt: skip
        if self.boost:
            model.boost = Boost(task.n_train, task.n_classes)
        settings = experiment.optimizer
        if settings.name == "sgd":
            return model, torch.optim.SGD(
                model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
            )
        adam = torch.optim.AdamW(
            model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True
        )
        return model, adam

    def step(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, batch: Batch, generator: torch.Generator
    ) -> StepReport:
        """One update by the mean gradient of the batch; clips latents."""
        network, n = _network(model), len(batch.labels)
        with torch.no_grad():
            signal = network.signal(batch.inputs, generator)
        interval = max(1, math.floor(network.n_steps / self.desired)) if self.inject else None
        run = model(signal, self._micro(), Macro(batch.labels, interval), generator)
        targets = torch.full_like(run.counts, self.undesired).scatter_(1, batch.labels[:, None], self.desired)
        error = run.counts - targets
        counted = torch.where(error.abs() > self.margin, error, 0)
        losses = 0.5 * counted.square().sum(1)
        correct = run.counts.detach().argmax(1) == batch.labels
        boost = getattr(network, "boost", None)
        weighted = losses
        if boost is not None:
            weighted = losses * boost.of(batch)
            boost.note(batch, ~correct)
        optimiser.zero_grad(set_to_none=True)
        weighted.mean().backward()  # type: ignore[no-untyped-call]
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(network.parameters(), self.clip_norm)
        if self.reg:
            for latent in network.latents:
                assert latent.grad is not None
                latent.grad += regulariser(latent.detach(), self.reg, self.reg_beta, self.reg_limit)
        optimiser.step()
        for latent in network.latents:
            network.weights.bound(latent.data)
        firing = tuple(float(share) * n for share in run.firing)
        return StepReport(float(losses.detach().sum()), n, int(correct.sum()), firing)

    def end_epoch(self, model: nn.Module, generator: torch.Generator) -> dict[str, float]:
        """Let the weights of wrongly decided samples grow, where `boost` is on."""
        boost = getattr(_network(model), "boost", None)
        return {} if boost is None else boost.grow()

    def predict(self, model: nn.Module, inputs: Any, generator: torch.Generator) -> Prediction:
        """The honest decision of the network as it stands; see `layers.spike_train`."""
        network = _network(model)
        return Prediction.concatenate([network.decide(part) for part in chunks(inputs, CHUNK)])

    @torch.no_grad()
    def calibrate(self, model: nn.Module, batch: Batch, max_silent: float) -> dict[str, Any]:
        """Put real weights on the grid on which they ship, then fit the temperature; thresholds stay as trained."""
        network = _network(model)
        network.snap()
        prediction = self.predict(network, batch.inputs, torch.Generator())
        temperature = fit_temperature(prediction.potentials, batch.labels)
        network.temperature.fill_(temperature)
        right = prediction.labels == batch.labels
        return {
            "temperature": temperature,
            "validation_accuracy": float(right.double().mean()),
            "validation_silent": float(prediction.silent.double().mean()),
        }

    def _micro(self) -> Micro:
        return Micro(
            Adjoint(self.spsp, self.backward_bin), self.cutoff, self.side_effect, self.silent_side, self.silent_e,
            self.ratio, self.silent_ratio, self.saturation, self.pool_scale, self.lateral_factor,
        )  # fmt: skip


class Boost(nn.Module):
    """A weight q per training sample (specification, section 6.8), and what was decided wrongly in this epoch."""

    q: Tensor
    label: Tensor
    wrong: Tensor

    def __init__(self, n_train: int, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.register_buffer("q", torch.ones(n_train, dtype=torch.float64))
        self.register_buffer("label", torch.full((n_train,), -1))
        self.register_buffer("wrong", torch.zeros(n_train, dtype=torch.bool))

    def of(self, batch: Batch) -> Tensor:
        """The weights of a batch, `(batch,)` float32."""
        if batch.rows is None:
            raise UsageError("rule.boost weighs training samples by number; batches must carry their rows")
        return self.q[batch.rows].float()

    def note(self, batch: Batch, wrong: Tensor) -> None:
        """Remember which samples of a batch were decided wrongly."""
        assert batch.rows is not None
        self.label[batch.rows], self.wrong[batch.rows] = batch.labels, wrong

    def grow(self) -> dict[str, float]:
        """q <- q exp(err_c / 20) for wrong samples, err_c = sum of wrong q over sum of q in class c; then forget."""
        if torch.distributed.is_initialized():
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


def regulariser(weight: Tensor, strength: float, beta: float, limit: float) -> Tensor:
    """lambda beta (w / w_max) exp(beta (mean over a neuron's inputs of (w / w_max)^2 - 1)) (section 6.9)."""
    scaled = weight / limit
    mean = scaled.square().flatten(0, -2).mean(0)
    return strength * beta * scaled * torch.exp(beta * (mean - 1))


def _network(model: nn.Module) -> LIFNetwork:
    network = unwrap(model)
    assert isinstance(network, LIFNetwork)
    return network
