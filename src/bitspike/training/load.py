"""Networks of finished runs, without their data."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch

from bitspike.contracts import Task
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
    images = torch.randint(0, 256, (16, facts.n_inputs), generator=noise, dtype=torch.uint8)
    # Recordings are counted in channels already; a rule reads no more than that from the sample.
    sample = encode_images(experiment.coding, images) if experiment.coding.of_images else images
    task = Task(sample, facts.n_classes, facts.input_shape, facts.n_train)
    with run.blamed():
        network: Network = experiment.rule.build(experiment, task, noise)
    return experiment, network, checkpoint, run.checkpoint
