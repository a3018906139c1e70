"""The BNN rule against loops over integers, by hand, and on real digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from bitspike.coding import FirstSpike, Pixel
from bitspike.contracts import Batch, Task
from bitspike.data.digits import digits
from bitspike.errors import UsageError
from bitspike.experiment import Experiment
from bitspike.recipes.bnn import bnn_digits
from bitspike.rules.bnn import BNN, HeavisideNetwork
from bitspike.settings import IF, Optimizer
from bitspike.weights import Weights


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(n: int, n_inputs: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (n, n_inputs), generator=seeded(seed)).float()


def build(
    experiment: Experiment, n_inputs: int = 13, n_classes: int = 5, seed: int = 1
) -> tuple[HeavisideNetwork, torch.optim.Optimizer]:
    return experiment.rule.init(experiment, Task(pixels(3, n_inputs), n_classes), seeded(seed))  # type: ignore


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

    decided = rule.predict(network, inputs, seeded())
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
    decided = BNN().predict(network, torch.tensor([[255.0], [0.0]]), seeded())
    assert decided.labels.tolist() == [1, 0]
    assert decided.tied.tolist() == [[False, True, False, True], [True] * 4]


def test_gradients_by_hand() -> None:
    """dL/dz passes where |z| <= 1, dL/db passes the sign; alpha and theta get the chain rule."""
    network, optimiser = build(small(hidden=(6,)), n_inputs=11, n_classes=3)
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
    BNN().step(network, optimiser, Batch(inputs, labels), seeded())
    got = [*network.latents, *network.log_alphas, *network.thetas]
    for a, b in zip(expected, got, strict=True):
        torch.testing.assert_close(a, b.grad.double(), rtol=1e-4, atol=1e-6)  # type: ignore[union-attr]


def test_report_counts_the_batch() -> None:
    experiment = small(hidden=(6, 4))
    network, optimiser = build(experiment)
    inputs, labels = pixels(20, 13), torch.arange(20) % 5
    outputs, hidden = network(inputs)
    signs = torch.full_like(outputs, -1.0).scatter_(1, labels[:, None], 1.0)
    report = BNN().step(network, optimiser, Batch(inputs, labels), seeded())
    assert report.n == 20
    assert report.n_correct == int((outputs.argmax(1) == labels).sum())
    assert report.loss == pytest.approx(
        float((1 - signs * outputs.detach()).clamp_min(0).square().sum()), rel=1e-5
    )
    assert report.firing == pytest.approx([float(layer.detach().sum()) / layer.shape[1] for layer in hidden])
    other, optimiser = build(experiment)
    report = BNN("cross_entropy").step(other, optimiser, Batch(inputs, labels), seeded())
    assert report.loss == pytest.approx(
        float(-outputs.detach().log_softmax(1).gather(1, labels[:, None]).sum()), rel=1e-5
    )


def test_latents_are_clipped() -> None:
    experiment = replace(small(), weights=Weights(clip=0.3), optimizer=Optimizer(lr=0.5))
    network, optimiser = build(experiment)
    BNN().step(network, optimiser, Batch(pixels(9, 13), torch.arange(9) % 5), seeded())
    assert max(float(latent.detach().abs().max()) for latent in network.latents) == pytest.approx(0.3)


def test_same_generator_same_network_and_networks_never_touch() -> None:
    first, optimiser = build(small(), seed=3)
    second, _ = build(small(), seed=3)
    other, _ = build(small(), seed=4)
    assert torch.equal(first.latents[0], second.latents[0])
    assert not torch.equal(first.latents[0], other.latents[0])
    before = [value.clone() for value in second.state_dict().values()]
    BNN().step(first, optimiser, Batch(pixels(9, 13), torch.arange(9) % 5), seeded())
    assert not torch.equal(first.latents[0], second.latents[0])
    assert all(torch.equal(a, b) for a, b in zip(before, second.state_dict().values(), strict=True))


def test_predict_changes_nothing() -> None:
    network, _ = build(small())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first, second = (BNN().predict(network, pixels(9, 13), seeded()) for _ in range(2))
    assert torch.equal(first.probabilities, second.probabilities)
    assert not first.probabilities.requires_grad
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


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
    rule, noise = BNN(), seeded(5)
    network, optimiser = rule.init(bnn_digits, Task(inputs[:1000], 10), seeded(1))
    for _ in range(12):
        for rows in torch.split(torch.randperm(1200, generator=noise), 20):
            rule.step(network, optimiser, Batch(inputs[rows], labels[rows]), noise)
    held_out = Batch(inputs[1200:], labels[1200:])

    def likelihood() -> float:
        probabilities = rule.predict(network, held_out.inputs, noise).probabilities
        return float(probabilities.gather(1, held_out.labels[:, None]).log().mean())

    before = likelihood()
    chosen = rule.calibrate(network, held_out, max_silent=0.0)
    assert chosen["temperature"] == pytest.approx(float(network.temperature))
    assert likelihood() > before
    accuracy = (rule.predict(network, test, noise).labels == test_labels).float().mean()
    assert accuracy > 0.93
    logged = rule.end_epoch(network, noise)
    assert set(logged) == {"alpha_0", "alpha_1", "theta_0"}
    assert logged["theta_0"] == float(network.thetas[0].detach())
