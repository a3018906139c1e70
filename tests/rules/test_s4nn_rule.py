"""The rule S4NN as the training loop sees it."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch

from bitspike import codec
from bitspike.coding import FirstSpike, Pixel
from bitspike.contracts import Batch, Progress, Task
from bitspike.deploy.pack import pack, snapped
from bitspike.errors import UsageError
from bitspike.experiment import Experiment
from bitspike.networks.first_spike import FirstSpikeNetwork
from bitspike.ops.backend import native_available
from bitspike.ops.s4nn import reference
from bitspike.packed.first_spike.reference import decide
from bitspike.recipes.s4nn_paper import bs4nn_mnist_paper, s4nn_mnist_paper
from bitspike.rules.s4nn import S4NN, S4NNLearner
from bitspike.settings import IF, Optimizer, Weights

BACKENDS = [
    "reference",
    pytest.param("native", marks=pytest.mark.skipif(not native_available(), reason="not built")),
]


def experiment(kind: str = "real", backend: str = "auto", **rule: Any) -> Experiment:
    binary = kind == "binary"
    return Experiment(
        name="test",
        coding=FirstSpike(24),
        network=IF(hidden=(18,), delay=1),
        weights=Weights(kind, hidden=(0.0, 4.0), output=(0.0, 4.0), clip=None),  # type: ignore[arg-type]
        rule=S4NN(thresholds=(8.0, 6.0), alpha=4.0, **({"mu": 0.05} if binary else {}), **rule),
        optimizer=Optimizer("sgd", lr=0.1, weight_decay=1e-4, schedule="constant"),
        backend=backend,  # type: ignore[arg-type]
    )


def task() -> tuple[Task, Batch]:
    """Three classes of twelve pixels, each bright (early) in its own third."""
    g = torch.Generator().manual_seed(5)
    labels = torch.arange(90) % 3
    inputs = torch.randint(14, 30, (90, 12), generator=g).clamp(max=24)
    for row, label in enumerate(labels.tolist()):
        inputs[row, 4 * label : 4 * label + 4] = torch.randint(0, 10, (4,), generator=g)
    return Task(inputs.short(), 3), Batch(inputs.short(), labels)


def start(what: Experiment) -> tuple[FirstSpikeNetwork, S4NNLearner, Batch, torch.Generator]:
    about, batch = task()
    generator = torch.Generator().manual_seed(1)
    model = what.rule.build(what, about, generator)
    assert isinstance(model, FirstSpikeNetwork)
    learner = what.rule.learner(model, what)
    assert isinstance(learner, S4NNLearner)
    return model, learner, batch, generator


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["real", "binary"])
@pytest.mark.parametrize("online", [False, True])
def test_learns(kind: str, backend: str, online: bool) -> None:
    what = experiment(kind, backend, online=online)
    model, learner, batch, generator = start(what)
    before = model.decide(batch.inputs)
    for _ in range(8):
        for rows in torch.arange(90).split(6):
            report = learner.step(Batch(batch.inputs[rows], batch.labels[rows]), Progress(), generator)
            assert report.n == 6
            assert len(report.firing) == 1
        learner.end_epoch(generator)
    after = model.decide(batch.inputs)
    assert (before.labels == batch.labels).double().mean() < 0.7
    assert (after.labels == batch.labels).double().mean() > 0.9
    torch.testing.assert_close(after.probabilities.sum(1), torch.ones(90))


@pytest.mark.skipif(not native_available(), reason="not built")
@pytest.mark.parametrize("kind", ["real", "binary"])
@pytest.mark.parametrize("online", [False, True])
def test_back_ends_agree(kind: str, online: bool) -> None:
    states, reports = [], []
    for backend in ("native", "reference"):
        what = experiment(kind, backend, online=online)
        model, learner, batch, generator = start(what)
        with torch.no_grad():  # binary fractions: potentials are exact in any order
            for latent in model.latents:
                latent.copy_((latent * 64).round() / 64)
        reports.append(learner.step(batch, Progress(), generator))
        states.append(model.state_dict() | learner.state_dict())
    assert {"alpha", "fired", "quota", "seen", "wrong"} < states[0].keys() == states[1].keys()
    for (name, ours), theirs in zip(states[0].items(), states[1].values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-5, msg=name)
    assert reports[0].n_correct == reports[1].n_correct
    assert reports[0].loss == pytest.approx(reports[1].loss, rel=1e-5)


@pytest.mark.skipif(not native_available(), reason="not built")
def test_online_does_not_depend_on_the_size_of_the_chunk() -> None:
    results = []
    for size in (1, 7, 90):
        what = experiment(online=True)
        model, learner, batch, generator = start(what)
        for rows in torch.arange(90).split(size):
            learner.step(Batch(batch.inputs[rows], batch.labels[rows]), Progress(), generator)
        results.append((model, learner))
    for other, counts in results[1:]:
        for ours, theirs in zip(results[0][0].latents, other.latents, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
        assert torch.equal(results[0][1].fired, counts.fired)


@pytest.mark.parametrize("backend", BACKENDS)
def test_dead_neurons_are_redrawn_and_counts_start_anew(backend: str) -> None:
    what = experiment(backend=backend, dead_share=0.5)
    model, learner, batch, generator = start(what)
    with torch.no_grad():
        model.latents[0][:, [2, 9]] = -1.0  # never fires
    learner.step(batch, Progress(), generator)
    assert int(learner.seen) == 90
    before = model.latents[0].detach().clone()
    dead = learner.fired < 45
    assert dead[[2, 9]].all()
    assert not dead.all()
    figures = learner.end_epoch(generator)
    assert figures["dead_neurons_redrawn"] == int(dead.sum())
    assert torch.equal((model.latents[0] != before).any(0), dead)
    assert bool(((model.latents[0][:, dead] >= 0) & (model.latents[0][:, dead] < 4)).all())
    assert int(learner.seen) == int(learner.wrong) == int(learner.fired.sum()) == 0
    assert int(learner.quota) == 45


@pytest.mark.parametrize(("kind", "starts"), [("binary", (8 / 4, 6 / 3)), ("real", (8, 6))])
def test_layers_start_at_their_own_alpha(kind: str, starts: tuple[float, float]) -> None:
    model, learner, _, _ = start(experiment(kind, alpha_output=3.0))
    assert learner.alpha.tolist() == ([4.0, 3.0] if kind == "binary" else [1.0, 1.0])
    for threshold, first in zip(model.thresholds, starts, strict=True):
        torch.testing.assert_close(threshold, torch.full_like(threshold, first))


@pytest.mark.parametrize(("seen", "fired", "quota"), [(90, (44, 45, 46), 45), (91, (45, 46, 47), 46)])
def test_a_neuron_that_fires_just_often_enough_stays(
    seen: int, fired: tuple[int, int, int], quota: int
) -> None:
    """Half of 90 is 45, half of 91 is 45.5: the first of three neurons fires too seldom."""
    model, learner, _, generator = start(experiment(dead_share=0.5))
    learner.seen.fill_(seen)
    learner.fired.fill_(seen)
    learner.fired[:3] = torch.tensor(fired)
    before = model.latents[0].detach().clone()
    assert learner.end_epoch(generator)["dead_neurons_redrawn"] == 1
    assert (model.latents[0] != before).any(0).tolist() == [True] + 17 * [False]
    assert int(learner.quota) == quota


def test_binary_thresholds_follow_alpha() -> None:
    what = experiment("binary", online=True)
    model, learner, batch, generator = start(what)
    assert [float(threshold[0]) for threshold in model.thresholds] == [2.0, 1.5]
    learner.step(batch, Progress(), generator)
    assert not torch.equal(learner.alpha, torch.full((2,), 4.0, dtype=torch.float64))
    for threshold, theta, alpha in zip(model.thresholds, (8.0, 6.0), learner.alpha.tolist(), strict=True):
        torch.testing.assert_close(threshold, torch.full_like(threshold, theta / alpha))


def test_state_continues_a_run() -> None:
    what = experiment("binary", online=True)
    model, learner, batch, generator = start(what)
    learner.step(batch, Progress(), generator)
    other, restored, _, _ = start(what)
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    restored.load_state_dict(copy.deepcopy(learner.state_dict()))
    for one in (learner, restored):
        one.step(batch, Progress(), generator)
    ours, theirs = (a.state_dict() | b.state_dict() for a, b in ((model, learner), (other, restored)))
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def test_schedule_scales_eta_and_mu() -> None:
    what = dataclasses.replace(experiment("binary"), optimizer=Optimizer("sgd", lr=0.1, schedule="cosine"))
    model, learner, batch, generator = start(what)
    learner.follow(Progress(0.5))
    settings = learner._settings()
    assert settings.eta == pytest.approx((0.05, 0.05))
    assert settings.mu == pytest.approx(0.025)
    before = copy.deepcopy(model.state_dict() | learner.state_dict())
    learner.step(batch, Progress(1.0), generator)
    after = model.state_dict() | learner.state_dict()
    for name in ("latents.0", "latents.1", "alpha"):
        assert torch.equal(after[name], before[name])


@pytest.mark.parametrize("backend", BACKENDS)
def test_adam_takes_the_summed_gradient(backend: str) -> None:
    what = dataclasses.replace(experiment(backend=backend), optimizer=Optimizer("adam", lr=0.05))
    model, learner, batch, generator = start(what)
    start_latents = [latent.detach().clone() for latent in model.latents]
    settings = learner._settings()
    _, _, trace = reference.batched(batch.inputs, batch.labels, start_latents, None, settings)
    learner.step(batch, Progress(), generator)
    for latent, gradient, old in zip(
        model.latents, reference.gradients(trace, settings), start_latents, strict=True
    ):
        torch.testing.assert_close(latent.grad, gradient, rtol=0, atol=1e-4)
        moved = latent.detach() - old
        clear = gradient.abs() > 1e-2
        assert torch.equal(torch.sign(moved[clear]), -torch.sign(gradient[clear]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_prediction_is_the_reference_decision_and_what_it_cost(backend: str) -> None:
    what = experiment(backend=backend)
    model, learner, batch, _ = start(what)
    with torch.no_grad():
        for latent in model.latents:
            latent.copy_((latent * 16).round() / 16 - 1.5)
    inputs = batch.inputs
    prediction = model.decide(inputs)
    settings = learner._settings()
    weights = [latent.detach() for latent in model.latents]
    layers = reference.forward(inputs, weights, None, settings)
    labels, margins = reference.decide(layers, weights, None, settings)
    assert torch.equal(prediction.labels, labels)
    torch.testing.assert_close(prediction.potentials, margins)
    first = layers[2].min(1).values
    assert torch.equal(prediction.decision_time, first)
    assert torch.equal(prediction.silent, first == 24)
    assert 0 < prediction.silent.sum() < 90
    assert torch.equal(prediction.tied, (layers[2] == first[:, None]) & (first < 24)[:, None])
    for row in range(90):
        used = [int(((times[row] <= first[row]) & (times[row] < 24)).sum()) for times in layers[:2]]
        assert int(prediction.n_spikes[row]) == sum(used)
        assert int(prediction.n_synops[row]) == used[0] * 18 + used[1] * 3


def test_calibration_fits_the_temperature_of_the_network_that_ships_and_nothing_else() -> None:
    what = experiment()
    model, _, batch, _ = start(what)
    model.snap()
    before = copy.deepcopy(model.state_dict())
    chosen = model.finish(batch, 0.05)
    assert float(model.temperature) == pytest.approx(chosen["temperature"])
    assert chosen["temperature"] != 1.0
    for name, tensor in model.state_dict().items():
        assert name == "temperature" or torch.equal(tensor, before[name])


def test_refusals() -> None:
    good = experiment()
    with pytest.raises(UsageError, match="FirstSpike"):
        dataclasses.replace(good, coding=Pixel())
    with pytest.raises(UsageError, match="sgd"):
        dataclasses.replace(good, rule=S4NN(online=True), optimizer=Optimizer("adam"))
    with pytest.raises(UsageError, match="gamma"):
        dataclasses.replace(good, rule=S4NN(gamma=24))
    with pytest.raises(UsageError, match="thresholds"):
        S4NN(thresholds=(1.0,))


@pytest.mark.parametrize("recipe", [s4nn_mnist_paper, bs4nn_mnist_paper])
def test_recipes_are_values(recipe: Experiment) -> None:
    assert codec.from_json(codec.to_json(recipe)) == recipe
    assert recipe.rule.online  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["real", "binary"])
def test_packed_network_decides_alike(kind: str) -> None:
    what = experiment(kind)
    model, learner, batch, generator = start(what)
    for rows in torch.arange(90).split(6):
        learner.step(Batch(batch.inputs[rows], batch.labels[rows]), Progress(), generator)
    exact = snapped(model)
    prediction = exact.decide(batch.inputs)
    packed = pack(model, what, ("a", "b", "c"), (12,))
    decisions = decide(packed.contents.network, batch.inputs.numpy())
    for name in ("labels", "decision_time", "silent", "tied", "potentials", "n_spikes", "n_synops"):
        ours, theirs = getattr(prediction, name), torch.from_numpy(getattr(decisions, name))
        assert torch.equal(ours, theirs), name
