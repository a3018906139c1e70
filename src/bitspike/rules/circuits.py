"""What the online rules of circuits that fire by chance share: one stream of samples, an update in every step.

Samples come one after the other, whatever the batch size. Outputs are held at the label's trains, hidden circuits are
drawn. Traces and what a rule carries go on from sample to sample; between samples circuits are silent for as long as a
spike acts, without learning, which here is a history set to zeros.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, cast

from bitspike.contracts import Batch, Learner, Progress, StepReport, Task
from bitspike.errors import UsageError
from bitspike.experiment import Experiment
from bitspike.rules.gradient import take_back
from bitspike.settings import GLM

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bitspike.networks.glm import GLMNetwork
    from bitspike.ops.glm.online import Parameters, Step


def build(experiment: Experiment, task: Task, generator: torch.Generator) -> GLMNetwork:
    """Weights as `weights` says, biases and own feedback in the range of hidden weights, as published."""
    import torch

    from bitspike.networks.glm import GLMNetwork

    coding, network = experiment.coding, cast(GLM, experiment.network)
    model = GLMNetwork(
        coding.channels_of(task.n_inputs), task.n_classes, coding, network, experiment.weights, generator,
        experiment.backend,
    )  # fmt: skip
    low, high = experiment.weights.hidden
    with torch.no_grad():
        for parameter in (*model.biases, *model.feedback):
            parameter.copy_(torch.rand(parameter.shape, generator=generator) * (high - low) + low)
    return model.to(task.device)


def check(experiment: Experiment) -> None:
    """Refuse another optimiser than plain steps, and decay."""
    if experiment.optimizer.name != "sgd":
        raise UsageError("the rule makes plain steps; set optimizer.name to sgd")
    if experiment.optimizer.weight_decay:
        raise UsageError("set optimizer.weight_decay to 0: the rule has no decay")


class CircuitLearner(Learner):
    """Moves a network's latents, biases and own feedback in place; `carried` names what a rule carries."""

    silence: float  # of the reference distribution

    def __init__(self, network: GLMNetwork, experiment: Experiment) -> None:
        from bitspike.ops.glm.online import Parameters

        self.network, self.settings = network, experiment.optimizer
        self.parameters = Parameters(
            [latent.data for latent in network.latents], [bias.data for bias in network.biases],
            [own.data for own in network.feedback],
        )  # fmt: skip
        self.masks = [network.mask(index) for index in range(len(network.latents))]
        for latent, mask in zip(network.latents, self.masks, strict=True):
            if mask is not None:
                latent.data.mul_(mask)

    @abstractmethod
    def move(self, made: Step, lr: float) -> None:
        """One update."""

    @abstractmethod
    def carried(self) -> dict[str, Tensor]:
        """What a rule carries from step to step, by name; tensors that `move` changes in place."""

    def step(self, batch: Batch, progress: Progress, generator: torch.Generator) -> StepReport:
        """One sample after the other; reported are -ln p of the labels' trains per step, and decisions meanwhile."""
        import torch

        from bitspike.ops.glm import block, circuit, online
        from bitspike.ops.lif.signals import unpack

        network, topology = self.network, self.network.topology
        lr = self.settings.lr * self.settings.factor(progress.share, progress.epoch)
        window = unpack(network.spikes(batch.inputs, generator), torch.float32)
        n, group = len(batch.labels), topology.groups[-1]
        wanted = circuit.label_trains(
            batch.labels, network.settings.label, network.n_steps, group.n, group.values
        )
        keys = torch.randint(-(2**63), 2**63 - 1, (n,), generator=generator)
        drawn = [
            block.uniforms(topology, keys, number, network.n_steps, 1).to(window)
            for number in range(1, topology.output)
        ]
        table, own = network.tables
        length = max(table.shape[1], 0 if own is None else own.shape[1])
        loss = correct = 0.0
        rates = torch.zeros(topology.output - 1)
        with torch.no_grad():
            for sample in range(n):
                history, scores = online.silence(topology, 1, length, window), torch.zeros(group.rows)
                for t in range(network.n_steps):
                    given = [
                        window[sample : sample + 1, t],
                        *([None] * len(drawn)),
                        wanted[sample : sample + 1, t],
                    ]
                    uniforms = [None, *(part[sample : sample + 1, t] for part in drawn), None]
                    made = online.step(
                        topology,
                        self.parameters,
                        self.masks,
                        table,
                        own,
                        history,
                        given,
                        uniforms,
                        self.silence,
                    )
                    self.move(made, lr)
                    history = online.remember(history, made.spikes)
                    loss -= float(made.log_output)
                    scores += (made.spikes[-1] - made.gradients.biases[-1])[0].cpu()
                    rates += torch.tensor([float(spikes.mean()) for spikes in made.spikes[1:-1]])
                correct += int(scores.reshape(group.values, -1).sum(0).argmax()) == int(batch.labels[sample])
        return StepReport(loss / network.n_steps, n, int(correct), tuple((rates / network.n_steps).tolist()))

    def state_dict(self) -> dict[str, Tensor]:
        """What the rule carries."""
        return self.carried()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take it back."""
        own = self.carried()
        if unknown := sorted(set(state) - set(own)):
            from bitspike.errors import DataError

            raise DataError(f"{unknown[0]!r} is not of this rule")
        take_back(own, state)


def named(prefix: str, parameters: Parameters | None) -> dict[str, Tensor]:
    """The tensors of parameters by name."""
    parts: list[Any] = [] if parameters is None else parameters.all()
    return {f"{prefix}.{index}": tensor for index, tensor in enumerate(parts)}
