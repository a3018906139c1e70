"""What the benchmarks run on: images, and networks as training leaves them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from bitspike.contracts import Batch, Task, encode_images
from bitspike.data import Split, split
from bitspike.data.loading import load
from bitspike.errors import DataError
from bitspike.experiment import Experiment


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


def coded(experiment: Experiment, pixels: np.ndarray) -> Tensor:
    """Images coded as the experiment codes them, `(n, features)`."""
    return encode_images(experiment.coding, torch.from_numpy(pixels).flatten(1))


def trained(experiment: Experiment, data: Split, n_batches: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """The experiment's network after `n_batches` steps, so that firing rates and errors are those of real use.

    Epochs end as they do in training: S4NN then knows how far it must follow a sample to count dead neurons.
    """
    generator = torch.Generator().manual_seed(experiment.seed)
    inputs, labels = coded(experiment, data.train_inputs), torch.from_numpy(data.train_labels)
    task = Task(inputs[:1000], int(labels.max()) + 1, data.train_inputs.shape[1:], len(labels))
    model, optimiser = experiment.rule.init(experiment, task, generator)
    size = experiment.training.batch_size
    per_epoch = max(1, len(labels) // size)
    for index in range(n_batches):
        chosen = torch.randint(0, len(labels), (size,), generator=generator)
        experiment.rule.step(model, optimiser, Batch(inputs[chosen], labels[chosen]), generator)
        if index + 1 == n_batches or (index + 1) % per_epoch == 0:
            experiment.rule.end_epoch(model, generator)
    return model, optimiser


def mlp(*widths: int) -> nn.Sequential:
    """The rival everybody knows: float32 linear layers with ReLU."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
