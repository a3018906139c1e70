"""The BNN that BS4NN is compared with: the same widths and one-bit weights, without time
(bitspike.rules.bnn).

MNIST 96.8 % and Fashion-MNIST 86.4 % are published (BS4NN, arXiv 2007.04039), without augmentation; what these recipes
reached is in docs/results.md. The networks are defined in section 13 of the S4NN and BS4NN specification.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import sqrt

from bitspike.coding import Pixel
from bitspike.experiment import Data, Experiment, Training
from bitspike.recipes.first_spike_race import bs4nn_mnist
from bitspike.rules.bnn import BNN
from bitspike.settings import IF, Optimizer, Weights

# As defined: latents start as Glorot's, Adam goes from 1e-3 to 1e-5; alpha starts at 1/sqrt(n_in) (rules.bnn).
_OPTIMIZER = Optimizer(
    lr=1e-3, lr_threshold=1e-3, lr_output_threshold=1e-3, schedule="exponential", final=0.01
)


def _glorot(*widths: int) -> Weights:
    """Uniform within sqrt(6 / (n_in + n_out)) of 0, in the hidden and in the output layer."""
    hidden, output = (sqrt(6 / (n_in + n_out)) for n_in, n_out in pairwise(widths))
    return Weights(kind="binary", hidden=(-hidden, hidden), output=(-output, output), clip=1.0)


# Few images make few steps: larger ones.
bnn_digits = Experiment(
    name="bnn-digits",
    data=Data("digits"),
    coding=Pixel(),
    network=IF(hidden=(200,)),
    weights=_glorot(64, 200, 10),
    rule=BNN(),
    optimizer=replace(_OPTIMIZER, lr=1e-2),
    training=Training(epochs=60, batch_size=20),
)

bnn_mnist = Experiment(
    name="bnn-mnist",
    data=Data("mnist"),
    coding=Pixel(),
    network=IF(hidden=(600,)),
    weights=_glorot(784, 600, 10),
    rule=BNN(),
    optimizer=_OPTIMIZER,
    training=Training(epochs=20),
)

# As many changed images as bs4nn-mnist sees: the two on equal terms.
bnn_mnist_augmented = replace(
    bnn_mnist,
    name="bnn-mnist-augmented",
    augment=bs4nn_mnist.augment,
    training=bs4nn_mnist.training,
)

bnn_fashion = Experiment(
    name="bnn-fashion",
    data=Data("fashion"),
    coding=Pixel(),
    network=IF(hidden=(1000,)),
    weights=_glorot(784, 1000, 10),
    rule=BNN(),
    optimizer=_OPTIMIZER,
    training=Training(epochs=20),
)
