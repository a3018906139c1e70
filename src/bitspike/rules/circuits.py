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
    from bitspike.ops.glm.online import FLSNNState, Parameters, Step, VOWELState
    from bitspike.ops.glm.settings import FLSNNSettings, VOWELSettings
    from bitspike.ops.lif.signals import Spikes


def start(experiment: Experiment, task: Task, generator: torch.Generator) -> GLMNetwork:
    """Weights as `weights` says, biases and own feedback 0."""
    from bitspike.networks.glm import GLMNetwork

    coding, network = experiment.coding, cast(GLM, experiment.network)
    return GLMNetwork(
        coding.channels_of(task.n_inputs), task.n_classes, coding, network, experiment.weights, generator,
        experiment.backend,
    )  # fmt: skip


def build(experiment: Experiment, task: Task, generator: torch.Generator) -> GLMNetwork:
    """Weights as `weights` says, biases and own feedback in the range of hidden weights, as published."""
    import torch

    model = start(experiment, task, generator)
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
    state: FLSNNState | VOWELState

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
    def settings_at(self, lr: float) -> FLSNNSettings | VOWELSettings:
        """The rule's, with this step size."""

    @abstractmethod
    def move(self, made: Step, lr: float) -> None:
        """One update."""

    @abstractmethod
    def carried(self) -> dict[str, Tensor]:
        """What a rule carries from step to step, by name; tensors that `move` changes in place."""

    def step(self, batch: Batch, progress: Progress, generator: torch.Generator) -> StepReport:
        """One sample after the other; reported are -ln p of the labels' trains per step, and decisions meanwhile."""
        import torch

        from bitspike.ops.glm import circuit

        network, n = self.network, len(batch.labels)
        lr = self.settings.lr * self.settings.factor(progress.share, progress.epoch)
        spikes, group = network.spikes(batch.inputs, generator), network.topology.groups[-1]
        wanted = circuit.label_trains(
            batch.labels, network.settings.label, network.n_steps, group.n, group.values
        )
        keys = torch.randint(-(2**63), 2**63 - 1, (n,), generator=generator)
        window = self._native_window if network.implementation == "native" else self._window
        loss, correct, rates = 0.0, 0, torch.zeros(network.topology.output - 1)
        with torch.no_grad():
            for sample in range(n):
                one = slice(sample, sample + 1)
                entering = spikes._replace(bits=spikes.bits[one])
                log_output, chances, emitted = window(entering, wanted[one], keys[one], lr)
                loss -= log_output
                scores = chances.reshape(group.values, -1).sum(0)
                correct += int(scores.argmax()) == int(batch.labels[sample])
                rates += torch.tensor(emitted)
        return StepReport(loss / network.n_steps, n, correct, tuple((rates / network.n_steps).tolist()))

    def _window(
        self, spikes: Spikes, wanted: Tensor, key: Tensor, lr: float
    ) -> tuple[float, Tensor, list[float]]:
        """Learn from one sample; ln p of the label's trains, sums of the output's chances, and emissions per row."""
        import torch

        from bitspike.ops.glm import block, online
        from bitspike.ops.lif.signals import unpack

        network, topology = self.network, self.network.topology
        inputs, (table, own) = unpack(spikes, torch.float32), network.tables
        drawn = [
            block.uniforms(topology, key, number, network.n_steps, 1).to(inputs)
            for number in range(1, topology.output)
        ]
        history = online.silence(topology, 1, self._length, inputs)
        log_output, chances, emitted = 0.0, wanted.new_zeros(wanted.shape[2]), [0.0] * len(drawn)
        for t in range(network.n_steps):
            given = [inputs[:, t], *([None] * len(drawn)), wanted[:, t]]
            uniforms = [None, *(part[:, t] for part in drawn), None]
            made = online.step(
                topology, self.parameters, self.masks, table, own, history, given, uniforms, self.silence
            )
            self.move(made, lr)
            history = online.remember(history, made.spikes)
            log_output += float(made.log_output)
            chances += (made.spikes[-1] - made.gradients.biases[-1])[0]
            emitted = [
                total + float(part.mean()) for total, part in zip(emitted, made.spikes[1:-1], strict=True)
            ]
        return log_output, chances, emitted

    def _native_window(
        self, spikes: Spikes, wanted: Tensor, key: Tensor, lr: float
    ) -> tuple[float, Tensor, list[float]]:
        """The same in one native call."""
        from bitspike.ops.glm import online_native
        from bitspike.ops.glm.online_native import Streams

        network, topology = self.network, self.network.topology
        streams = Streams.start(topology, self.state, 1, self._length)
        given = [*([None] * (topology.output - 1)), wanted]
        made = online_native.learn(
            topology, self.parameters, self.masks, *network.tables, streams, self.state, spikes, given, key, 0,
            self.settings_at(lr), self.silence,
        )  # fmt: skip
        emitted = [float(part.mean()) * network.n_steps for part in made.spikes[:-1]]
        return float(made.log_output.sum()), made.chances.sum((0, 1)), emitted

    @property
    def _length(self) -> int:
        """Of the longest filter."""
        table, own = self.network.tables
        return max(table.shape[1], 0 if own is None else own.shape[1])

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
