"""A run: `Trainer` with a folder, so that nothing is lost and everything is written down.

Each epoch adds a line to metrics.jsonl and replaces the checkpoint. At the end the network that was best on validation
data meets the test data; no choice is made on these.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bitspike import codec
from bitspike.data import Dataset, load, split
from bitspike.errors import UsageError
from bitspike.experiment import Experiment
from bitspike.networks.base import Network
from bitspike.networks.committee import deciding
from bitspike.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    require_fit,
    restore_learner,
    restore_network,
    save_checkpoint,
)
from bitspike.training.evaluate import Evaluated, evaluate
from bitspike.training.load import Plugins
from bitspike.training.manifest import write_manifest
from bitspike.training.processes import Processes, processes
from bitspike.training.progress import Display
from bitspike.training.randomness import generator
from bitspike.training.run_folder import RunFolder, place
from bitspike.training.trainer import Trainer

FIXED = ("name", "seed", "data.name", "data.validation", "data.split")


@dataclass(frozen=True)
class TrainResult:
    """A finished run: its folder, the finished network, and what evaluation.json holds."""

    folder: Path
    experiment: Experiment
    model: Network
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
    raises `UsageError`. Under `torchrun` every process takes its share of each batch. An experiment that cannot be
    written down is refused before anything is trained.
    """
    return _train(experiment, out, data_dir, progress, resume, {})


def resume(
    folder: Path | str,
    data_dir: Path | str | None = None,
    progress: bool = True,
    changes: Mapping[str, Any] | None = None,
    plugins: Plugins = (),
) -> TrainResult:
    """Go on with the run in `folder`; of a finished one, return the result.

    `changes`: fields by dotted name, such as {"optimizer.lr": 1e-3}, that hold from here on and are written down in
    experiment.json and manifest.json. A finished run is trained on by more `training.epochs`, with other changes or
    without; by themselves these are refused, for its network was trained without them. What the data or the validation
    split hang on cannot change. `plugins`: modules, or their names, with classes of your own.
    """
    experiment = RunFolder.open(Path(folder)).experiment(plugins)
    changed = experiment.with_changes(changes or {})
    differences = experiment.changes(changed)
    for name in FIXED:
        if name in differences:
            raise UsageError(f"{name} cannot change while a run goes on; start another run")
    return _train(changed, folder, data_dir, progress, True, differences)


def _train(
    experiment: Experiment,
    out: Path | str | None,
    data_dir: Path | str | None,
    progress: bool,
    resume: bool,
    changes: dict[str, Any],
) -> TrainResult:
    codec.require_savable(experiment)
    with processes() as group:
        with RunFolder(Path(out)).blamed() if resume and out is not None else nullcontext():
            dataset = load(
                experiment.data.name, data_dir or experiment.data.dir
            )  # before anything is written
        path = place(experiment, out, resume, group.is_first, bool(changes))
        folder = RunFolder(Path(group.tell(str(path))))
        try:
            with ExitStack() as stack:
                shown = progress and group.is_first
                return _Run(experiment, folder, dataset, group, shown, changes, stack).result()
        except BaseException as error:
            if out is None and group.is_first:
                with suppress(OSError):
                    folder.path.rmdir()  # where it is still empty: the run never began
            if isinstance(error, KeyboardInterrupt) and group.is_first:
                print(f"\nstopped; go on with: bitspike train --resume {folder.quoted}", file=sys.stderr)
            raise


