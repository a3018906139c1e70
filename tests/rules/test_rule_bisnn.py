"""BiSNN as training and decisions use it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bitspike.coding import Pixel, Poisson
from bitspike.contracts import Batch, Progress, Task
from bitspike.errors import UsageError
from bitspike.experiment import Data, Experiment, Training
from bitspike.networks.committee import Committee
from bitspike.networks.srm import SRMNetwork
from bitspike.ops import counter, srm
from bitspike.ops.srm import reference
from bitspike.ops.srm.step import State
from bitspike.recipes import RECIPES
from bitspike.rules.bisnn import BiSNN, BiSNNLearner
from bitspike.settings import IF, SRM, Optimizer, Predict, Weights
from bitspike.training import RunFolder, load_best, load_model, resume, train
from small_runs import interrupted

BAYES = Weights("bernoulli", (-1.0, 1.0), (-1.0, 1.0), clip=None, conv=(-1.0, 1.0))
SMALL = Experiment(
    "small",
    data=Data("digits"),
    coding=Poisson(16, 0.5),
    network=SRM(("24", "16"), bias=True, burn_in=4),
    weights=BAYES,
    rule=BiSNN(box=3.0, rho=1e-6),
    optimizer=Optimizer(lr=0.05),
    training=Training(epochs=3, batch_size=100),
    predict=Predict("committee", 3),
)


def built(
    experiment: Experiment, shape: tuple[int, ...] = (8, 8), classes: int = 10
) -> tuple[SRMNetwork, BiSNNLearner, torch.Tensor]:
    """A network, its learner, and 12 images."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (12, shape[0] * shape[1]), generator=generator, dtype=torch.uint8)
    model = experiment.rule.build(experiment, Task(pixels, classes, shape, 12), generator)
    assert isinstance(model, SRMNetwork)
    learner = experiment.rule.learner(model, experiment)
    assert isinstance(learner, BiSNNLearner)
    return model, learner, pixels


@pytest.mark.parametrize("hidden", [("24", "16"), ("4C3", "P2", "6C2", "20")])
def test_filtering_after_the_synapse_gives_the_potential_of_filtering_before_it(
    hidden: tuple[str, ...],
) -> None:
    experiment = replace(
        SMALL, network=SRM(hidden, bias=True), weights=replace(BAYES, kind="real"), predict=Predict()
    )
    model, _, pixels = built(experiment)
    model.double()
    window = model.window(pixels).double()
    states = [State.zeros(op, len(pixels), window) for op, _ in model.operators]
    for x, (read, spikes) in zip(window, _run_double(model, window), strict=True):
        for index in range(len(states)):
            layer, (weight, bias) = model.layer(index), model.weight(index)
            states[index] = reference.advance(states[index], x, layer.neuron)
            u = reference.potential(
                layer, states[index], weight.detach(), None if bias is None else bias.detach()
            )
            states[index] = states[index]._replace(s=(u >= 0).double())
            x = (reference.pool(layer, u) >= 0).double()
            assert torch.equal(x, spikes[index + 1])
        torch.testing.assert_close(reference.readout(model.layer(len(states) - 1), x), read)


def _run_double(model: SRMNetwork, window: torch.Tensor) -> Any:
    model.window = lambda inputs: window  # type: ignore[method-assign, assignment, misc]
    float32, torch.Tensor.float = torch.Tensor.float, torch.Tensor.double  # type: ignore[method-assign]
    try:
        yield from model.run(None)
    finally:
        torch.Tensor.float = float32  # type: ignore[method-assign]


@pytest.mark.parametrize("kind", ["real", "binary", "bernoulli"])
@pytest.mark.parametrize("hidden", [("24", "16"), ("4C3", "P2", "20")])
def test_the_packed_engine_decides_as_torch_does(kind: Any, hidden: tuple[str, ...]) -> None:
    experiment = replace(
        SMALL, network=SRM(hidden, bias=True), weights=replace(BAYES, kind=kind), predict=Predict()
    )
    model, _, pixels = built(experiment)
    model.snap()
    model.backend = "reference"
    slow = model.decide(pixels)
    model.backend = "auto"
    fast = model.decide(pixels)
    for name in (
        "labels",
        "probabilities",
        "potentials",
        "tied",
        "n_spikes",
        "n_synops",
        "decision_time",
        "silent",
    ):
        assert torch.equal(getattr(slow, name), getattr(fast, name)), name
    times = torch.tensor([0, 3, 10, 15])
    over = model.over_time(pixels, times)
    model.backend = "reference"
    assert torch.equal(model.over_time(pixels, times), over)
    torch.testing.assert_close(over[:, -1], slow.probabilities)
    torch.testing.assert_close(over[:, 0], torch.full((12, 10), 0.1))


def test_one_readout_for_two_classes_and_for_a_regression() -> None:
    model, _, pixels = built(SMALL, classes=2)
    p = model.decide(pixels)
    assert model.n_readouts == 1
    torch.testing.assert_close(p.probabilities.sum(1), torch.ones(12))
    model, learner, pixels = built(SMALL, classes=1)
    targets = torch.linspace(0, 1, 12, dtype=torch.float64)
    report = learner.step(Batch(pixels, targets), Progress(), torch.Generator().manual_seed(1))
    assert 0 < report.loss < 12 * 5
    assert model.decide(pixels).potentials.shape == (12, 1)


