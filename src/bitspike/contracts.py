"""The contracts between the parts: what a coding, a network's settings, an augmentation and a learner are.

Importing this needs no torch. `Rule` stands in `bitspike.experiment`, `Network` in `bitspike.networks.base`, and
`Packed` in `bitspike.packed.base`. Images are uint8 `(n, height, width)` or `(n, height, width, channels)`, 0 dark, 255
bright.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bitspike.ranges import Range, check

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn


class Coding:
    """How an input becomes what the first layer reads; a frozen dataclass of settings."""

    n_steps: int
    of_images: ClassVar[bool]
    takes: ClassVar[str]  # images, events or sound
    disturbances: ClassVar[
        tuple[str, ...]
    ] = ()  # of `jitter`, `deletion`, `noise`: what an evaluation may try

    def encode(self, inputs: Any) -> Any:
        """Coded inputs of uint8 images (a tensor of rows) or of recordings; another kind raises `DataError`."""
        raise NotImplementedError

    def channels_of(self, n_pixels: int) -> int:
        """Input neurons of an image of `n_pixels`, channels counted."""
        return n_pixels

    def map_shape(self, input_shape: tuple[int, ...], n_inputs: int) -> tuple[int, ...]:
        """What the first layer sees: `(height, width, channels)`, or `(n_inputs,)`."""
        raise NotImplementedError

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one input of a packed model, from that of the data set's."""
        return shape


class NetworkSettings:
    """The shape of a network and the constants of its neurons; a frozen dataclass. `ranges` bounds its fields."""

    ranges: ClassVar[Mapping[str, Range]] = {}

    hidden: tuple[Any, ...]

    def __post_init__(self) -> None:
        check(self, self.ranges, "network")

    @property
    def weighted(self) -> tuple[str, ...]:
        """Names of the layers that have weights, from the input on; (): not told, and not checked."""
        return ()


class Basis:
    """Filters a_k(d) of a synapse: what a spike adds d + 1 steps later; a frozen dataclass with `ranges`."""

    ranges: ClassVar[Mapping[str, Range]] = {}

    length: int  # steps for which a spike acts

    def __post_init__(self) -> None:
        check(self, self.ranges, "basis")

    def table(self) -> NDArray[np.float64]:
        """The filters, `(n, length)`."""
        raise NotImplementedError


class Augmentation:
    """How training images are changed at random before they are coded; a frozen dataclass."""

    share: str = "image"  # epoch: one and the same draw for all batches of an epoch

    @property
    def active(self) -> bool:
        """Whether anything is done at all."""
        raise NotImplementedError

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Changed copies of uint8 images; the generator, on the CPU, decides all."""
        raise NotImplementedError


@dataclass(frozen=True)
class Task:
    """What a rule may know before training: a sample of coded inputs, their shape, the number of outputs.

    `input_shape`: (height, width[, channels]) of images, (polarities, height, width) of events, else (); `n_train`:
    training samples; `device`: where the network is to lie.
    """

    sample: Any  # coded inputs: `(n, features)`, or a `coding.SpikeList`; at most 1000
    n_classes: int
    input_shape: tuple[int, ...] = ()
    n_train: int = 0
    device: str = "cpu"

    @property
    def n_inputs(self) -> int:
        """Features of a coded input, channels of a coded recording."""
        return int(self.sample.shape[1])


@dataclass(frozen=True)
class Batch:
    """Coded inputs and labels `(batch,)` int64 (a regression's targets: float64).

    `rows`: the samples' numbers in the training set, for learners that weigh them; None where there are none.
    """

    inputs: Any  # as in `Task.sample`
    labels: Tensor
    rows: Tensor | None = None


@dataclass(frozen=True)
class Progress:
    """How far training is: `share` in [0, 1) of its present part, and that part's `epoch` 0, 1, ...

    Schedules follow it. A run has one part, or one per task, or one at the mode of the posterior and one by draws.
    """

    share: float = 0.0
    epoch: int = 0


@dataclass(frozen=True)
class StepReport:
    """What one step of learning did; sums over the batch, so reports add up."""

    loss: float
    n: int
    n_correct: int | None  # None: a regression
    firing: tuple[float, ...]  # per layer: neurons that fired, over samples, divided by the layer's width


class Learner(ABC):
    """Everything that learning carries: optimiser, traces, counters, weights of samples. The network is its subject."""

    @abstractmethod
    def step(self, batch: Batch, progress: Progress, generator: torch.Generator) -> StepReport:
        """Learn from a mini-batch, or from a block of time of parallel streams: traces live here between calls."""

    def end_epoch(self, generator: torch.Generator) -> dict[str, float]:
        """What happens between epochs (S4NN: dead neurons are redrawn); returns figures to log."""
        return {}

    def end_task(self) -> None:
        """What was learned becomes the prior of what comes, where the rule has priors (continual learning)."""
        return

    def share(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        """Average gradients over processes: `wrap` gives the network that does. Raises `UsageError` where none flow."""
        from bitspike.errors import UsageError

        raise UsageError(f"{type(self).__name__} updates weights in place; train it in one process")

    def state_dict(self) -> dict[str, Tensor]:
        """Named tensors that, with the network's state_dict, are the whole checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take the state back, also under changed settings (a step size, say); what does not fit raises `DataError`."""
        if state:
            from bitspike.errors import DataError

            raise DataError(
                f"{type(self).__name__} carries nothing, but the checkpoint holds {sorted(state)[:3]}"
            )
