"""The training loop: an experiment in, a run folder and a trained model out.

Each epoch: shuffle, distort, code, `rule.step` per batch, `rule.end_epoch`, decide on validation data, write
a line of metrics.jsonl and a checkpoint. At the end the model that was best on validation data (of equals the
later one) is calibrated on them and meets the test data once.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitspike.contracts import Batch, Rule, Task, encode_images, take
from bitspike.data import Dataset, Split, load, split
from bitspike.errors import BitspikeError, DataError, UsageError
from bitspike.experiment import Experiment
from bitspike.ops import backend as backends
from bitspike.training import continual
from bitspike.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    restore_model,
    restore_optimiser,
    save_checkpoint,
)
from bitspike.training.deciding import calibrate, decider, predict_all, score_of
from bitspike.training.evaluate import encode, evaluate
from bitspike.training.manifest import write_manifest
from bitspike.training.processes import Processes, processes
from bitspike.training.progress import Display, Totals
from bitspike.training.randomness import generator, order
from bitspike.training.run_folder import RunFolder, place

N_SAMPLE = 1000
N_VALIDATED = 3  # draws from a posterior that decide on validation data while training goes on


@dataclass(frozen=True)
class TrainResult:
    """A finished run: its folder, the calibrated model, and what evaluation.json holds."""

    folder: Path
    experiment: Experiment
    model: nn.Module
    evaluation: dict[str, Any]


def train(
    experiment: Experiment,
    out: Path | str | None = None,
    data_dir: Path | str | None = None,
    progress: bool = True,
    resume: bool = False,
) -> TrainResult:
    """Train `experiment` into the folder `out` (default `runs/<name>-<time>`).

    `data_dir` is where data sets lie (default: the experiment's, then BITSPIKE_DATA). `resume` goes on with
    the run in `out`, to the same bits as if it had never stopped; without it, a folder that holds anything
    raises `UsageError`. Under `torchrun` every process takes its share of each batch.
    """
    with processes() as group:
        dataset = load(experiment.data.name, data_dir or experiment.data.dir)  # before anything is written
        parts = split(dataset, experiment.data.validation, experiment.split_seed)
        path = place(experiment, out, resume, group.is_first)
        folder = RunFolder(Path(group.tell(str(path))))
        try:
            return _Run(experiment, folder, dataset, parts, group, progress and group.is_first).result()
        except KeyboardInterrupt:
            if group.is_first:
                print(f"\nstopped; go on with: bitspike train --resume {folder.path}", file=sys.stderr)
            raise


def resume(folder: Path | str, data_dir: Path | str | None = None, progress: bool = True) -> TrainResult:
    """Go on with the run in `folder`; of a finished one, return the result."""
    experiment = RunFolder.open(Path(folder)).experiment()
    return train(experiment, folder, data_dir, progress, resume=True)


class _Run:
    """Everything that lives while a run goes on."""

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder,
        dataset: Dataset,
        parts: Split,
        group: Processes,
        shown: bool,
    ) -> None:
        self.experiment, self.folder, self.group = experiment, folder, group
        self.rule: Rule = experiment.rule
        inputs = parts.train_inputs
        self.labels = torch.tensor(parts.train_labels)
        self.validation = Batch(
            encode(experiment, parts.validation_inputs), torch.tensor(parts.validation_labels)
        )
        self.test = parts.test_inputs, torch.tensor(parts.test_labels)
        if min(len(inputs), experiment.training.batch_size) < group.size:
            raise UsageError(f"a batch is smaller than the {group.size} processes that share it; start fewer")
        if experiment.augment.active and not isinstance(inputs, np.ndarray):
            raise UsageError(f"augment distorts images; {dataset.name} holds none: set all of it to 0")
        # Distorted images are coded per batch, others once.
        self.images = torch.tensor(inputs) if experiment.augment.active else None
        self.inputs = None if experiment.augment.active else encode(experiment, inputs)

        start = generator(experiment.seed, "start")
        sample = inputs[torch.randperm(len(inputs), generator=start)[:N_SAMPLE].numpy()]
        task = Task(encode(experiment, sample), dataset.n_outputs, dataset.shape, len(inputs))
        self.network: nn.Module
        self.optimiser: torch.optim.Optimizer
        self.network, self.optimiser = self.rule.init(experiment, task, start)
        for settings in self.optimiser.param_groups:
            settings["initial_lr"] = settings["lr"]
        self.model = group.wrap(self.network)
        self.facts: dict[str, Any] = {
            "n_inputs": task.n_inputs, "n_classes": task.n_classes, "input_shape": task.input_shape,
            "n_train": task.n_train,
        }  # fmt: skip
        self.epoch, self.best_epoch, self.best_accuracy = 0, 0, -1.0
        self.best: dict[str, Tensor] = {}
        self.finished = False
        if group.is_first and not (folder.path / "experiment.json").exists():
            RunFolder.create(folder.path, experiment)
        self._restore()

        data = {
            "name": dataset.name, "note": dataset.note, "sha256": dataset.hashes,
            "classes": list(dataset.classes),
            "train": len(inputs), "validation": len(self.validation.labels), "test": len(self.test[1]),
        }  # fmt: skip
        backend = _backend(self.network)
        if group.is_first:
            write_manifest(folder, experiment.seed, data, backend, group.size, self.epoch)
        n_hidden = len(experiment.network.hidden)
        epochs = experiment.training.epochs
        self.display = Display(shown, len(inputs), self.epoch + 1, epochs, n_hidden)
        self.display.header(
            f"{experiment.name}: {data['train']} training, {data['validation']} validation, "
            f"{data['test']} test inputs of {data['name']}; back end {backend}; {folder.path}"
        )

    def result(self) -> TrainResult:
        """Train what is left to train, then evaluate."""
        try:
            while self.epoch < self.experiment.training.epochs:
                self._run_epoch(self.epoch + 1)
        finally:
            self.display.close()
        if not self.finished:
            self._finish()
        self.group.align(self.network)
        evaluation = self.folder.read_json("evaluation.json") if self.group.is_first else None
        return TrainResult(self.folder.path, self.experiment, self.network, self.group.tell(evaluation))

    def _run_epoch(self, epoch: int) -> None:
        settings, seed = self.experiment.training, self.experiment.seed
        begin, end = self._part(epoch)
        if epoch == begin and self.experiment.weights.kind == "bernoulli":
            self.best_epoch, self.best_accuracy = 0, -1.0  # what was trained at its mode is no posterior
        distortion, noise = generator(seed, "augment", epoch), generator(seed, "rule", epoch, self.group.rank)
        shuffle, core = generator(seed, "shuffle", epoch), generator(seed, "shuffle")
        known = continual.rows(settings, self.labels, epoch, core) if settings.tasks else None
        images = order(settings.shuffle, len(self.labels) if known is None else len(known), shuffle)
        images = images if known is None else known[images]
        batches = torch.split(images, settings.batch_size)
        totals, done, began = Totals(), 0, time.perf_counter()
        shared = getattr(self.experiment.augment, "share", "image") == "epoch"
        for index, batch in enumerate(batches):
            if shared:  # the same state for every batch: one field for all images of the epoch
                distortion = generator(seed, "augment", epoch)
            self._set_step_sizes((epoch - begin + index / len(batches)) / (end - begin), epoch - begin)
            report = self.rule.step(self.model, self.optimiser, self._batch(batch, distortion), noise)
            if self.group.share:
                totals.add(report)
            done += len(batch)
            self.display.step(epoch, done, totals)
        totals.set(self.group.total(totals.as_list()))
        extra = self.rule.end_epoch(self.network, noise)
        if continual.ends_task(settings, epoch):
            self._end_task()
        self.group.align(self.network)
        seconds = time.perf_counter() - began
        self.epoch = epoch
        figures: dict[str, Any] = {"epoch": epoch, **totals.figures()}
        if not math.isfinite(figures["loss"]):
            raise BitspikeError(
                f"the loss became {figures['loss']} in epoch {epoch}; take smaller steps (optimizer.lr)"
            )
        if self.group.is_first:
            figures |= {"seconds": round(seconds, 4), "images_per_second": round(done / seconds, 1)}
            if epoch % settings.evaluate_every == 0 or epoch == settings.epochs:
                figures |= self._validate()
            self.folder.append_metrics(figures | extra)
            if epoch > settings.epochs - settings.keep:
                save_checkpoint(self.folder.snapshot(epoch), self._checkpoint())
            save_checkpoint(self.folder.checkpoint, self._checkpoint())
        self.display.epoch(figures)

    def _part(self, epoch: int) -> tuple[int, int]:
        """First epoch of the part of training that `epoch` lies in, and the first one after it: each has its schedule.

        Weights of kind bernoulli are binary in their first part, `mode_epochs`.
        """
        settings, weights = self.experiment.training, self.experiment.weights
        if settings.mode_epochs:
            at_mode = epoch <= settings.mode_epochs
            network: Any = self.network
            network.weights = replace(weights, kind="binary") if at_mode else weights
            return (
                (1, settings.mode_epochs + 1) if at_mode else (settings.mode_epochs + 1, settings.epochs + 1)
            )
        if settings.tasks:
            length = settings.epochs // len(settings.tasks)
            begin = continual.task_of(settings, epoch) * length + 1
            return begin, begin + length
        return 1, settings.epochs + 1

    def _end_task(self) -> None:
        """A rule that has priors takes the posterior for one."""
        end_task: Any = getattr(self.rule, "end_task", None)
        if end_task is not None:
            end_task(self.network)

    def _batch(self, rows: Tensor, distortion: torch.Generator) -> Batch:
        own = self.group.shard(rows)
        labels = self.labels.index_select(0, own)
        if self.inputs is not None:
            return Batch(take(self.inputs, own), labels, own)
        assert self.images is not None
        # All processes distort the whole batch, so that the result does not depend on how many there are.
        distorted = self.experiment.augment(self.images.index_select(0, rows), distortion)
        return Batch(
            encode_images(self.experiment.coding, self.group.shard(distorted).flatten(1)), labels, own
        )

    def _set_step_sizes(self, progress: float, epoch: int) -> None:
        factor = self.experiment.optimizer.factor(progress, epoch)
        for settings in self.optimiser.param_groups:
            settings["lr"] = settings["initial_lr"] * factor

    def _validate(self) -> dict[str, float]:
        """Figures on validation data, and the best model; of tasks learned in turn the last model is kept."""
        seed, predict, labels = self.experiment.seed, self.experiment.predict, self.validation.labels
        few = replace(predict, draws=min(predict.draws, N_VALIDATED))
        deciding = decider(few, self.network, generator(seed, "draw", self.epoch))
        prediction = predict_all(
            self.rule, deciding, self.validation.inputs, generator(seed, "predict", self.epoch)
        )
        score, figures = score_of(prediction, labels)
        settings = self.experiment.training
        if settings.tasks:
            score = float(self.epoch)
            for task, share in enumerate(
                continual.accuracies(settings, prediction.labels, labels, self.epoch), 1
            ):
                figures[f"validation_task_{task}"] = share
        if score >= self.best_accuracy:
            self.best_epoch, self.best_accuracy = self.epoch, score
            self.best = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        return figures

    def _finish(self) -> None:
        """The best model, calibrated on validation data, meets the test data."""
        if not self.group.is_first:
            return
        self.network.load_state_dict(self.best)
        experiment, noise = self.experiment, generator(self.experiment.seed, "draw")
        posterior = self.network
        self.network = decider(experiment.predict, self.network, noise)
        chosen = calibrate(self.rule, self.network, self.validation, experiment.training.max_silent, noise)
        drawn_from = posterior if experiment.weights.kind == "bernoulli" else None
        figures = evaluate(experiment, self.network, *self.test, self.folder, self.validation, drawn_from)
        figures |= {
            "best_epoch": self.best_epoch, "calibration": chosen, **self._validation(),
        }  # fmt: skip
        self.folder.write_json("evaluation.json", figures)
        self.finished = True
        save_checkpoint(self.folder.checkpoint, self._checkpoint())

    def _validation(self) -> dict[str, float]:
        """The best score, by its name."""
        if self.labels.dtype.is_floating_point:
            return {"validation_rmse": -self.best_accuracy}
        return {} if self.experiment.training.tasks else {"validation_accuracy": self.best_accuracy}

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            epoch=self.epoch, model=self.network.state_dict(), best=self.best, best_epoch=self.best_epoch,
            best_accuracy=self.best_accuracy, optimiser=self.optimiser.state_dict(), finished=self.finished,
            **self.facts,
        )  # fmt: skip

    def _restore(self) -> None:
        path = self.folder.checkpoint
        if not path.exists():  # a new run, or one that ended before its first checkpoint
            if self.group.is_first:
                self.folder.truncate_metrics(0)
            return
        checkpoint = load_checkpoint(path)
        if checkpoint.epoch > self.experiment.training.epochs:
            raise DataError(f"{path}: holds {checkpoint.epoch} epochs; the experiment has fewer")
        if checkpoint.finished:
            self.network = decider(self.experiment.predict, self.network, generator(0, "draw"))
        restore_model(path, self.network, checkpoint.model)
        restore_optimiser(path, self.optimiser, checkpoint.optimiser)
        self.epoch, self.finished = checkpoint.epoch, checkpoint.finished
        self.best, self.best_epoch, self.best_accuracy = (
            checkpoint.best, checkpoint.best_epoch, checkpoint.best_accuracy,
        )  # fmt: skip
        if self.group.is_first:
            self.folder.truncate_metrics(checkpoint.epoch)


def _backend(network: nn.Module) -> str:
    """The back end in use; networks without kernels of their own run in torch."""
    asked: Any = getattr(network, "backend", None)
    return "torch" if asked is None else str(backends.resolve(asked, torch.device("cpu")))
