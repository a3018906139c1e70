"""Networks of finished runs, without their data."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from bitspike.contracts import Rule, Task, encode_images
from bitspike.errors import DataError
from bitspike.experiment import Experiment
from bitspike.networks.committee import Ensemble
from bitspike.training.checkpoint import Checkpoint, load_checkpoint, restore_model
from bitspike.training.deciding import decider
from bitspike.training.randomness import generator
from bitspike.training.run_folder import RunFolder


def load_model(folder: Path | str) -> tuple[Experiment, nn.Module]:
    """Experiment and calibrated model of a finished run, without its data. `DataError` when not finished.

    The model is a `Committee` or an `Ensemble` where `experiment.predict` says so.
    """
    experiment, network, checkpoint, path = _loaded(folder)
    model = decider(experiment.predict, network, generator(0, "draw"))
    restore_model(path, model, checkpoint.model)
    return experiment, model


def load_shipped(folder: Path | str) -> tuple[Experiment, nn.Module]:
    """Experiment and the model that is packed: `load_model`'s, of an ensemble a committee of draws by the seed."""
    experiment, model = load_model(folder)
    if isinstance(model, Ensemble):
        model = model.drawn(generator(experiment.seed, "draw"))
    return experiment, model


def load_best(folder: Path | str) -> tuple[Experiment, nn.Module]:
    """Experiment and best network of a finished run before calibration; of a Bayesian run its posterior."""
    experiment, network, checkpoint, path = _loaded(folder)
    restore_model(path, network, checkpoint.best)
    return experiment, network


def _loaded(folder: Path | str) -> tuple[Experiment, nn.Module, Checkpoint, Path]:
    run = RunFolder.open(Path(folder))
    experiment, checkpoint = run.experiment(), load_checkpoint(run.checkpoint)
    if not checkpoint.finished:
        raise DataError(f"{folder}: the run stopped after epoch {checkpoint.epoch}; resume it first")
    noise = generator(0, "start")
    images = torch.randint(0, 256, (16, checkpoint.n_inputs), generator=noise, dtype=torch.uint8)
    # Recordings are counted in channels already; a rule reads no more than that from the sample.
    sample = encode_images(experiment.coding, images) if experiment.coding.of_images else images
    task = Task(sample, checkpoint.n_classes, checkpoint.input_shape, checkpoint.n_train)
    rule: Rule = experiment.rule
    network, _ = rule.init(experiment, task, noise)
    return experiment, network, checkpoint, run.checkpoint
