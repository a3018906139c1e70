"""HM2-BP as a rule: what it refuses, how networks are written down, how good its gradient is, what it decides."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bitspike.coding import Direct, FirstSpike, Poisson
from bitspike.contracts import Batch, Progress, Task
from bitspike.data import load, split
from bitspike.errors import UsageError
from bitspike.experiment import Experiment
from bitspike.ops.lif import reference
from bitspike.ops.lif.function import inject, layer
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.lif.settings import Micro
from bitspike.ops.lif.signals import pack, unpack
from bitspike.ops.operators import Conv, Dense, Pool
from bitspike.packed.lif import reference as packed_reference
from bitspike.rules.hm2bp import HM2BP
from bitspike.settings import IF, LIF, Optimizer, Weights
from bitspike.training.encode import encode

SMALL = Experiment(
    "small",
    coding=Direct(40, 1.8),
    network=LIF(("60",), (20.0, 8.0), tau_m=8.0, tau_s=2.0),
    weights=Weights("real", (-1.0, 1.0), (-1.0, 1.0), None),
    rule=HM2BP(desired=15.0, margin=2.0),
    optimizer=Optimizer(lr=1e-2),
    backend="reference",
)
MAPS = replace(
    SMALL, network=LIF(("4C3", "P2", "20"), (3.0, 2.0, 3.0, 3.0), tau_m=8.0, tau_s=2.0), coding=Direct(30, 2.0),
    rule=HM2BP(desired=10.0, margin=1.0),
)  # fmt: skip
BINARY = replace(
    SMALL, weights=Weights("binary", (-1.0, 1.0), (-1.0, 1.0)), network=LIF(("60",), (30.0, 12.0), 8.0, 2.0)
)
EAGER = LIF(("60",), (10.0, 4.0), tau_m=8.0, tau_s=2.0)
NOISY = replace(SMALL, coding=Poisson(40, 1.0), network=EAGER)
SIGNED = replace(SMALL, coding=Poisson(40, 1.0, signed=True, frozen=True), network=EAGER)
SYSTEMS = {"dense": SMALL, "maps": MAPS, "binary": BINARY, "poisson": NOISY, "signed": SIGNED}


@pytest.fixture(scope="module")
def digits():
    return split(load("digits"), 1 / 6, 1)


def built(experiment, digits, seed=0):
    inputs = encode(experiment.coding, digits.train_inputs)
    generator = torch.Generator().manual_seed(seed)
    task = Task(inputs[:100], 10, (8, 8), len(inputs))
    model = experiment.rule.build(experiment, task, generator)
    learner = experiment.rule.learner(model, experiment)
    return model, learner, inputs, torch.tensor(digits.train_labels), generator


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": IF((60,))}, "set network to LIF"),
        ({"coding": FirstSpike(16)}, "takes codings Direct, Poisson, EventBins, Cochlea"),
        ({"rule": HM2BP(desired=60.0)}, "at most 39 times"),
        ({"rule": HM2BP(desired=15.0, spsp="closed")}, "set rule.spsp to trace, or network.refractory"),
        ({"rule": HM2BP(desired=15.0, cutoff=4.0)}, "spsp closed"),
        (
            {
                "rule": HM2BP(desired=15.0, cutoff=4.0, spsp="closed"),
                "coding": Poisson(40),
                "backend": "auto",
            },
            "slow reference only",
        ),
    ],
)
def test_refused_combinations(change, words):
    with pytest.raises(UsageError, match=words):
        replace(SMALL, **change)


@pytest.mark.parametrize(
    ("n_steps", "desired", "refractory", "spikes"),
    [
        (60, 14.0, 2, [4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56]),  # vector 13.4
        (12, 6.0, 2, [3, 6, 9]),  # every 2 steps would be closer than any neuron fires
        (12, 6.0, 0, [2, 4, 6, 8, 10]),
        (12, 30.0, 0, [*range(1, 12)]),
        (12, 1.0, 2, [11]),  # I = T would be beyond the window
        (3, 1.0, 5, [2]),
    ],
)
def test_an_injected_train_is_one_that_a_neuron_can_fire(n_steps, desired, refractory, spikes, digits):
    experiment = replace(
        SMALL, coding=Direct(n_steps, 1.8), network=replace(EAGER, refractory=refractory),
        rule=HM2BP(desired=desired, margin=30.0),
    )  # fmt: skip
    model, learner, inputs, labels, generator = built(experiment, digits)
    given = []

    def noted(signal, rule, macro, generator):
        given.append(macro)
        return model(signal, rule, macro, generator)

    learner.model = noted
    learner.step(Batch(inputs[:1], labels[:1]), Progress(), generator)
    silent = pack(torch.zeros((1, n_steps, 10), dtype=torch.bool))
    train, counts = inject(silent, torch.zeros(1, 10), given[0])
    assert unpack(train, torch.bool)[0, :, labels[0]].nonzero().flatten().tolist() == spikes
    assert counts.sum() == counts[0, labels[0]] == len(spikes)
    quiet = replace(experiment, rule=replace(experiment.rule, inject=False))
    assert quiet.rule.injected_every(n_steps, refractory) is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hidden": ("C5",)}, "write"),
        ({"hidden": ("0",)}, "write"),
        ({"hidden": ("800", "10")}, "need 3"),
        ({"thresholds": (40.0, 0.0)}, "thresholds are positive"),
        ({"tau_m": 2.0}, "must differ"),
        ({"tau_s": 1.0}, "above 1 step"),
        ({"refractory": 64}, "0 to 63"),
        ({"lateral": -1.0}, "from 0 up"),
    ],
)
def test_networks_that_cannot_be(settings, words):
    with pytest.raises(UsageError, match=words):
        LIF(**settings)


def test_a_network_is_written_as_in_the_papers():
    network = LIF(("15C5", "P2", "40C5p1", "P3", "300"), (1.0,) * 6, lateral=0.5)
    assert network.operators((28, 28, 1), 10) == (
        Conv(28, 28, 1, 15, 5), Pool(24, 24, 15, 2), Conv(12, 12, 15, 40, 5, 1), Pool(10, 10, 40, 3),
        Dense(360, 300), Dense(300, 10),
    )  # fmt: skip
    assert [neuron.lateral for neuron in network.neurons()] == [0, 0, 0, 0, 0, 0.5]
    with pytest.raises(UsageError, match="needs maps"):
        network.operators((784,), 10)
    with pytest.raises(UsageError, match="does not fit"):
        network.operators((4, 4, 1), 10)


@pytest.mark.parametrize("op", [Conv(7, 5, 3, 4, 3, 1), Conv(6, 9, 1, 2, 4), Pool(7, 5, 3, 2), Dense(6, 4)])
def test_fan_out_counts_synapses(op):
    weight = None if op.weight_shape is None else torch.ones(op.weight_shape)
    reached = reference.apply(op, torch.eye(op.n_in), weight) != 0
    assert reached.sum(1).tolist() == op.fan_out().tolist()
    y = torch.randn(3, op.n_out, dtype=torch.float64)
    x = torch.randn(3, op.n_in, dtype=torch.float64, requires_grad=True)
    weight = None if weight is None else torch.randn(op.weight_shape, dtype=torch.float64, requires_grad=True)
    (reference.apply(op, x, weight) * y).sum().backward()
    torch.testing.assert_close(reference.transpose(op, y, weight), x.grad)
    if weight is not None:
        torch.testing.assert_close(reference.weight_gradient(op, x.detach(), y), weight.grad)


@pytest.mark.parametrize("system", SYSTEMS)
def test_decisions_are_those_of_the_packed_network(system, digits):
    """Layer by layer in torch, and in numpy from the packed weights: equal in every field."""
    experiment = SYSTEMS[system]
    model, learner, inputs, labels, generator = built(experiment, digits)
    for k in range(5):
        rows = torch.arange(32 * k, 32 * k + 32)
        learner.step(Batch(inputs[rows], labels[rows], rows), Progress(), generator)
    validation = encode(experiment.coding, digits.validation_inputs[:40])
    model.finish(Batch(validation, torch.tensor(digits.validation_labels[:40])), 1.0)
    found = model.decide(validation)
    truth = packed_reference.decide(model.packed(), validation.numpy())
    for name, value in vars(truth).items():
        np.testing.assert_array_equal(getattr(found, name).numpy(), value, err_msg=name)
    assert not found.silent.all()


def test_a_poisson_image_has_its_own_train(digits):
    model, _, inputs, _, generator = built(NOISY, digits)
    one, again = (model.signal(inputs[:5]).bits for _ in range(2))
    assert torch.equal(one, again)
    assert torch.equal(model.signal(inputs[3:5]).bits, one[3:5])
    drawn, other = (model.signal(inputs[:5], generator).bits for _ in range(2))
    assert not torch.equal(drawn, other)
    rate = unpack(model.signal(inputs[:200], generator)).mean((0, 1)) * 40 / 39
    torch.testing.assert_close(rate, inputs[:200].float().mean(0) / 255, rtol=0, atol=0.03)
    frozen, *_ = built(SIGNED, digits)
    assert torch.equal(frozen.signal(inputs[:5], generator).bits, frozen.signal(inputs[:5]).bits)


def test_the_rule_learns_digits(digits):
    model, learner, inputs, labels, generator = built(SMALL, digits)
    for epoch in range(6):
        for rows in torch.randperm(len(labels), generator=generator).split(32):
            learner.step(Batch(inputs[rows], labels[rows], rows), Progress(epoch / 6, epoch), generator)
    found = model.decide(encode(SMALL.coding, digits.test_inputs))
    assert float((found.labels == torch.tensor(digits.test_labels)).double().mean()) > 0.88


def test_boosted_samples_count_more(digits):
    experiment = replace(SMALL, rule=replace(SMALL.rule, boost=True))
    _, learner, inputs, labels, generator = built(experiment, digits)
    rows = torch.arange(200)
    report = learner.step(Batch(inputs[rows], labels[rows], rows), Progress(), generator)
    figures = learner.end_epoch(generator)
    grown = learner.boost.q > 1
    assert int(grown.sum()) == 200 - report.n_correct
    assert not grown[200:].any()
    assert figures["largest_sample_weight"] == float(learner.boost.q.max())
    with pytest.raises(UsageError, match="rows"):
        learner.step(Batch(inputs[rows], labels[rows]), Progress(), generator)


@pytest.mark.parametrize("ratio", [True, False])
def test_the_gradient_points_where_finite_differences_do(ratio):
    """Section 14: mean counts over Poisson samples, common random numbers, one layer, o >= 2."""
    torch.manual_seed(0)
    n, n_in, neuron = 800, 20, Neuron(5.0)
    rates = torch.linspace(0.01, 0.12, n_in)
    x = pack(torch.rand(n, 400, n_in) < rates)
    weight = torch.rand(n_in, 1) * 1.6 - 0.6

    def mean_count(w):
        return float(reference.forward(Dense(n_in, 1), x, w, neuron).counts.mean())

    assert mean_count(weight) > 2
    variable = weight.clone().requires_grad_()
    out = layer(Dense(n_in, 1), x, None, variable, neuron, Micro(ratio=ratio), "reference")
    out.counts.mean().backward()
    differences = torch.empty(n_in, 1)
    for j in range(n_in):
        step = torch.zeros_like(weight)
        step[j] = 0.05
        differences[j] = (mean_count(weight + step) - mean_count(weight - step)) / 0.1
    assert float(torch.cosine_similarity(variable.grad[:, 0], differences[:, 0], dim=0)) > 0.99


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"desired": 0.99}, "rule.desired is 0.99; it must be a number, 1 or more"),
        ({"undesired": 35.0}, "undesired < desired"),
        ({"margin": -1.0}, "margin is -1.0; it must be a number, 0 or more"),
        ({"silent_ratio": 2.0}, "silent_ratio is 2.0; it must be a number, 0 or more and at most 1"),
        ({"saturation": 0.0}, "saturation is 0.0; it must be a number, above 0 and at most 1, or None"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0; it must be a number, above 0, or None"),
        ({"reg_limit": 0.0}, "reg_limit is 0.0; it must be a number, above 0"),
        ({"backward_bin": 0}, "1 or more"),
        ({"cutoff": 4.0, "backward_bin": 2}, "needs rule.backward_bin = 1"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(UsageError, match=words):
        HM2BP(**settings)


def gradients(micro, d):
    """Of one layer of 12 x 5, some of whose neurons are silent and some saturated."""
    torch.manual_seed(4)
    x = pack(torch.rand(6, 30, 12) < 0.4)
    weight = (torch.randn(12, 5, dtype=torch.float64) + torch.tensor([-3.0, -1, 0, 1, 5])).requires_grad_()
    counts = unpack(x, torch.float64).sum(1).requires_grad_()
    out = layer(Dense(12, 5), x, counts, weight, Neuron(2.0, 8.0, 2.0, 0), micro, "reference")
    (out.counts * d).sum().backward()
    return out.counts.detach(), weight.grad, counts.grad


def test_saturated_neurons_ask_for_no_more():
    plain, limited = Micro(), Micro(saturation=0.8)
    for d in (-1.0, 1.0):
        o, w, below = gradients(plain, d)
        _, w_limited, below_limited = gradients(limited, d)
        saturated = o >= 0.8 * 29
        assert saturated[:, 4].all()
        assert not saturated[:, 0].any()
        changed = (w != w_limited).any(0)
        assert changed.tolist() == (saturated.any(0) & (d < 0)).tolist()
        assert not w_limited[:, saturated.all(0)].any() or d > 0
        assert torch.equal(below, below_limited) == (d > 0)


def test_silent_neurons_pass_on_a_share():
    o, _, whole = gradients(Micro(), 1.0)
    _, _, none = gradients(Micro(silent_ratio=0.0), 1.0)
    _, _, half = gradients(Micro(silent_ratio=0.5), 1.0)
    assert (o == 0).any()
    assert not torch.equal(whole, none)
    torch.testing.assert_close(half, (whole + none) / 2)


def test_an_error_as_large_as_the_margin_does_not_count(digits):
    """Without weights nothing fires: the label's neuron lacks 15 spikes, the others none."""
    for margin, loss in ((15.0, 0.0), (14.5, 0.5 * 15**2)):
        model, learner, inputs, labels, generator = built(
            replace(SMALL, rule=HM2BP(desired=15.0, margin=margin, undesired=0.0)), digits
        )
        with torch.no_grad():
            for latent in model.latents:
                latent.zero_()
        report = learner.step(Batch(inputs[:8], labels[:8], torch.arange(8)), Progress(), generator)
        assert report.loss == 8 * loss


def test_a_clipped_gradient_moves_plain_steps_by_its_norm(digits):
    experiment = replace(
        SMALL,
        rule=replace(SMALL.rule, clip_norm=1e-3),
        optimizer=Optimizer("sgd", lr=1.0, schedule="constant"),
    )
    model, learner, inputs, labels, generator = built(experiment, digits)
    before = [latent.detach().clone() for latent in model.latents]
    rows = torch.arange(64)
    learner.step(Batch(inputs[rows], labels[rows], rows), Progress(), generator)
    moved = (
        sum(float((a - b.detach()).square().sum()) for a, b in zip(before, model.latents, strict=True)) ** 0.5
    )
    assert moved == pytest.approx(1e-3, rel=1e-2)
