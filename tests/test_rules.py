"""One contract for every rule: determinism, isolation, finite gradients, saving, no leaks, and two moons learned."""

import copy
import gc
import weakref

import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from bitspike.coding import Direct, FirstSpike, Pixel, Poisson
from bitspike.contracts import Batch, Prediction, Task
from bitspike.data import synthetic
from bitspike.experiment import Experiment, Training
from bitspike.rules.bisnn import BiSNN
from bitspike.rules.bnn import BNN
from bitspike.rules.first_spike_race import FirstSpikeRace
from bitspike.rules.hm2bp import HM2BP
from bitspike.rules.s4nn import S4NN
from bitspike.settings import IF, LIF, SRM, Optimizer
from bitspike.weights import Weights

REAL = Weights(kind="real", hidden=(-0.5, 0.5), output=(-0.5, 0.5), clip=None)
REAL_RACE = FirstSpikeRace(tau_c=1.0, tau_h=1.0, width=1.0, theta_out=4.0, p0=0.3)
REAL_ADAM = Optimizer(lr=0.02, lr_threshold=0.02, lr_output_threshold=0.02)
PUBLISHED = {"hidden": (0.0, 5.0), "output": (0.0, 20.0), "clip": None}
SPREAD = Weights("real", (-1.0, 1.0), (-1.0, 1.0), None)
ST = Weights("binary", (-1.0, 1.0), (-1.0, 1.0), 1.0)
BAYES = Weights("bernoulli", (-1.0, 1.0), (-1.0, 1.0), None)
SRM_MOONS: dict = {"network": SRM(("32", "32"), bias=True, burn_in=4), "coding": Poisson(24, 1.0)}
SGD = Optimizer("sgd", lr=0.2, schedule="constant")
CASES = {
    "race-binary": Experiment(
        "contract", rule=FirstSpikeRace(tau_c=2.0, tau_h=2.0, width=4.0, theta_out=6.0, p0=0.3), network=IF((64,))
    ),
    "race-real": Experiment("contract", rule=REAL_RACE, weights=REAL, network=IF((64,)), optimizer=REAL_ADAM),
    "race-deep": Experiment("contract", rule=REAL_RACE, weights=REAL, network=IF((48, 32)), optimizer=REAL_ADAM),
    "race-reference": Experiment(
        "contract", rule=REAL_RACE, weights=REAL, network=IF((32,)), optimizer=REAL_ADAM, backend="reference"
    ),
    "race-bernoulli": Experiment(
        "contract", rule=FirstSpikeRace(tau_c=2.0, tau_h=2.0, width=4.0, theta_out=6.0, p0=0.3), network=IF((64,)),
        weights=Weights("bernoulli", clip=8.0), optimizer=Optimizer(lr=0.3),
    ),
    "hm2bp-bernoulli": Experiment(
        "contract", rule=HM2BP(desired=12.0, margin=1.0), coding=Direct(30, 2.0), backend="reference",
        network=LIF(("64",), (6.0, 8.0), 8.0, 2.0), weights=Weights("bernoulli", clip=8.0),
        optimizer=Optimizer(lr=0.3),
    ),
    "s4nn": Experiment(
        "contract", rule=S4NN(thresholds=(10.0, 20.0)), weights=Weights("real", **PUBLISHED), optimizer=SGD,
        network=IF((64,), delay=1), coding=FirstSpike(64),
    ),
    "bs4nn": Experiment(
        "contract", rule=S4NN(thresholds=(10.0, 20.0), alpha=5.0, mu=1e-3), weights=Weights("binary", **PUBLISHED),
        optimizer=SGD, network=IF((64,), delay=1), coding=FirstSpike(64),
    ),
    "hm2bp": Experiment(
        "contract", rule=HM2BP(desired=12.0, margin=1.0), coding=Direct(30, 2.0), weights=SPREAD,
        network=LIF(("64",), (6.0, 4.0), 8.0, 2.0), optimizer=Optimizer(lr=0.02), backend="reference",
    ),
    "hm2bp-binary": Experiment(
        "contract", rule=HM2BP(desired=12.0, margin=1.0), coding=Direct(30, 2.0), weights=Weights("binary"),
        network=LIF(("64",), (6.0, 8.0), 8.0, 2.0), optimizer=Optimizer(lr=0.02), backend="reference",
    ),
    "hm2bp-deep-published": Experiment(
        "contract", coding=Poisson(60, 0.5), weights=SPREAD, optimizer=Optimizer(lr=0.02), backend="reference",
        network=LIF(("48", "32"), (4.0, 3.0, 3.0), 16.0, 4.0, 1, lateral=0.5, epsilon=1e-6),
        rule=HM2BP(
            desired=15.0, undesired=2.0, margin=2.0, spsp="closed", side_effect=True, silent_side="code",
            lateral_factor="clamped",
        ),
    ),
    "bisnn-real": Experiment("contract", rule=BiSNN(), weights=SPREAD, optimizer=Optimizer("sgd", lr=3.0), **SRM_MOONS),
    "bisnn-st": Experiment("contract", rule=BiSNN(), weights=ST, optimizer=Optimizer(lr=0.01), **SRM_MOONS),
    "bisnn-bayes": Experiment(
        "contract", rule=BiSNN(relaxation="relaxed", rho=1e-5), weights=BAYES, optimizer=Optimizer("sgd", lr=3.0),
        **SRM_MOONS,
    ),
    "bisnn-hard": Experiment("contract", rule=BiSNN(box=2.0), weights=BAYES, optimizer=Optimizer(lr=0.05), **SRM_MOONS),
    "bnn": Experiment(
        "contract", rule=BNN(), coding=Pixel(), network=IF((64,)), weights=Weights(),
        optimizer=Optimizer(lr=1e-2, lr_threshold=1e-2, lr_output_threshold=1e-3),
    ),
}  # fmt: skip
FIELDS = [name for name in Prediction.__dataclass_fields__ if name != "members"]  # that is of committees
# Accuracy on two moons after 40 epochs of batches of 20. The published rules move by fixed steps and stay behind, as do
# 32 one-bit neurons that see new trains in 24 steps.
FLOORS = {"s4nn": 0.85, "bs4nn": 0.80, "bisnn-st": 0.85, "bisnn-bayes": 0.9, "bisnn-hard": 0.85}


