"""The BNN rule against loops over integers, by hand, and on real digits."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bitspike.coding import FirstSpike, Pixel
from bitspike.contracts import Batch, Progress, Task
from bitspike.data.digits import digits
from bitspike.errors import UsageError
from bitspike.experiment import Experiment
from bitspike.metrics import summarise
from bitspike.networks.heaviside import HeavisideNetwork
from bitspike.packed.operations import Operations
from bitspike.recipes.bnn import bnn_digits
from bitspike.rules.bnn import BNN, BNNLearner
from bitspike.settings import IF, Optimizer, Weights


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(n: int, n_inputs: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (n, n_inputs), generator=seeded(seed)).float()


def build(
    experiment: Experiment, n_inputs: int = 13, n_classes: int = 5, seed: int = 1
) -> tuple[HeavisideNetwork, BNNLearner]:
    network = experiment.rule.build(experiment, Task(pixels(3, n_inputs), n_classes), seeded(seed))
    learner = experiment.rule.learner(network, experiment)
    assert isinstance(network, HeavisideNetwork)
    assert isinstance(learner, BNNLearner)
    return network, learner


def small(rule: BNN | None = None, hidden: tuple[int, ...] = (7,)) -> Experiment:
    return Experiment("small", coding=Pixel(), network=IF(hidden), rule=rule or BNN())


def integer_outputs(network: HeavisideNetwork, inputs: Tensor, binarise: bool) -> tuple[np.ndarray, list]:
    """The network from its signs and thresholds alone: integers, in loops."""
    signal = inputs.numpy().astype(np.int64)
    if binarise:
        signal = 255 * (signal >= 128)
    hidden = []
    for layer in range(len(network.latents)):
        signs = network.signs(layer).detach().numpy().astype(np.int64)
        sums = np.zeros((len(signal), signs.shape[1]), dtype=np.int64)
        for n in range(len(signal)):
            for i in range(signs.shape[0]):
                sums[n] += signs[i] * signal[n, i]
        if layer < len(network.thetas):
            signal = (sums > float(network.threshold(layer))).astype(np.int64)
            hidden.append(signal)
    return sums, hidden


@pytest.mark.parametrize("binarise", [False, True])
@pytest.mark.parametrize("hidden", [(7,), (9, 3)])
def test_integers_decide_as_the_network_does(binarise: bool, hidden: tuple[int, ...]) -> None:
    rule = BNN(binarise=binarise)
    network, _ = build(small(rule, hidden))
    with torch.no_grad():
        for theta in network.thetas:
            theta.fill_(0.1)
    inputs = pixels(31, 13)
    sums, layers = integer_outputs(network, inputs, binarise)
    outputs, activity = network(inputs)
    alpha = float(network.log_alphas[-1].detach().exp())
    np.testing.assert_allclose(outputs.detach().numpy(), alpha * sums, rtol=1e-6)
    for expected, got in zip(layers, activity, strict=True):
        np.testing.assert_array_equal(expected, got.detach().numpy())
        assert 0 < expected.mean() < 1

    decided = network.decide(inputs)
    np.testing.assert_array_equal(decided.labels.numpy(), sums.argmax(1))
    np.testing.assert_array_equal(decided.tied.numpy(), sums == sums.max(1, keepdims=True))
    lit = inputs.numpy() >= (128 if binarise else 1)
    spikes = [lit.sum(1), *(layer.sum(1) for layer in layers)]
    np.testing.assert_array_equal(decided.n_spikes.numpy(), sum(spikes))
    fan_outs = [*hidden, 5]
    np.testing.assert_array_equal(
        decided.n_synops.numpy(), sum(s * f for s, f in zip(spikes, fan_outs, strict=True))
    )
    assert not decided.silent.any()
    assert (decided.decision_time == Pixel.n_steps).all()
    assert decided.probabilities.sum(1).numpy() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("binarise", "products", "picojoule"),
    [
        # 4 and 1 lit of 2 images, 7 units each; int32 add, or int16 add where black and white spike, + 1 bit
        (False, 7 * (4 + 1) / 2, 0.1 + 5 / 32),
        (True, 0.0, 0.05 + 5 / 32),
    ],
)
def test_grey_levels_are_charged_as_such(binarise: bool, products: float, picojoule: float) -> None:
    network, _ = build(small(BNN(binarise=binarise)), n_inputs=5)
    with torch.no_grad():
        network.thetas[0].fill_(1e3)  # no hidden unit is 1
    images = torch.tensor([[0, 200, 255, 130, 128], [0, 0, 0, 255, 0]], dtype=torch.float32)
    work, decided = network.work(images), network.decide(images)
    assert work == Operations(input_macs=products)
    found = summarise(decided, torch.tensor([0, 1]), 1, "binary", **asdict(work))
    assert found.get("input_macs", 0.0) == products
    assert found["synops"] == 17.5
    assert found["energy_uj"] == pytest.approx(17.5 * picojoule * 1e-6)


def test_threshold_is_strict() -> None:
    network, _ = build(small(hidden=(1,)), n_inputs=1, n_classes=2)
    with torch.no_grad():
        network.latents[0].fill_(0.0)  # sgn(0) = +1
        network.log_alphas[0].zero_()
        network.thetas[0].fill_(100 / 255)
    assert float(network.threshold(0)) == 100
    _, (hidden,) = network(torch.tensor([[99.0], [100.0], [101.0]]))
    assert hidden.flatten().tolist() == [0, 0, 1]


def test_ties_go_to_the_lowest_index() -> None:
    network, _ = build(small(hidden=(1,)), n_inputs=1, n_classes=4)
    with torch.no_grad():
        network.latents[0].fill_(1.0)
        network.latents[1].copy_(torch.tensor([[-1.0, 1.0, -1.0, 1.0]]))
    decided = network.decide(torch.tensor([[255.0], [0.0]]))
    assert decided.labels.tolist() == [1, 0]
    assert decided.tied.tolist() == [[False, True, False, True], [True] * 4]


def test_gradients_by_hand() -> None:
    """dL/dz passes where |z| <= 1, dL/db passes the sign; alpha and theta get the chain rule."""
    network, learner = build(small(hidden=(6,)), n_inputs=11, n_classes=3)
    inputs, labels = pixels(8, 11), torch.arange(8) % 3
    with torch.no_grad():
        network.thetas[0].fill_(0.05)
    b_1, b_2 = network.signs(0).detach().double(), network.signs(1).detach().double()
    a_1, a_2 = (value.detach().exp().double().item() for value in network.log_alphas)
    x = inputs.double() / 255
    z = a_1 * x @ b_1 - float(network.thetas[0].detach())
    h = (z > 0).double()
    o = a_2 * h @ b_2
    y = torch.full_like(o, -1.0).scatter_(1, labels[:, None], 1.0)
    d_o = -2 * y * (1 - y * o).clamp_min(0) / 8
    window = (z.abs() <= 1).double()
    assert 0 < window.mean() < 1
    d_z = (d_o @ b_2.T) * a_2 * window
    expected = [
        x.T @ d_z * a_1, h.T @ d_o * a_2,
        (d_z * (x @ b_1)).sum() * a_1, (d_o * (h @ b_2)).sum() * a_2, -d_z.sum(),
    ]  # fmt: skip
    learner.step(Batch(inputs, labels), Progress(), seeded())
    got = [*network.latents, *network.log_alphas, *network.thetas]
    for a, b in zip(expected, got, strict=True):
        torch.testing.assert_close(a, b.grad.double(), rtol=1e-4, atol=1e-6)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [("hinge", 0 + 8 + 2), ("cross_entropy", math.log1p(math.e**-2) + math.log1p(math.e**2) + math.log(2))],
)
def test_report_counts_the_batch(loss: Any, expected: float) -> None:
    network, learner = build(small(BNN(loss), (2, 2)), n_inputs=2, n_classes=2)
    with torch.no_grad():
        network.latents[0].copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        network.latents[1].fill_(1.0)
        network.latents[2].copy_(torch.tensor([[1.0, -1.0], [1.0, -1.0]]))
        network.log_alphas[0].zero_()
        network.log_alphas[1].zero_()
        network.log_alphas[2].fill_(math.log(0.5))
    inputs = torch.tensor([[255.0, 0.0], [0.0, 255.0], [0.0, 0.0]])
    outputs, hidden = network(inputs)
    torch.testing.assert_close(outputs, torch.tensor([[1.0, -1.0], [1.0, -1.0], [0.0, 0.0]]))
    assert hidden[0].tolist() == [[1, 1], [1, 0], [0, 0]]
    report = learner.step(Batch(inputs, torch.tensor([0, 1, 0])), Progress(), seeded())
    assert (report.n, report.n_correct) == (3, 2)
    assert report.firing == pytest.approx([3 / 2, 4 / 2])
    assert report.loss == pytest.approx(expected, rel=1e-6)


def test_latents_are_clipped() -> None:
    experiment = replace(small(), weights=Weights(clip=0.3), optimizer=Optimizer(lr=0.5))
    network, learner = build(experiment)
    learner.step(Batch(pixels(9, 13), torch.arange(9) % 5), Progress(), seeded())
    assert max(float(latent.detach().abs().max()) for latent in network.latents) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"coding": FirstSpike()}, "Pixel"),
        ({"weights": Weights(kind="real")}, "binary"),
        ({"network": IF(hidden=())}, "hidden"),
        ({"network": IF(delay=1)}, "delay"),
        ({"backend": "native"}, "backend"),
    ],
)
def test_experiments_it_cannot_run_are_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        replace(bnn_digits, **change)


def test_learns_digits_and_calibrates() -> None:
    data = digits()
    inputs, labels = (
        Pixel().encode(torch.tensor(data.train_inputs).flatten(1)),
        torch.tensor(data.train_labels),
    )
    test, test_labels = (
        Pixel().encode(torch.tensor(data.test_inputs).flatten(1)),
        torch.tensor(data.test_labels),
    )
    noise = seeded(5)
    network = bnn_digits.rule.build(bnn_digits, Task(inputs[:1000], 10), seeded(1))
    assert isinstance(network, HeavisideNetwork)
    learner = bnn_digits.rule.learner(network, bnn_digits)
    for _ in range(12):
        for rows in torch.split(torch.randperm(1200, generator=noise), 20):
            learner.step(Batch(inputs[rows], labels[rows]), Progress(), noise)
    held_out = Batch(inputs[1200:], labels[1200:])

    def likelihood() -> float:
        probabilities = network.decide(held_out.inputs).probabilities
        return float(probabilities.gather(1, held_out.labels[:, None]).log().mean())

    before = likelihood()
    chosen = network.finish(held_out, max_silent=0.0)
    assert chosen["temperature"] == pytest.approx(float(network.temperature))
    assert likelihood() > before
    accuracy = (network.decide(test).labels == test_labels).float().mean()
    assert accuracy > 0.93
    logged = learner.end_epoch(noise)
    assert set(logged) == {"alpha_0", "alpha_1", "theta_0"}
    assert logged["theta_0"] == float(network.thetas[0].detach())
