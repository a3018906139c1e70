"""BiSNN with the settings of the authors' configuration files; see bitspike.rules.bisnn for what stands in their place.

They want thousands of epochs: latents start at +-10 (MNIST-DVS: +-5), where useful gradients are rare bursts. Report
the ensemble: after few epochs the mode of such a posterior is another network than its draws. The readouts of the
MNIST-DVS configuration went through softmax twice; here they do once.
"""

from __future__ import annotations

from dataclasses import replace

from bitspike.experiment import Training
from bitspike.recipes.bisnn import bayes_bisnn_mnistdvs, bayes_bisnn_moons, bayes_bisnn_regression
from bitspike.rules.bisnn import BiSNN
from bitspike.settings import SRM, Optimizer, Predict, Weights

_TEN = Weights("bernoulli", (-10.0, 10.0), (-10.0, 10.0), clip=None, ends=True)
_FIVE = Weights("bernoulli", (-5.0, 5.0), (-5.0, 5.0), clip=None, ends=True)
_RULE = BiSNN(relaxation="relaxed", tau=1.0, rho=5e-4)

bayes_bisnn_moons_paper = replace(
    bayes_bisnn_moons,
    name="bayes-bisnn-moons-paper",
    network=SRM(("256", "256"), burn_in=10),
    weights=_TEN,
    rule=_RULE,
    optimizer=Optimizer("sgd", lr=0.1, schedule="constant"),
    training=Training(epochs=5000, batch_size=40),
    predict=Predict("ensemble", 10),
)
st_bisnn_moons_paper = replace(
    bayes_bisnn_moons_paper,
    name="st-bisnn-moons-paper",
    weights=replace(_TEN, kind="binary"),
    optimizer=Optimizer("sgd", lr=750.0, schedule="constant"),
    training=Training(epochs=5000, batch_size=32),
    predict=Predict(),
)
bayes_bisnn_regression_paper = replace(
    bayes_bisnn_regression,
    name="bayes-bisnn-regression-paper",
    weights=_TEN,
    rule=replace(_RULE, tau=0.1),
    optimizer=Optimizer("sgd", lr=0.01, schedule="constant"),
    training=Training(epochs=5000, batch_size=32),
    predict=Predict("ensemble", 10),
)
bayes_bisnn_mnistdvs_paper = replace(
    bayes_bisnn_mnistdvs,
    name="bayes-bisnn-mnistdvs-paper",
    weights=_FIVE,
    rule=replace(_RULE, rho=1e-7),
    optimizer=Optimizer("sgd", lr=150.0, schedule="constant"),
    training=Training(epochs=500, batch_size=64),
    predict=Predict("ensemble", 10),
)
st_bisnn_mnistdvs_paper = replace(
    bayes_bisnn_mnistdvs_paper,
    name="st-bisnn-mnistdvs-paper",
    weights=replace(_FIVE, kind="binary"),
    optimizer=Optimizer("sgd", lr=500.0, schedule="constant"),
    predict=Predict(),
)