def test_the_prior_is_what_was_learned_before() -> None:
    model, learner, _ = built(SMALL)
    assert len(learner.priors) == len(model.latents)
    assert not any(prior.any() for prior in learner.priors)
    learner.end_task()
    for prior, latent in zip(learner.priors, model.latents, strict=True):
        assert torch.equal(prior, latent)


def test_without_error_latents_move_to_the_prior() -> None:
    experiment = replace(SMALL, rule=BiSNN(box=1e-9, rho=0.5), optimizer=Optimizer("sgd", lr=0.1))
    model, learner, pixels = built(experiment)
    before = model.latents[0].detach().clone()
    labels = torch.zeros(12, dtype=torch.int64)
    learner.step(Batch(pixels, labels), Progress(), torch.Generator())
    torch.testing.assert_close(model.latents[0].detach(), before * 0.95**12)  # 16 steps, 4 of burn-in


def test_weights_are_drawn_anew_in_every_step_that_learns() -> None:
    """A loop of its own, with keys by step and layer, does what the learner does, bit for bit."""
    experiment = replace(SMALL, rule=BiSNN(box=3.0), optimizer=Optimizer("sgd", lr=0.05))
    model, learner, pixels = built(experiment)
    other, twin, _ = built(experiment)
    labels = torch.arange(12) % 10
    report = learner.step(Batch(pixels, labels), Progress(), torch.Generator().manual_seed(3))

    noise, burn_in = torch.Generator().manual_seed(3), 4
    window = other.window(pixels, noise)
    seed = int(torch.randint(2**62, (), generator=noise))
    kernels, loss = srm.implementation(other.implementation), torch.zeros(())
    states = [State.zeros(op, 12, other.latents[0].data) for op, _ in other.operators]
    keys = set()
    for t, x in enumerate(window):
        for index in range(2):
            key = counter.key(seed, max(t, burn_in - 1), 2 * index)
            keys.add(key)
            states[index], out = kernels.step(
                other.layer(index), states[index], x, twin._learned(index),
                other.target(labels) if t >= burn_in else None, twin._update(0), key,
            )  # fmt: skip
            x = out.spikes
        if t >= burn_in:
            loss = loss + out.losses.sum()
    assert len(keys) == 2 * (16 - burn_in + 1)
    assert report.loss == float(loss) / (16 - burn_in)
    for ours, theirs in zip(model.latents, other.latents, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"network": IF((10,))}, "set network to SRM"),
        ({"coding": Pixel()}, "set coding to Poisson or EventBins"),
        ({"network": SRM(("8",), burn_in=16)}, "burn_in"),
        ({"optimizer": Optimizer(weight_decay=0.1)}, "rho"),
        ({"weights": replace(BAYES, kind="binary")}, "posterior"),
    ],
)
def test_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        replace(SMALL, **changes)


def test_a_run_with_a_committee_resumes_to_the_same_bits_and_comes_back(tmp_path: Path) -> None:
    experiment = replace(SMALL, training=Training(epochs=3, batch_size=200, mode_epochs=1, keep=2))
    whole = train(experiment, tmp_path / "whole", progress=False)
    cut = tmp_path / "cut"
    with interrupted(2, written=False):
        train(experiment, cut, progress=False)
    resume(cut, progress=False)
    for name in (
        "checkpoint.safetensors",
        "evaluation.json",
        "evaluation.safetensors",
        "snapshot-3.safetensors",
    ):
        assert (cut / name).read_bytes() == (whole.folder / name).read_bytes(), name
    assert RunFolder(cut).snapshot(2).exists()
    _, model = load_model(cut)
    assert isinstance(model, Committee)
    assert model.state_dict().keys() == whole.model.state_dict().keys()
    pixels = torch.randint(0, 256, (20, 64), dtype=torch.uint8)
    one, two = (network.decide(pixels) for network in (model, whole.model))
    assert torch.equal(one.probabilities, two.probabilities)
    _, best = load_best(cut)
    assert isinstance(best, SRMNetwork)
    modes = whole.evaluation["modes"]
    assert set(modes) == {"map", "draw", "ensemble", "committee"}
    assert modes["committee"]["accuracy"] > 0.3


def test_tasks_are_learned_in_turn(tmp_path: Path) -> None:
    experiment = replace(
        RECIPES["bayes-bisnn-split-digits"], network=SMALL.network, coding=SMALL.coding, predict=Predict(),
        optimizer=SMALL.optimizer,
        training=Training(epochs=4, batch_size=20, tasks=("0,1,2,3,4", "5,6,7,8,9"), coreset=1),
    )  # fmt: skip
    result = train(experiment, tmp_path / "run", progress=False)
    lines = RunFolder(result.folder).metrics()
    assert ["validation_task_2" in line for line in lines] == [False, False, True, True]
    assert lines[1]["validation_task_1"] > 0.5
    assert result.evaluation["best_epoch"] == 4
    with pytest.raises(UsageError, match="a class twice"):
        Training(epochs=4, tasks=("0,1", "1,2"))
    with pytest.raises(UsageError, match="multiple"):
        Training(epochs=5, tasks=("0,1", "2,3"))
