"""The BNN that BS4NN is compared with: the same widths and one-bit weights, without time
(bitspike.rules.bnn).

MNIST 96.8 % and Fashion-MNIST 86.4 % are published (BS4NN, arXiv 2007.04039); what this recipe reached is in
docs/training.md. The networks are defined in section 13 of the S4NN and BS4NN specification.
"""

from __future__ import annotations

from bitspike.coding import Pixel
from bitspike.experiment import Data, Experiment, Training
from bitspike.rules.bnn import BNN
from bitspike.settings import Network, Optimizer
from bitspike.weights import Weights

_WEIGHTS = Weights(kind="binary", hidden=(-0.01, 0.01), output=(-0.01, 0.01), clip=1.0)
_OPTIMIZER = Optimizer(
    lr=1e-3, lr_threshold=1e-2, lr_output_threshold=1e-3, schedule="exponential", final=0.01
)

bnn_digits = Experiment(
    name="bnn-digits",
    data=Data("digits"),
    coding=Pixel(),
    network=Network(hidden=(200,)),
    weights=_WEIGHTS,
    rule=BNN(),
    optimizer=_OPTIMIZER,
    training=Training(epochs=60, batch_size=20),
)

bnn_mnist = Experiment(
    name="bnn-mnist",
    data=Data("mnist"),
    coding=Pixel(),
    network=Network(hidden=(600,)),
    weights=_WEIGHTS,
    rule=BNN(),
    optimizer=_OPTIMIZER,
    training=Training(epochs=25),
)

bnn_fashion = Experiment(
    name="bnn-fashion",
    data=Data("fashion"),
    coding=Pixel(),
    network=Network(hidden=(1000,)),
    weights=_WEIGHTS,
    rule=BNN(),
    optimizer=_OPTIMIZER,
    training=Training(epochs=25),
)
