"""S4NN and BS4NN on MNIST by the published rule, one sample at a time (docs/methods/s4nn.md).

Network, start, coding and rule are the papers'; step sizes are held, then fall in a line, and of BS4NN the margin, the
thresholds and the relation of the layers' steps are others: the authors' own weight files were not made with the
parameters of their notebooks either. Published test accuracy: 97.4 % (S4NN) and 97.0 % (BS4NN), a tie for the earliest
output counting as correct when the true class is in it, at the epoch that was best on the test data. Here the epoch is
chosen on validation data. The authors' order of labels is not copied: it matters only for ties that potentials do not
break.
"""

from __future__ import annotations

from bitspike.coding import FirstSpike
from bitspike.experiment import Data, Experiment, Training
from bitspike.rules.s4nn import S4NN
from bitspike.settings import IF, Optimizer, Weights

s4nn_mnist_paper = Experiment(
    name="s4nn-mnist-paper",
    data=Data("mnist", validation=1 / 12),
    coding=FirstSpike(n_steps=256),
    network=IF(hidden=(400,), delay=1),
    weights=Weights("real", hidden=(0.0, 5.0), output=(0.0, 48.0), clip=None),
    rule=S4NN(gamma=3, thresholds=(100.0, 100.0), online=True, backward_weights="post", dead_share=0.001),
    optimizer=Optimizer("sgd", lr=0.3, weight_decay=1e-6, schedule="linear", hold=0.7, final=0.02),
    training=Training(epochs=100, batch_size=100, shuffle="none"),
    seed=0,
)

bs4nn_mnist_paper = Experiment(
    name="bs4nn-mnist-paper",
    data=Data("mnist", validation=1 / 12),
    coding=FirstSpike(n_steps=256),
    network=IF(hidden=(600,), delay=1),
    weights=Weights("binary", hidden=(0.0, 5.0), output=(0.0, 48.0), clip=None),
    rule=S4NN(
        gamma=8,
        thresholds=(100.0, 100.0),
        alpha=4.0,
        alpha_output=8.0,
        mu=0.01,
        output_rate=1 / 3,
        online=True,
        backward_weights="post",
        dead_share=0.001,
    ),
    optimizer=Optimizer("sgd", lr=0.3, weight_decay=0.0, schedule="linear", hold=0.6, final=0.01),
    training=Training(epochs=80, batch_size=100, shuffle="permutation"),
    seed=0,
)
