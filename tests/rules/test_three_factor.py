"""The three-factor rule of circuits that fire by chance: step sizes, starts, refusals."""

import math
from dataclasses import replace

import pytest
import torch

from bitspike.coding import Latency
from bitspike.contracts import Batch, Progress, Task
from bitspike.errors import UsageError
from bitspike.experiment import Experiment
from bitspike.ops.lif.signals import unpack
from bitspike.rules.three_factor import ThreeFactor
from bitspike.settings import GLM, Optimizer, Weights
from bitspike.settings.basis import Dirac, Exponential

BASIS = Exponential(4.0, 8)
SMALL = Weights("real", (-0.01, 0.01), (-0.01, 0.01), None)
WHAT = Experiment(
    "test", coding=Latency(12), network=GLM((9,), basis=BASIS), weights=SMALL, rule=ThreeFactor(),
    optimizer=Optimizer("adam", lr=0.5, schedule="constant"),
)  # fmt: skip


def started(what=WHAT, n=40):
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (n, 20), generator=generator).to(torch.uint8)
    batch = Batch(what.coding.encode(images), torch.arange(n) % 4)
    network = what.rule.build(what, Task(batch.inputs, 4), generator)
    return network, what.rule.learner(network, what), batch, generator


def test_a_step_is_the_potentials_over_what_is_heard():
    network, learner, batch, generator = started()
    learner.step(batch, Progress(), generator)
    rate = float(unpack(network.spikes(batch.inputs), torch.float32).sum(2).mean())
    traces = float(BASIS.table().sum())
    steps = [group["lr"] for group in learner.optimiser.param_groups]
    assert network.topology.connections == ((0, 1), (0, 2), (1, 2))
    expected = [0.5 / (rate * traces), 0.5 / (rate * traces), 0.5 / (0.3 * 9 * traces), 0.01]
    assert steps == pytest.approx(expected)


def test_one_adam_step_moves_no_potential_further_than_its_rate():
    network, learner, batch, generator = started(replace(WHAT, network=GLM((), basis=BASIS)))
    before = [latent.detach().clone() for latent in network.latents]
    learner.step(batch, Progress(), generator)
    moved = (network.latents[0].detach() - before[0]).abs().max()
    rate = float(unpack(network.spikes(batch.inputs), torch.float32).sum(2).mean())
    assert 0.99 * 0.5 < float(moved) * rate * float(BASIS.table().sum()) <= 0.5 * (1 + 1e-5)


@pytest.mark.parametrize("spread", [0.25, 1.0])
def test_hidden_potentials_start_with_their_spread(spread):
    what = replace(WHAT, rule=ThreeFactor(start=spread), network=GLM((400,), basis=Dirac(1)))
    network, _, batch, _ = started(what, 200)
    window = unpack(network.spikes(batch.inputs), torch.float32)
    potentials = window @ network.latents[0].detach()[:, 0]
    assert float(potentials.std()) == pytest.approx(spread, rel=0.1)


def test_signs_start_at_scales_that_follow_what_is_heard():
    network, _, batch, _ = started(replace(WHAT, weights=Weights("binary"), optimizer=Optimizer(lr=0.03)))
    rate = float(unpack(network.spikes(batch.inputs), torch.float32).sum(2).mean())
    traces = float(BASIS.table().sum())
    scales = [float(scale.detach().exp()[0]) for scale in network.scales]
    assert scales == pytest.approx(
        [1 / (2 * traces * math.sqrt(rate))] * 2 + [1 / (traces * math.sqrt(4.5))], rel=1e-5
    )


def test_the_likelihood_of_a_network_that_knows_nothing():
    network, _, batch, generator = started(replace(WHAT, network=GLM((), basis=BASIS)))
    with torch.no_grad():
        network.latents[0].zero_()
    figures = network.figures(batch.inputs, batch.labels, generator)
    assert figures == {"log_likelihood": pytest.approx(4 * math.log(0.5))}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rule.signal": "scalar", "rule.baseline": "leave-one-out"}, "rule.draws"),
        ({"rule.signal": "importance"}, "rule.draws"),
        ({"network.top_down": True}, "top_down"),
        ({"network.hidden": (4, 4), "rule.feedback": "symmetric"}, "symmetric"),
        ({"optimizer.weight_decay": 0.1}, "weight_decay"),
        ({"network.hidden": (), "network.recurrent": True}, "hidden"),
        ({"network.label": (0, 2)}, "label"),
        ({"network.label": (0,)}, "silent"),
        ({"network.decision": "mean-field", "network.runs": 2}, "runs"),
        ({"network.density": 0.0}, "density"),
    ],
)
def test_what_cannot_be_is_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        WHAT.with_changes(changes)


def test_processes_are_refused():
    with pytest.raises(UsageError, match="one process"):
        started()[1].share(lambda module: module)
