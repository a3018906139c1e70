"""What passes between rooms: batches in, step reports and predictions out.

Spike times are integers `(batch, neurons)` in steps; `n_steps` means "never". Images are uint8
`(batch, features)`, 0 dark, 255 bright. Coded inputs are tensors `(batch, features)` or spike lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bitspike.coding import SpikeList
from bitspike.errors import UsageError

if TYPE_CHECKING:
    from bitspike.experiment import Experiment


Inputs = Tensor | SpikeList


@dataclass(frozen=True)
class Batch:
    """Coded inputs and labels `(batch,)` int64; in training `rows`, the samples' numbers in the training set."""

    inputs: Any  # Inputs
    labels: Tensor
    rows: Tensor | None = None


@dataclass(frozen=True)
class Task:
    """What a rule may know before training: a sample of coded training inputs, their shape, the number of classes.

    `input_shape`: (height, width) of images, (polarities, height, width) of events, else (); `n_train` training
    samples.
    """

    sample: Any  # Inputs, <= 1000
    n_classes: int
    input_shape: tuple[int, ...] = ()
    n_train: int = 0

    @property
    def n_inputs(self) -> int:
        return self.sample.n_channels if isinstance(self.sample, SpikeList) else int(self.sample.shape[1])


@dataclass(frozen=True)
class StepReport:
    """What one training step did; sums over the batch, so reports add up."""

    loss: float
    n: int
    n_correct: int | None  # None: a regression
    firing: tuple[float, ...]  # per layer: neurons that fired, over samples, divided by the layer's width


@dataclass(frozen=True)
class Prediction:
    """One honest decision per input, and what it cost."""

    labels: Int[Tensor, " n"]  # the decision, ties broken by potential, then by lowest index
    probabilities: Float[Tensor, "n classes"]
    decision_time: Int[Tensor, " n"]  # in steps; n_steps where no output fired
    silent: Bool[Tensor, " n"]  # no output fired
    tied: Bool[Tensor, "n classes"]  # the classes that share the earliest output spike; none when silent
    potentials: Float[Tensor, "n classes"]  # potential minus threshold at the decision
    n_spikes: Int[Tensor, " n"]  # input and hidden spikes up to and including the decision step
    n_synops: Int[Tensor, " n"]  # additions those spikes cause, fan-out counted
    members: Float[Tensor, "n members classes"] | None = None  # of a committee: its members' probabilities

    @staticmethod
    def concatenate(parts: list[Prediction]) -> Prediction:
        """Join the predictions of consecutive batches."""
        joined: dict[str, Any] = {}
        for name in Prediction.__dataclass_fields__:
            values = [getattr(part, name) for part in parts]
            joined[name] = None if values[0] is None else torch.cat(values)
        return Prediction(**joined)


def encode_images(coding: Any, images: Tensor) -> Tensor:
    """Uint8 images through a coding of images; one of recordings raises `UsageError`."""
    if not coding.of_images:
        raise UsageError(
            f"coding {type(coding).__name__} does not encode images; choose another coding or data"
        )
    coded: Tensor = coding.encode(images)
    return coded


def take(inputs: Any, rows: Tensor) -> Any:
    """The coded inputs of these numbers."""
    return inputs[rows.numpy()] if isinstance(inputs, SpikeList) else inputs.index_select(0, rows)


def chunks(inputs: Any, size: int) -> list[Any]:
    """Coded inputs in order, `size` at a time."""
    return [inputs[start : start + size] for start in range(0, max(1, len(inputs)), size)]


def unwrap(model: nn.Module) -> nn.Module:
    """The network itself where `model` is wrapped to average gradients over processes (DDP), else `model`.

    A rule calls `model(...)` for the forward pass that is differentiated and reads parameters from
    `unwrap(model)`.
    """
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


class Rule(Protocol):
    """A training rule: settings (a frozen dataclass) and three verbs; state in, state out."""

    def init(
        self, experiment: Experiment, task: Task, generator: torch.Generator
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Build the model and its optimiser; the same generator state builds the same model."""
        ...

    def step(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, batch: Batch, generator: torch.Generator
    ) -> StepReport:
        """Learn from one batch."""
        ...

    def predict(self, model: nn.Module, inputs: Any, generator: torch.Generator) -> Prediction:
        """Decide; touches nothing in the model."""
        ...

    def check(self, experiment: Experiment) -> None:
        """Refuse, with `UsageError` and a sentence that says why, an experiment this rule cannot run."""
        ...

    def end_epoch(self, model: nn.Module, generator: torch.Generator) -> dict[str, float]:
        """What the rule does between epochs (S4NN: redraw dead neurons), in place; returns figures to log."""
        ...

    def calibrate(self, model: nn.Module, batch: Batch, max_silent: float) -> dict[str, Any]:
        """Choose the output threshold and fit the temperature on validation data, in place; returns what was chosen."""
        ...
