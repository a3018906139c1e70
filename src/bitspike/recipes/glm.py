"""Networks that fire by chance: GLM neurons and winner-take-all circuits, trained by local three-factor rules.

What to expect stands beside each recipe; docs/results.md has what three seeds reached.
"""

from __future__ import annotations

from dataclasses import replace

from bitspike.coding import EventBins, Latency
from bitspike.experiment import Data, Experiment, Training
from bitspike.rules.fl_snn import FLSNN
from bitspike.rules.three_factor import ThreeFactor
from bitspike.rules.vowel import VOWEL
from bitspike.settings import GLM, Optimizer, Weights
from bitspike.settings.basis import Exponential, RaisedCosine

_SMALL = Weights("real", hidden=(-0.01, 0.01), output=(-0.01, 0.01), clip=None)
_BINARY = Weights("binary", clip=1.0)
_STEPS = Optimizer("adam", lr=1.0)
_DRAWS = ThreeFactor(signal="scalar", draws=4, baseline="leave-one-out")

# One spike per pixel; 64 hidden units and the pixels themselves drive the outputs.
glm_digits = Experiment(
    name="glm-digits",
    data=Data("digits"),
    coding=Latency(16),
    network=GLM(hidden=(64,), basis=Exponential(8.0, 16)),
    weights=_SMALL,
    rule=ThreeFactor(),
    optimizer=_STEPS,
    training=Training(epochs=40, batch_size=32),
)

glm_mnist = replace(
    glm_digits,
    name="glm-mnist",
    data=Data("mnist"),
    network=GLM(hidden=(256,), basis=Exponential(8.0, 16)),
    training=Training(epochs=10, batch_size=32),
)

# A bit per synapse and a scale per row; a sign needs larger steps to turn.
glm_mnist_binary = replace(
    glm_mnist, name="glm-mnist-binary", weights=_BINARY, optimizer=Optimizer("adam", lr=0.03)
)

# Hidden circuits of two values, taught by one reward for all, as VOWEL's; four draws make its baseline.
vowel_digits = replace(
    glm_digits,
    name="vowel-digits",
    network=GLM(hidden=(16,), values=2, basis=Exponential(8.0, 16)),
    rule=_DRAWS,
)

vowel_mnist = replace(
    vowel_digits,
    name="vowel-mnist",
    data=Data("mnist"),
    network=GLM(hidden=(32,), values=2, basis=Exponential(8.0, 16)),
    training=Training(epochs=10, batch_size=32),
)

# Both polarities of every pixel enter as inputs of their own.
vowel_events_mnist = replace(
    vowel_mnist,
    name="vowel-events-mnist",
    data=Data("events:mnist"),
    coding=EventBins(32, 10_000, stabilise=False, height=28, width=28),
    network=GLM(hidden=(32,), values=2, basis=Exponential(10.0, 30)),
    training=Training(epochs=5, batch_size=32),
)

vowel_nmnist = replace(
    vowel_events_mnist,
    name="vowel-nmnist",
    data=Data("nmnist", validation=0.1),
    coding=EventBins(32, 10_000),
    network=GLM(hidden=(), basis=Exponential(10.0, 30)),
    optimizer=Optimizer("adam", lr=3.0),
    training=Training(epochs=20, batch_size=16),
)

# The published rules, an update per step and one sample after the other. FL-SNN: outputs hear each other and hidden
# circuits the outputs; the label spikes in every fifth step.
fl_snn_digits_paper = Experiment(
    name="fl-snn-digits-paper",
    data=Data("digits"),
    coding=Latency(20),
    network=GLM(
        hidden=(16,),
        basis=RaisedCosine(8, 10, "fixed"),
        feedback=RaisedCosine(1, 10, "fixed"),
        lateral=True,
        top_down=True,
        label=(1, 0, 0, 0, 0),
        decision="count",
    ),
    weights=_SMALL,
    rule=FLSNN(kappa=0.05),
    optimizer=Optimizer("sgd", lr=0.05, schedule="constant"),
    training=Training(epochs=5, batch_size=32),
)

vowel_digits_paper = Experiment(
    name="vowel-digits-paper",
    data=Data("digits"),
    coding=Latency(20),
    network=GLM(
        hidden=(16,),
        values=2,
        basis=RaisedCosine(8, 10, "fixed"),
        feedback=RaisedCosine(1, 10, "fixed"),
        recurrent=True,
        lateral=True,
        decision="count",
    ),
    weights=Weights("real", hidden=(-0.05, 0.05), output=(-0.05, 0.05), clip=None),
    rule=VOWEL(),
    optimizer=Optimizer("sgd", lr=0.005, schedule="constant"),
    training=Training(epochs=5, batch_size=32),
)
