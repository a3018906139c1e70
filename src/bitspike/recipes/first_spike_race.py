"""S4NN and BS4NN networks (one spike per neuron; real or one-bit weights), trained by the race rule
(bitspike.rules.first_spike_race).

Same networks as the papers, other training; recipes/s4nn_paper.py has the published training. What these recipes
reached, over three seeds, is in README's table.
"""

from __future__ import annotations

from dataclasses import replace

from bitspike.coding import FirstSpike
from bitspike.data.augment import Augment
from bitspike.experiment import Data, Experiment, Training
from bitspike.rules.first_spike_race import FirstSpikeRace
from bitspike.settings import IF, Optimizer, Predict, Weights

_HANDWRITING = Augment(rotation=8.0, scale=0.08, shear=0.08, shift=1.0, elastic=0.3)
_REAL = Weights(kind="real", hidden=(-0.1, 0.1), output=(-0.1, 0.1), clip=None)
_REAL_STEPS = Optimizer(lr=4e-3, lr_threshold=4e-3, lr_output_threshold=1e-2)
_REAL_RACE = FirstSpikeRace(tau_c=1.0, tau_h=1.0, width=1.0, theta_out=10.0)

bs4nn_digits = Experiment(
    name="bs4nn-digits",
    data=Data("digits"),
    augment=replace(_HANDWRITING, shift=0.5, elastic=0.0),
    coding=FirstSpike(16),
    network=IF(hidden=(400,)),
    weights=Weights(),
    rule=FirstSpikeRace(tau_c=3.0, tau_h=3.0, width=8.0, theta_out=28.0),
    optimizer=Optimizer(lr=1e-2),
    training=Training(epochs=80, batch_size=32),
)

s4nn_digits = replace(
    bs4nn_digits,
    name="s4nn-digits",
    network=IF(hidden=(200,)),
    weights=_REAL,
    rule=_REAL_RACE,
    optimizer=_REAL_STEPS,
)

bs4nn_mnist = Experiment(
    name="bs4nn-mnist",
    data=Data("mnist"),
    augment=_HANDWRITING,
    coding=FirstSpike(16),
    network=IF(hidden=(600,)),
    weights=Weights(),
    rule=FirstSpikeRace(tau_c=4.0, tau_h=4.0, width=16.0, theta_out=36.0),
    optimizer=Optimizer(lr=1e-2),
    training=Training(epochs=60, batch_size=100),
)

# The same training in latents 30 times as large, then eight epochs by draws from the posterior that they are.
bayes_bs4nn_mnist = replace(
    bs4nn_mnist,
    name="bayes-bs4nn-mnist",
    weights=Weights("bernoulli", hidden=(-15.0, 15.0), output=(-15.0, 15.0), clip=30.0),
    optimizer=Optimizer(lr=0.3),
    training=Training(epochs=68, batch_size=100, mode_epochs=60),
    predict=Predict("committee", 10),
)

s4nn_mnist = replace(
    bs4nn_mnist,
    name="s4nn-mnist",
    network=IF(hidden=(400,)),
    weights=_REAL,
    rule=_REAL_RACE,
    optimizer=_REAL_STEPS,
)

bs4nn_fashion = Experiment(
    name="bs4nn-fashion",
    data=Data("fashion"),
    augment=Augment(flip=True),
    coding=FirstSpike(32),
    network=IF(hidden=(1000,)),
    weights=Weights(),
    rule=FirstSpikeRace(tau_c=8.0, tau_h=6.0, width=24.0, theta_out=80.0, dropout=0.1),
    optimizer=Optimizer(lr=1e-2),
    training=Training(epochs=40, batch_size=100),
)

s4nn_fashion = replace(
    bs4nn_fashion,
    name="s4nn-fashion",
    weights=Weights(kind="real", hidden=(-0.05, 0.05), output=(-0.1, 0.1), clip=None),
    rule=FirstSpikeRace(tau_c=1.0, tau_h=1.0, width=1.5, theta_out=10.0, dropout=0.4),
    optimizer=Optimizer(lr=2e-3, lr_threshold=4e-3, lr_output_threshold=1e-2, weight_decay=0.05),
    training=Training(epochs=24, batch_size=100),
)
