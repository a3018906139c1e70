"""BiSNN: spiking networks with binary weights, trained online by local errors (Jang, Skatchkovsky, Simeone, 2020).

arXiv 2012.08300. One update per time step and layer, no gradient across layers or time. The kind of the weights is the
rule: `binary` is ST-BiSNN (straight-through), `bernoulli` Bayes-BiSNN, `real` the baseline with full precision. The
equations are in `ops.srm.reference`; specification: docs/methods/bisnn.md. Defaults are our own, for the published
steps and starts want thousands of epochs; recipes/bisnn_paper.py has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from bitspike.coding import EventBins, Poisson
from bitspike.contracts import Batch, Prediction, StepReport, Task, chunks, unwrap
from bitspike.errors import UsageError
from bitspike.metrics.calibration import fit_temperature
from bitspike.networks.lif import maps
from bitspike.networks.posterior import decided
from bitspike.networks.srm import SRMNetwork
from bitspike.ops import backend as backends
from bitspike.ops import counter, srm
from bitspike.ops.srm.step import Kind, State, Update
from bitspike.settings import SRM

if TYPE_CHECKING:
    from bitspike.experiment import Experiment

CHUNK = 500  # samples decided at a time


@dataclass(frozen=True)
class BiSNN:
    """Settings. `box`: half-width of the surrogate, 1 where -box < U <= box (published: 0.5).

    For weights of kind bernoulli: `relaxation`: hard draws W in {-1, +1} with factor s = 1, or relaxed ones, W = tanh
    ((w + delta)/tau) with s of (12) (published, `tau` 1), `s_max` bounding s; `stabiliser` additive is the published
    form of s, for parity. `rho`: weight of the divergence from the prior, `prior`: its P(+1).
    """

    box: float = 0.5
    relaxation: Literal["hard", "relaxed"] = "hard"
    tau: float = 0.1
    s_max: float = 1e3
    stabiliser: Literal["log", "additive"] = "log"
    rho: float = 0.0
    prior: float = 0.5

    def __post_init__(self) -> None:
        Update(box=self.box, tau=self.tau, s_max=self.s_max)
        if not self.rho >= 0:
            raise UsageError(f"rule.rho is {self.rho}; it must not be negative")
        if not 0 < self.prior < 1:
            raise UsageError(f"rule.prior is {self.prior}; a probability between 0 and 1")

    def check(self, experiment: Experiment) -> None:
        """Refuse what the rule cannot train."""
        network = experiment.network
        if not isinstance(network, SRM):
            raise UsageError("BiSNN trains spike response neurons; set network to SRM")
        if not isinstance(experiment.coding, Poisson | EventBins):
            raise UsageError("BiSNN wants spike trains; set coding to Poisson or EventBins")
        first = max(network.burn_in, len(network.hidden))
        if first >= experiment.coding.n_steps:
            raise UsageError(
                f"network.burn_in leaves none of the {experiment.coding.n_steps} steps to learn from; lower it"
            )
        if experiment.optimizer.weight_decay:
            raise UsageError("set optimizer.weight_decay to 0: in BiSNN the pull to the prior is rule.rho")

    def init(
        self, experiment: Experiment, task: Task, generator: torch.Generator
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Latents as `weights` says; readouts of random signs; `optimizer.lr` is the step of all latents."""
        coding, network = experiment.coding, experiment.network
        assert isinstance(network, SRM)
        n_inputs = coding.n_channels(task.n_inputs) if isinstance(coding, Poisson) else task.n_inputs
        model = SRMNetwork(
            maps(task.input_shape, coding, n_inputs), task.n_classes, coding, network, experiment.weights, generator,
            experiment.backend, self.prior,
        )  # fmt: skip
        settings = experiment.optimizer
        if settings.name == "sgd":
            return model, torch.optim.SGD(model.parameters(), lr=settings.lr)
        adam = torch.optim.Adam(model.parameters(), lr=settings.lr)
        for latent in model.parameters():
            adam.state[latent] = {
                "step": torch.zeros(()), "exp_avg": torch.zeros_like(latent), "exp_avg_sq": torch.zeros_like(latent),
            }  # fmt: skip
        return model, adam

    def step(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, batch: Batch, generator: torch.Generator
    ) -> StepReport:
        """One window of a batch: first `burn_in` steps without learning under one draw, then an update in every step.

        Reported are the loss of the last layer's readout, its mean over the steps that learn, and how many decisions by
        the mean readout are right, under weights that learn meanwhile: no estimate of accuracy.
        """
        network, n = _network(model), len(batch.labels)
        if model is not network:
            raise UsageError("BiSNN updates its weights within a step, so it runs in one process only")
        kernels = srm.implementation(backends.resolve(network.backend, network.latents[0].device))
        window, target = network.window(batch.inputs, generator), network.target(batch.labels)
        seed = int(torch.randint(2**62, (), generator=generator))
        layers = [network.layer(index) for index in range(len(network.operators))]
        states = [State.zeros(layer.op, n, network.latents[0].data) for layer in layers]
        adam = optimiser.state if isinstance(optimiser, torch.optim.Adam) else None
        learned = [network.learned(index, adam) for index in range(len(layers))]
        count = int(adam[network.latents[0]]["step"]) if adam is not None else 0
        burn_in = max(network.burn_in, len(layers))
        loss, read = torch.zeros(()), torch.zeros(())
        spikes = [states[0].p.new_zeros((n, layer.n_out)) for layer in layers]
        for t, x in enumerate(window):
            learns = t >= burn_in
            update = self._update(network, optimiser.param_groups[0]["lr"], count)
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
        if adam is not None:
            for latent in network.latents:
                adam[latent]["step"].fill_(count)
        labels = (read[:, 0] > 0).long() if network.n_readouts == 1 else read.argmax(1)
        correct = None if network.n_classes == 1 else int((labels == batch.labels).sum())
        shares = tuple(float(count.mean()) / len(window) * n for count in spikes)
        return StepReport(float(loss) / (len(window) - burn_in), n, correct, shares)

    def end_epoch(self, model: nn.Module, generator: torch.Generator) -> dict[str, float]:
        """How decided the posterior is: the mean of |tanh w|."""
        network = _network(model)
        return {"decided": decided(network)} if network.weights.kind == "bernoulli" else {}

    def end_task(self, model: nn.Module) -> None:
        """What was learned becomes the prior of what comes: w_0 <- w (continual learning, specification section 7)."""
        network = _network(model)
        if network.weights.kind != "bernoulli":
            return
        for index, latent in enumerate(network.latents):
            network.get_buffer(f"prior{index}").copy_(latent.detach())

    def predict(self, model: nn.Module, inputs: Any, generator: torch.Generator) -> Prediction:
        """The decision of the network as it stands, bernoulli weights at their mode; see `layers.srm`."""
        network = _network(model)
        return Prediction.concatenate([network.decide(part) for part in chunks(inputs, CHUNK)])

    @torch.no_grad()
    def calibrate(self, model: nn.Module, batch: Batch, max_silent: float) -> dict[str, Any]:
        """Put real weights on the grid on which they ship, then fit the temperature; nothing is ever silent.

        Where every validation decision is right no temperature can be told, and it stays 1.
        """
        network = _network(model)
        network.snap()
        if network.n_classes == 1:
            return {}
        prediction = self.predict(network, batch.inputs, torch.Generator())
        right = prediction.labels == batch.labels
        temperature = 1.0 if bool(right.all()) else fit_temperature(prediction.potentials, batch.labels)
        network.temperature.fill_(temperature)
        return {"temperature": temperature, "validation_accuracy": float(right.double().mean())}

    def _update(self, network: SRMNetwork, lr: float, count: int) -> Update:
        kinds: dict[str, Kind] = {"real": "real", "binary": "straight-through", "bernoulli": self.relaxation}
        kind = kinds[network.weights.kind]
        return Update(
            kind, lr, self.rho if network.weights.kind == "bernoulli" else 0.0, self.tau, self.s_max, self.stabiliser,
            network.weights.clip, self.box, count,
        )  # fmt: skip


def _network(model: nn.Module) -> SRMNetwork:
    network = unwrap(model)
    assert isinstance(network, SRMNetwork)
    return network