@pytest.fixture(scope="module")
def moons():
    return synthetic.moons(n_train=480, n_test=120)


@pytest.fixture(params=CASES)
def name(request):
    return request.param


def _data(experiment, moons):
    inputs = experiment.coding.encode(torch.from_numpy(moons.train_inputs).flatten(1))
    return Batch(inputs, torch.from_numpy(moons.train_labels))


def _build(experiment, moons, seed=0):
    generator = torch.Generator().manual_seed(seed)
    data = _data(experiment, moons)
    return *experiment.rule.init(experiment, Task(data.inputs, 2), generator), data, generator


def _steps(experiment, model, optimiser, data, generator, n=3):
    reports = []
    for k in range(n):
        part = slice(20 * k, 20 * k + 20)
        batch = Batch(data.inputs[part], data.labels[part])
        reports.append(experiment.rule.step(model, optimiser, batch, generator))
    return reports


def _same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_shapes_and_meaning_of_a_prediction(name, moons):
    experiment = CASES[name]
    model, _, data, generator = _build(experiment, moons)
    p = experiment.rule.predict(model, data.inputs[:50], generator)
    n_steps = experiment.coding.n_steps
    assert (
        p.labels.shape
        == p.decision_time.shape
        == p.silent.shape
        == p.n_spikes.shape
        == p.n_synops.shape
        == (50,)
    )
    assert p.probabilities.shape == p.tied.shape == p.potentials.shape == (50, 2)
    assert p.labels.dtype == p.decision_time.dtype == torch.int64
    torch.testing.assert_close(p.probabilities.sum(1), torch.ones(50))
    assert ((p.decision_time == n_steps) == p.silent).all() or isinstance(experiment.rule, BNN)
    assert not p.tied[p.silent].any()
    assert p.tied[~p.silent].any(1).all()
    assert (p.n_synops >= p.n_spikes).all()
    assert torch.equal(p.potentials.argmax(1), p.labels)


