"""Networks of finished runs, without their data."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from bitspike.coding import SpikeList
from bitspike.contracts import Coding, Task
from bitspike.errors import DataError
from bitspike.experiment import Experiment
from bitspike.networks.base import Network
from bitspike.networks.committee import Ensemble, deciding
from bitspike.networks.inputs import encode_images
from bitspike.training.checkpoint import Checkpoint, load_checkpoint, restore_network
from bitspike.training.randomness import generator
from bitspike.training.run_folder import RunFolder

Plugins = Sequence[str | ModuleType]


def load_model(folder: Path | str, plugins: Plugins = ()) -> tuple[Experiment, Network]:
    """Experiment and finished network of a run, without its data. `DataError` when the run is not finished.

    The network is a `Committee` or an `Ensemble` where `experiment.predict` says so. `plugins`: modules, or their
    names, that hold classes of your own which the run uses.
    """
    experiment, network, checkpoint, path = _loaded(folder, plugins)
    decider = deciding(network, experiment.predict, generator(0, "draw"))
    restore_network(path, decider, checkpoint.final)
    return experiment, decider


def load_shipped(folder: Path | str, plugins: Plugins = ()) -> tuple[Experiment, Network]:
    """Experiment and the network that is packed: `load_model`'s, of an ensemble a committee of draws by the seed."""
    experiment, network = load_model(folder, plugins)
    if isinstance(network, Ensemble):  # the one network that cannot be written down as it is
        network = network.drawn(generator(experiment.seed, "draw"))
    return experiment, network


def load_best(folder: Path | str, plugins: Plugins = ()) -> tuple[Experiment, Network]:
    """Experiment and best network of a finished run before it was calibrated; of a Bayesian run its posterior."""
    experiment, network, checkpoint, path = _loaded(folder, plugins)
    restore_network(path, network, checkpoint.best)
    return experiment, network


def load_snapshots(folder: Path | str, plugins: Plugins = ()) -> tuple[Experiment, list[Network]]:
    """Experiment and the networks kept after the last epochs (`training.keep`), in their order."""
    run = RunFolder.open(Path(folder))
    files = sorted(run.path.glob("snapshot-*.safetensors"), key=lambda file: (len(file.name), file.name))
    if not files:
        raise DataError(
            f"{folder} holds no snapshots; train with --training.keep 5, say, or leave out --snapshots"
        )
    experiment, fresh, _, _ = _loaded(folder, plugins)
    networks = []
    for file in files[-experiment.training.keep :]:  # a run that was trained on has older ones too
        network = copy.deepcopy(fresh)
        restore_network(file, network, load_checkpoint(file).network)
        networks.append(network)
    return experiment, networks


def _loaded(folder: Path | str, plugins: Plugins) -> tuple[Experiment, Network, Checkpoint, Path]:
    run = RunFolder.open(Path(folder))
    experiment, checkpoint = run.experiment(plugins), load_checkpoint(run.checkpoint)
    if not checkpoint.finished:
        raise DataError(f"{folder}: the run stopped after epoch {checkpoint.epoch}; resume it first")
    facts, noise = checkpoint.facts, generator(0, "start")
    sample = _sample(experiment.coding, facts.n_inputs, noise)
    task = Task(sample, facts.n_classes, facts.input_shape, facts.n_train)
    with run.blamed():
        network: Network = experiment.rule.build(experiment, task, noise)
    return experiment, network, checkpoint, run.checkpoint


def _sample(coding: Coding, n_inputs: int, noise: torch.Generator) -> Any:
    """Coded inputs of the right shape: of a data set that is not there; recordings have one spike each."""
    if coding.of_images:
        return encode_images(
            coding, torch.randint(0, 256, (16, n_inputs), generator=noise, dtype=torch.uint8)
        )
    steps, channels = np.zeros(16, np.int16), np.arange(16, dtype=np.int32) % n_inputs
    return SpikeList(steps, channels, np.arange(17), coding.n_steps, n_inputs)
