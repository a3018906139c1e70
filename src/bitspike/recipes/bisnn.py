"""BiSNN (bitspike.rules.bisnn): real, straight-through (st) and Bayesian (bayes) weights, each the same network.

Departures from the published settings, which want thousands of epochs (recipes/bisnn_paper.py): latents start in
U(-1, 1) instead of at +-10, steps shrink to 0 along a cosine, and for images the draws are hard (s = 1), Adam makes the
steps and the surrogate's box is wider. Still images become new trains at every presentation.
"""

from __future__ import annotations

from dataclasses import replace

from bitspike.coding import EventBins, Poisson
from bitspike.experiment import Data, Experiment, Training
from bitspike.rules.bisnn import BiSNN
from bitspike.settings import SRM, Optimizer, Predict, Weights

_REAL = Weights("real", (-1.0, 1.0), (-1.0, 1.0), clip=None, conv=(-1.0, 1.0))
_BINARY = Weights("binary", (-1.0, 1.0), (-1.0, 1.0), clip=1.0, conv=(-1.0, 1.0))
_BERNOULLI = replace(_BINARY, kind="bernoulli", clip=None)
_COMMITTEE = Predict("committee", 10)

# Two moons: 20-128-128 and one readout, 100 steps, trains drawn once.
real_bisnn_moons = Experiment(
    name="real-bisnn-moons",
    data=Data("moons", validation=0.2),
    coding=Poisson(100, rate=1.0, frozen=True),
    network=SRM(("128", "128"), burn_in=10),
    weights=_REAL,
    rule=BiSNN(),
    optimizer=Optimizer("sgd", lr=10.0),
    training=Training(epochs=125, batch_size=40),
)
st_bisnn_moons = replace(
    real_bisnn_moons, name="st-bisnn-moons", weights=_BINARY, optimizer=Optimizer("adam", lr=3e-3)
)
bayes_bisnn_moons = replace(
    real_bisnn_moons,
    name="bayes-bisnn-moons",
    weights=_BERNOULLI,
    rule=BiSNN(relaxation="relaxed", tau=0.3, rho=1e-5),
    predict=_COMMITTEE,
)

# One-dimensional regression with gaps: 20-128-128 and one readout.
real_bisnn_regression = replace(
    real_bisnn_moons,
    name="real-bisnn-regression",
    data=Data("regression", validation=0.2),
    training=Training(epochs=250, batch_size=16),
)
st_bisnn_regression = replace(
    real_bisnn_regression,
    name="st-bisnn-regression",
    weights=_BINARY,
    optimizer=Optimizer("adam", lr=3e-3),
)
bayes_bisnn_regression = replace(
    real_bisnn_regression,
    name="bayes-bisnn-regression",
    weights=_BERNOULLI,
    rule=BiSNN(relaxation="relaxed", tau=0.3, rho=1e-5),
    predict=_COMMITTEE,
)

# MNIST as spike trains: 784-256-256 and readouts of ten, 40 steps.
real_bisnn_mnist = Experiment(
    name="real-bisnn-mnist",
    data=Data("mnist"),
    coding=Poisson(41, rate=0.5),
    network=SRM(("256", "256"), bias=True, burn_in=11),
    weights=_REAL,
    rule=BiSNN(box=3.0),
    optimizer=Optimizer("adam", lr=3e-3),
    training=Training(epochs=5, batch_size=64),
)
st_bisnn_mnist = replace(real_bisnn_mnist, name="st-bisnn-mnist", weights=_BINARY)
bayes_bisnn_mnist = replace(
    real_bisnn_mnist,
    name="bayes-bisnn-mnist",
    weights=_BERNOULLI,
    rule=BiSNN(box=3.0, rho=1e-7),
    optimizer=Optimizer("adam", lr=1e-2),
    predict=_COMMITTEE,
)

# MNIST as the events of a simulated camera.
real_bisnn_events_mnist = replace(
    real_bisnn_mnist,
    name="real-bisnn-events-mnist",
    data=Data("events:mnist"),
    coding=EventBins(52, 6000, stabilise=False, height=28, width=28),
    training=Training(epochs=4, batch_size=64),
)
st_bisnn_events_mnist = replace(real_bisnn_events_mnist, name="st-bisnn-events-mnist", weights=_BINARY)
bayes_bisnn_events_mnist = replace(
    bayes_bisnn_mnist,
    name="bayes-bisnn-events-mnist",
    data=real_bisnn_events_mnist.data,
    coding=real_bisnn_events_mnist.coding,
    training=real_bisnn_events_mnist.training,
)

# N-MNIST, 1,000 and 100 recordings, in bins of 6 ms.
real_bisnn_nmnist = replace(
    real_bisnn_mnist,
    name="real-bisnn-nmnist",
    data=Data("nmnist-1100", validation=1 / 10),
    coding=EventBins(54, 6000),
    training=Training(epochs=30, batch_size=32),
)
st_bisnn_nmnist = replace(real_bisnn_nmnist, name="st-bisnn-nmnist", weights=_BINARY)
bayes_bisnn_nmnist = replace(
    bayes_bisnn_mnist,
    name="bayes-bisnn-nmnist",
    data=real_bisnn_nmnist.data,
    coding=real_bisnn_nmnist.coding,
    training=real_bisnn_nmnist.training,
)

# MNIST-DVS, 26 x 26 pixels of scale 4, the first 2 s in bins of 5 ms, as published.
real_bisnn_mnistdvs = replace(
    real_bisnn_mnist,
    name="real-bisnn-mnistdvs",
    data=Data("mnist-dvs", validation=1 / 10),
    coding=EventBins(402, 5000, stabilise=False, height=26, width=26),
    network=SRM(("256", "256"), bias=True, burn_in=100),
    training=Training(epochs=10, batch_size=64),
)
st_bisnn_mnistdvs = replace(real_bisnn_mnistdvs, name="st-bisnn-mnistdvs", weights=_BINARY)
bayes_bisnn_mnistdvs = replace(
    bayes_bisnn_mnist,
    name="bayes-bisnn-mnistdvs",
    data=real_bisnn_mnistdvs.data,
    coding=real_bisnn_mnistdvs.coding,
    network=real_bisnn_mnistdvs.network,
    training=real_bisnn_mnistdvs.training,
)

# Digits two by two: the posterior after a task is the prior of the next, three batches of every past task stay.
bayes_bisnn_split_digits = replace(
    bayes_bisnn_mnist,
    name="bayes-bisnn-split-digits",
    data=Data("digits"),
    rule=BiSNN(box=3.0, rho=1e-3),
    training=Training(epochs=50, batch_size=32, tasks=("0,1", "2,3", "4,5", "6,7", "8,9"), coreset=3),
)
