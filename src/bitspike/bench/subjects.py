"""What the benchmarks run on: images, and networks as training leaves them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from bitspike.bench.timing import Call
from bitspike.contracts import Batch, Progress
from bitspike.data import Split, split
from bitspike.data.augment import Augment
from bitspike.data.loading import load
from bitspike.deploy.model import Model
from bitspike.deploy.pack import pack
from bitspike.errors import DataError
from bitspike.experiment import Experiment
from bitspike.training.encode import encode
from bitspike.training.trainer import Trainer

CLASSES = tuple("0123456789")
ENDLESS = 10**9  # epochs: step sizes stay at the first, and nothing is validated


def images() -> tuple[str, Split]:
    """MNIST where it is on this machine, else scikit-learn's digits enlarged to 28 x 28; the name says which."""
    try:
        return "mnist", split(load("mnist", download=False), 1 / 6, 0)
    except DataError:
        return "digits, enlarged", digits()


def digits() -> Split:
    """scikit-learn's digits enlarged to 28 x 28."""
    parts = split(load("digits"), 1 / 6, 0)

    def enlarge(x: np.ndarray) -> np.ndarray:
        return np.pad(np.kron(x, np.ones((1, 3, 3), np.uint8)), ((0, 0), (2, 2), (2, 2)))

    return replace(
        parts,
        train_inputs=enlarge(parts.train_inputs),
        validation_inputs=enlarge(parts.validation_inputs),
        test_inputs=enlarge(parts.test_inputs),
    )


def pixels(data: Split, batch: int) -> Tensor:
    """The first training images, uint8 `(batch, 784)`."""
    return torch.from_numpy(data.train_inputs[:batch]).flatten(1)


def first_batch(experiment: Experiment, data: Split) -> Batch:
    """The first training images of the experiment's batch size, coded."""
    size = experiment.training.batch_size
    return Batch(
        encode(experiment.coding, data.train_inputs[:size]), torch.from_numpy(data.train_labels[:size])
    )


def batches(experiment: Experiment, data: Split) -> Callable[[], Batch]:
    """Batches of the training images, one after the other and round again; coded beforehand."""
    inputs, labels = encode(experiment.coding, data.train_inputs), torch.from_numpy(data.train_labels)
    size, place = experiment.training.batch_size, [0]

    def following() -> Batch:
        start = place[0] = (place[0] + size) % (len(labels) - size + 1)
        return Batch(inputs[start : start + size], labels[start : start + size])

    return following


def trained(experiment: Experiment, data: Split, n_batches: int) -> Trainer:
    """The experiment after `n_batches` of unchanged images, so that firing rates and errors are those of real use.

    Epochs end as they do in training: S4NN then knows how far it must follow a sample to count dead neurons.
    """
    endless = experiment.with_changes(
        {
            "augment": Augment(),
            "training.shuffle": "replacement",
            "training.epochs": ENDLESS,
            "training.evaluate_every": ENDLESS,
        }
    )
    trainer = Trainer(endless, data, len(CLASSES), data.train_inputs.shape[1:])
    if n_batches:
        trainer.run(steps=n_batches)
        trainer.learner.end_epoch(torch.Generator().manual_seed(experiment.seed))
    return trainer


def learning(trainer: Trainer, following: Callable[[], Batch]) -> Call:
    """One training step of a batch per call; its work is counted in images."""
    learner, generator = trainer.learner, torch.Generator().manual_seed(0)

    def run() -> int:
        batch = following()
        learner.step(batch, Progress(), generator)
        return len(batch.labels)

    return run


def packed_after(experiment: Experiment, data: Split, n_batches: int) -> tuple[Model, float]:
    """The network after `n_batches`, finished and packed, and its accuracy on the test images."""
    trainer = trained(experiment, data, n_batches)
    trainer.network.finish(trainer.validation, experiment.training.max_silent)
    model = pack(trainer.network, experiment, CLASSES, data.test_inputs.shape[1:])
    return model, float((model.predict(data.test_inputs) == data.test_labels).mean())


def mlp(*widths: int) -> nn.Sequential:
    """The rival everybody knows: float32 linear layers with ReLU."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
