"""The one training loop: an experiment and its data in, a trained network out; nothing is written.

Each epoch: shuffle, change images at random, code, `learner.step` per batch, `learner.end_epoch`, decide on validation
data. The network that was best on validation data (of equals the later one) is kept, and finished on them at the end.
All randomness derives from the seed and the epoch, so training that stopped after any epoch goes on to the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.contracts import Batch, Learner, Progress, Task
from bitspike.data import Split
from bitspike.errors import BitspikeError, UsageError
from bitspike.experiment import Experiment
from bitspike.networks.base import Network
from bitspike.networks.committee import deciding
from bitspike.networks.inputs import encode_images, take
from bitspike.ops.backend import resolve_device
from bitspike.training import continual
from bitspike.training.encode import encode
from bitspike.training.finite import first_not_finite
from bitspike.training.processes import Processes
from bitspike.training.progress import Totals
from bitspike.training.randomness import generator, order
from bitspike.training.score import score_of

N_SAMPLE = 1000
N_VALIDATED = 3  # draws from a posterior that decide on validation data while training goes on
_STOPPED: dict[str, Any] = {}
Watch = Callable[[int, int, Totals], None]


@dataclass(frozen=True)
class Facts:
    """What the network was built for: a checkpoint holds it, so that the network can be built without data."""

    n_inputs: int
    n_classes: int
    input_shape: tuple[int, ...] = ()
    n_train: int = 0


class Trainer:
    """Training of `experiment` on `parts`; `network` and `learner` are its state, with `epoch` and the best network.

    `n_outputs` and `shape` are the data set's. `group`: the processes that share each batch. `watch`, where it is set,
    is called after each step with the epoch, the samples seen in it, and their `Totals`.
    """

    def __init__(
        self,
        experiment: Experiment,
        parts: Split,
        n_outputs: int,
        shape: tuple[int, ...],
        group: Processes | None = None,
    ) -> None:
        self.experiment, self.group = experiment, group or Processes()
        self.watch: Watch | None = None
        device = resolve_device(experiment.device)
        inputs = parts.train_inputs
        self.labels = torch.tensor(parts.train_labels)
        if min(len(inputs), experiment.training.batch_size) < self.group.size:
            raise UsageError(
                f"a batch is smaller than the {self.group.size} processes that share it; start fewer"
            )
        active = experiment.augment.active
        if active and not isinstance(inputs, np.ndarray):
            raise UsageError("augment changes images; these data hold none: set all of it to 0")
        self.validation = Batch(
            encode(experiment.coding, parts.validation_inputs), torch.tensor(parts.validation_labels)
        )
        # Images that change are coded per batch, others once.
        self._images = torch.tensor(inputs).to(device) if active else None
        coded = None if active else encode(experiment.coding, inputs)
        self._inputs = coded.to(device) if isinstance(coded, Tensor) else coded

        start = generator(experiment.seed, "start")
        sample = inputs[torch.randperm(len(inputs), generator=start)[:N_SAMPLE].numpy()]
        first = encode(experiment.coding, sample)
        first = first.to(device) if isinstance(first, Tensor) else first
        task = Task(first, n_outputs, shape, len(inputs), device)
        self.facts = Facts(task.n_inputs, n_outputs, shape, len(inputs))
        self.network: Network = experiment.rule.build(experiment, task, start)
        self.learner: Learner = experiment.rule.learner(self.network, experiment)
        if self.group.size > 1:
            self.learner.share(self.group.wrap)
        self.epoch, self.best_epoch, self.best_score = 0, 0, -1.0
        self.best: dict[str, Tensor] = {}
        self._going: Iterator[dict[str, Any] | None] | None = None

    @property
    def done(self) -> bool:
        """Are all epochs trained?"""
        return self.epoch >= self.experiment.training.epochs

    @property
    def between_epochs(self) -> bool:
        """Does no epoch lie half trained? Only then a checkpoint holds all there is."""
        return self._going is None

    def run(self, epochs: int | None = None, steps: int | None = None) -> list[dict[str, Any]]:
        """Train on for so many epochs or steps, whichever end first (default: to the end); figures of ended epochs.

        The next call goes on where this one stopped, also in the middle of an epoch. The last step of an epoch ends it.
        After an error in the middle of an epoch `BitspikeError` is raised: what is half trained is not trained on.
        """
        ended: list[dict[str, Any]] = []
        taken = 0
        while not self.done and (epochs is None or len(ended) < epochs) and (steps is None or taken < steps):
            if self._going is None:
                self._going = self._run_epoch(self.epoch + 1)
            figures = next(self._going, _STOPPED)
            if figures is _STOPPED:
                raise BitspikeError(
                    f"training stopped in the middle of epoch {self.epoch + 1}; start again with a new Trainer"
                )
            taken += 1
            if figures is not None:
                self._going = None
                ended.append(figures)
        return ended

    def finish(self) -> tuple[Network, dict[str, Any]]:
        """The best network, or what decides by it (`experiment.predict`), finished on validation data; what was chosen.

        The trained network becomes the best one; it is its own best where none was validated yet.
        """
        if not self.best:
            self._validate()
        self.network.load_state_dict(self.best)
        experiment, noise = self.experiment, generator(self.experiment.seed, "draw")
        decider = deciding(self.network, experiment.predict, noise)
        return decider, decider.finish(self.validation, experiment.training.max_silent, noise)

    def _run_epoch(self, epoch: int) -> Iterator[dict[str, Any] | None]:
        """None after each step but the last, then the epoch's figures."""
        settings, seed = self.experiment.training, self.experiment.seed
        begin, end = self._part(epoch)
        if epoch == begin and self.experiment.weights.kind == "bernoulli":
            self.best_epoch, self.best_score = 0, -1.0  # what was trained at its mode is not a posterior
            self.best = {}
        change, noise = generator(seed, "augment", epoch), generator(seed, "rule", epoch, self.group.rank)
        rows = self._rows(epoch)
        batches = torch.split(rows, settings.batch_size)
        totals, done, seconds = Totals(), 0, 0.0
        for index, batch in enumerate(batches):
            began = time.perf_counter()
            if self.experiment.augment.share == "epoch":  # one draw for all images of the epoch
                change = generator(seed, "augment", epoch)
            progress = Progress((epoch - begin + index / len(batches)) / (end - begin), epoch - begin)
            with torch.enable_grad():  # also where the caller has switched gradients off
                report = self.learner.step(self._batch(batch, change), progress, noise)
            if self.group.share:
                totals.add(report)
            done += len(batch)
            seconds += time.perf_counter() - began
            if self.watch is not None:
                self.watch(epoch, done, totals)
            if index + 1 < len(batches):
                yield None
        began = time.perf_counter()
        totals.set(self.group.total(totals.as_list()))
        extra = self.learner.end_epoch(noise)
        if continual.ends_task(settings, epoch):
            self.learner.end_task()
        self.group.align(self.network)
        seconds += time.perf_counter() - began
        self.epoch = epoch
        figures: dict[str, Any] = {"epoch": epoch, **totals.figures()}
        if not math.isfinite(figures["loss"]):
            raise BitspikeError(
                f"the loss became {figures['loss']} in epoch {epoch}; take smaller steps (optimizer.lr)"
            )
        if (odd := first_not_finite(self.network.state_dict() | self.learner.state_dict())) is not None:
            raise BitspikeError(
                f"{odd} became NaN or infinite in epoch {epoch}; take smaller steps (optimizer.lr)"
            )
        if self.group.is_first:
            figures |= {"seconds": round(seconds, 4), "images_per_second": round(done / seconds, 1)}
            if epoch % settings.evaluate_every == 0 or epoch == settings.epochs:
                figures |= self._validate()
        yield figures | extra

    def _rows(self, epoch: int) -> Tensor:
        """Numbers of the training inputs in the order of this epoch."""
        settings, seed = self.experiment.training, self.experiment.seed
        shuffle, core = generator(seed, "shuffle", epoch), generator(seed, "shuffle")
        known = continual.rows(settings, self.labels, epoch, core) if settings.tasks else None
        rows = order(settings.shuffle, len(self.labels) if known is None else len(known), shuffle)
        return rows if known is None else known[rows]

    def _part(self, epoch: int) -> tuple[int, int]:
        """First epoch of the part of training that `epoch` lies in, and the first one after it: each has its schedule.

        Weights of kind bernoulli are binary in their first part, `mode_epochs`.
        """
        settings = self.experiment.training
        if settings.mode_epochs:
            at_mode = epoch <= settings.mode_epochs
            self.network.at_mode(at_mode, self.experiment.weights)
            return (
                (1, settings.mode_epochs + 1) if at_mode else (settings.mode_epochs + 1, settings.epochs + 1)
            )
        if settings.tasks:
            length = settings.epochs // len(settings.tasks)
            begin = continual.task_of(settings, epoch) * length + 1
            return begin, begin + length
        return 1, settings.epochs + 1

    def _batch(self, rows: Tensor, change: torch.Generator) -> Batch:
        own = self.group.shard(rows)
        device = self.network.device
        labels = self.labels.index_select(0, own).to(device)
        if self._inputs is not None:
            return Batch(take(self._inputs, own), labels, own)
        assert self._images is not None
        # All processes change the whole batch, so that the result does not depend on how many there are.
        images = self.experiment.augment(take(self._images, rows), change)
        coded = encode_images(self.experiment.coding, self.group.shard(images).flatten(1))
        return Batch(coded, labels, own)

    def _validate(self) -> dict[str, float]:
        """Figures on validation data, and the best network; of tasks learned in turn the last one is kept."""
        seed, predict, labels = self.experiment.seed, self.experiment.predict, self.validation.labels
        few = replace(predict, draws=min(predict.draws, N_VALIDATED))
        decider = deciding(self.network, few, generator(seed, "draw", self.epoch))
        prediction = decider.decide(self.validation.inputs, generator(seed, "predict", self.epoch))
        score, figures = score_of(prediction, labels)
        settings = self.experiment.training
        if settings.tasks:
            score = float(self.epoch)
            for task, share in enumerate(
                continual.accuracies(settings, prediction.labels, labels, self.epoch), 1
            ):
                figures[f"validation_task_{task}"] = share
        if not self.best or score >= self.best_score:
            self.best_epoch, self.best_score = self.epoch, score
            self.best = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        return figures