def test_the_generator_decides_everything(name, moons):
    experiment = CASES[name]
    models = []
    for seed in (1, 1, 2):
        model, optimiser, data, generator = _build(experiment, moons, seed)
        reports = _steps(experiment, model, optimiser, data, generator)
        models.append((model, reports))
    assert _same(models[0][0], models[1][0])
    assert models[0][1] == models[1][1]
    assert not _same(models[0][0], models[2][0])


def test_two_networks_never_touch_and_prediction_leaves_no_trace(name, moons):
    experiment = CASES[name]
    first, optimiser, data, generator = _build(experiment, moons)
    second, *_ = _build(experiment, moons, 5)
    frozen = copy.deepcopy(second)
    before = experiment.rule.predict(second, data.inputs, generator)
    _steps(experiment, first, optimiser, data, generator)
    after = experiment.rule.predict(second, data.inputs, generator)
    assert _same(second, frozen)
    for field in FIELDS:
        assert torch.equal(getattr(before, field), getattr(after, field))


def test_a_saved_model_decides_alike(name, moons):
    experiment = CASES[name]
    model, optimiser, data, generator = _build(experiment, moons)
    _steps(experiment, model, optimiser, data, generator)
    other, *_ = _build(experiment, moons, 9)
    other.load_state_dict(load_tensors(save_tensors(model.state_dict())))
    a, b = (experiment.rule.predict(m, data.inputs, generator) for m in (model, other))
    for field in FIELDS:
        assert torch.equal(getattr(a, field), getattr(b, field))


def test_parameters_stay_finite_and_move(name, moons):
    experiment = CASES[name]
    model, optimiser, data, generator = _build(experiment, moons)
    before = copy.deepcopy(model)
    reports = _steps(experiment, model, optimiser, data, generator, 10)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert not _same(model, before)
    assert all(r.n == 20 and 0 <= r.n_correct <= 20 and r.loss >= 0 for r in reports)
    assert all(0 <= f <= 20 for r in reports for f in r.firing)


def test_a_hundred_networks_leave_nothing_behind(name, moons):
    experiment = CASES[name]
    gone = []
    for seed in range(100):
        model, optimiser, data, generator = _build(experiment, moons, seed)
        _steps(experiment, model, optimiser, data, generator, 1)
        gone.append(weakref.ref(model))
    del model, optimiser
    gc.collect()
    assert not any(ref() for ref in gone)


def test_two_moons_are_learned(name, moons):
    experiment = CASES[name]
    model, optimiser, data, generator = _build(experiment, moons)
    schedule, starts = experiment.optimizer, [group["lr"] for group in optimiser.param_groups]
    epochs, size = 40, Training(batch_size=20).batch_size
    for epoch in range(epochs):
        order = torch.randperm(len(data.labels), generator=generator)
        for group, start in zip(optimiser.param_groups, starts, strict=True):
            group["lr"] = start * schedule.factor(epoch / epochs)
        for chosen in order.split(size):
            experiment.rule.step(model, optimiser, Batch(data.inputs[chosen], data.labels[chosen]), generator)
        experiment.rule.end_epoch(model, generator)
    inputs = experiment.coding.encode(torch.from_numpy(moons.test_inputs).flatten(1))
    p = experiment.rule.predict(model, inputs, generator)
    assert float((p.labels == torch.from_numpy(moons.test_labels)).double().mean()) >= FLOORS.get(name, 0.97)


def test_shapes_at_the_border_are_checked_while_tests_run():
    n, classes = 3, 2
    fields = dict.fromkeys(
        ("labels", "decision_time", "n_spikes", "n_synops"), torch.zeros(n, dtype=torch.int64)
    )
    fields |= dict.fromkeys(("probabilities", "potentials"), torch.zeros(n, classes))
    fields |= {
        "silent": torch.zeros(n, dtype=torch.bool),
        "tied": torch.zeros((n, classes), dtype=torch.bool),
    }
    Prediction(**fields)
    for name in fields:
        with pytest.raises(TypeError):  # one sample too many
            Prediction(**{**fields, name: torch.cat([fields[name], fields[name][:1]])})