class _Run:
    """Everything that lives while a run goes on."""

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder,
        dataset: Dataset,
        group: Processes,
        shown: bool,
        changes: dict[str, Any],
        stack: ExitStack,
    ) -> None:
        self.experiment, self.folder, self.group, self.dataset = experiment, folder, group, dataset
        parts = split(dataset, experiment.data.validation, experiment.split_seed)
        self.test = parts.test_inputs, torch.tensor(parts.test_labels)
        with folder.blamed() if (folder.path / "experiment.json").exists() else nullcontext():
            self.trainer = Trainer(experiment, parts, dataset.n_outputs, dataset.shape, group)
        self.final: Network | None = None
        if group.is_first:
            stack.enter_context(folder.owned())
            if not (folder.path / "experiment.json").exists():
                RunFolder.create(folder.path, experiment)
        self._restore(changes)

        n_train, n_validation = len(parts.train_inputs), len(parts.validation_inputs)
        data = {
            "name": dataset.name, "note": dataset.note, "noun": dataset.noun, "sha256": dataset.hashes,
            "classes": list(dataset.classes),
            "train": n_train, "validation": n_validation, "test": len(self.test[1]),
        }  # fmt: skip
        network = self.trainer.network
        backend = network.implementation
        if group.is_first:
            write_manifest(
                folder, experiment.seed, data, backend, str(network.device), group.size, self.trainer.epoch, changes,
                self.final is not None,
            )  # fmt: skip
            if changes:
                folder.write_experiment(experiment)
        epochs = experiment.training.epochs
        n_hidden = len(experiment.network.hidden)
        self.display = Display(shown, n_train, self.trainer.epoch + 1, epochs, n_hidden)
        # No cycle leads from the trainer back here, so that what joins processes is freed before they part.
        self.trainer.watch = self.display.step
        where = "" if network.device.type == "cpu" else f" on {network.device}"
        self.display.header(
            f"{experiment.name}: {n_train} training, {n_validation} validation, {len(self.test[1])} test inputs of "
            f"{dataset.name}; back end {backend}{where}; {folder.path}"
        )

    def result(self) -> TrainResult:
        """Train what is left to train, then evaluate."""
        try:
            while not self.trainer.done:
                (figures,) = self.trainer.run(epochs=1)
                self._keep(figures)
        finally:
            self.display.close()
        if self.final is None:
            self._finish()
        network = self.trainer.network if self.final is None else self.final
        self.group.align(network)
        evaluation = self.folder.evaluation() if self.group.is_first else None
        return TrainResult(self.folder.path, self.experiment, network, self.group.tell(evaluation))

    def _keep(self, figures: dict[str, Any]) -> None:
        """Write down an epoch that ended."""
        settings, epoch = self.experiment.training, self.trainer.epoch
        if self.group.is_first:
            self.folder.append_metrics(figures)
            if epoch > settings.epochs - settings.keep:
                save_checkpoint(self.folder.snapshot(epoch), self._checkpoint())
            save_checkpoint(self.folder.checkpoint, self._checkpoint())
        self.display.epoch(figures)

    def _finish(self) -> None:
        """The best network, finished on validation data, meets the test data."""
        if not self.group.is_first:
            predict = self.experiment.predict
            self.final = deciding(self.trainer.network, predict, generator(self.experiment.seed, "draw"))
            return
        last = {name: tensor.clone() for name, tensor in self.trainer.network.state_dict().items()}
        self.final, chosen = self.trainer.finish()
        posterior = self.trainer.network if self.experiment.weights.kind == "bernoulli" else None
        evaluated = Evaluated(*self.test, self.trainer.validation, posterior, self.dataset)
        figures = evaluate(self.experiment, self.final, evaluated, self.folder)
        figures |= {
            "best_epoch": self.trainer.best_epoch, "calibration": chosen, **self._validation(),
        }  # fmt: skip
        self.folder.write_json("evaluation.json", figures)
        save_checkpoint(self.folder.checkpoint, self._checkpoint(last))

    def _validation(self) -> dict[str, float]:
        """The best score, by its name."""
        score = self.trainer.best_score
        if self.test[1].dtype.is_floating_point:
            return {"validation_rmse": -score}
        return {} if self.experiment.training.tasks else {"validation_accuracy": score}

    def _checkpoint(self, trained: dict[str, torch.Tensor] | None = None) -> Checkpoint:
        trainer = self.trainer
        return Checkpoint(
            epoch=trainer.epoch,
            network=trainer.network.state_dict() if trained is None else trained,
            best=trainer.best,
            best_epoch=trainer.best_epoch,
            best_score=trainer.best_score,
            learner=trainer.learner.state_dict(),
            facts=trainer.facts,
            final={} if self.final is None else self.final.state_dict(),
        )

    def _restore(self, changes: dict[str, Any]) -> None:
        path, trainer = self.folder.checkpoint, self.trainer
        if not path.exists():  # a new run, or one that ended before its first checkpoint
            if self.group.is_first:
                self.folder.truncate_metrics(0)
            return
        checkpoint, epochs = load_checkpoint(path), self.experiment.training.epochs
        if checkpoint.epoch > epochs:
            raise UsageError(
                f"{path} holds {checkpoint.epoch} epochs; training.epochs is {epochs}, set it to that many or more"
            )
        ended = checkpoint.finished and checkpoint.epoch == epochs
        if ended and changes:
            raise UsageError(
                f"{self.folder.path} is finished, without {next(iter(changes))} changed; raise training.epochs too to "
                "train it on, or start another run"
            )
        if ended:
            self.final = deciding(trainer.network, self.experiment.predict, generator(0, "draw"))
            restore_network(path, self.final, checkpoint.final)
        elif checkpoint.finished and not checkpoint.network:
            raise UsageError(
                f"{path}: a finished run of an older version cannot be trained on; start another"
            )
        if not ended:
            restore_network(path, trainer.network, checkpoint.network)
            restore_learner(path, trainer.learner, checkpoint.learner)
            if checkpoint.best or checkpoint.best_epoch:
                require_fit(path, trainer.network, checkpoint.best)
        trainer.epoch, trainer.best = checkpoint.epoch, checkpoint.best
        trainer.best_epoch, trainer.best_score = checkpoint.best_epoch, checkpoint.best_score
        if self.group.is_first:
            self.folder.truncate_metrics(checkpoint.epoch)
