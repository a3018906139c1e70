"""Answers demanded early: equal to those of a network whose input or window ends there."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from bitspike.weights import Weights

from bitspike.coding import Direct, Poisson
from bitspike.errors import UsageError
from bitspike.networks.anytime import Anytime, over_time, steps_between
from bitspike.networks.decision import decide
from bitspike.networks.first_spike import FirstSpikeNetwork
from bitspike.networks.lif import LIFNetwork
from bitspike.ops.native import instruction_sets
from bitspike.rules.s4nn import _decide as s4nn_decide
from bitspike.settings import IF, LIF

BACKENDS = ["reference", "native"] if instruction_sets() else ["reference"]
N_STEPS, N_IN, CLASSES = 12, 20, 4


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    """Equal but for the last bit, in which torch's softmax depends on the shape of the tensor."""
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def race(
    kind: Any, hidden: tuple[int, ...], delay: Any, backend: str, level: float = 3.0
) -> FirstSpikeNetwork:
    generator = torch.Generator().manual_seed(1)
    spread = {} if kind == "binary" else {"hidden": (-0.8, 1.0), "output": (-0.8, 1.0), "clip": None}
    network = FirstSpikeNetwork(
        N_IN, CLASSES, N_STEPS, IF(hidden, delay), Weights(kind, **spread), generator, backend
    )
    for threshold in network.thresholds:
        threshold.data.uniform_(0.2 * level, level, generator=generator)
    network.snap()
    network.temperature.fill_(1.7)
    return network


def race_inputs(n: int = 64) -> torch.Tensor:
    times = torch.randint(0, N_STEPS + 1, (n, N_IN), generator=torch.Generator().manual_seed(2))
    times[0], times[1] = N_STEPS, 0  # black, white
    times[2, :-1] = N_STEPS
    return times.to(torch.int16)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("kind", "hidden"), [("binary", (16,)), ("real", (16,)), ("real", (12, 10))])
def test_first_spikes_without_delay_equal_the_decision_on_a_shortened_input(kind, hidden, backend):
    network, inputs = race(kind, hidden, 0, backend), race_inputs()
    found = network.over_time(inputs, torch.arange(N_STEPS))
    assert found.dtype == torch.float32
    decided_at = decide(network.readout(inputs), N_STEPS, 1.0).decision_time
    assert 0 < int((decided_at < N_STEPS).sum()) < len(inputs)  # both, decided and silent
    for t in range(N_STEPS):
        shortened = torch.where(inputs <= t, inputs, N_STEPS)
        expected = decide(network.readout(shortened), N_STEPS, 1.7)
        close(found[:, t], expected.probabilities)
        frozen = decided_at <= t
        close(found[frozen, t], found[frozen, -1])


@pytest.mark.parametrize("kind", ["binary", "real"])
def test_first_spikes_with_delay_end_in_the_decision_and_wait_before_it(kind):
    network: Any = race(kind, (16,), 1, "reference")
    inputs = race_inputs()
    found = network.over_time(inputs, torch.arange(N_STEPS))
    decision = s4nn_decide(network, inputs)
    torch.testing.assert_close(found[:, -1], decision.probabilities)  # that softmax is float32
    hidden = network.spike_times(inputs)[1]
    assert bool(decision.silent.any())
    assert not bool(decision.silent.all())
    for i, t in itertools.product(range(len(inputs)), range(N_STEPS)):
        if t >= int(decision.decision_time[i]) - 1:  # the potentials of that step made the decision
            close(found[i, t], found[i, -1])
        else:
            there = (hidden[i] <= t).float()
            margin = there @ network.weight(1) - network.thresholds[1]
            close(found[i, t], (margin.double() / 1.7).softmax(0).float())


def trains(backend: str, coding: Any, kind: Any = "real", lateral: float = 0.5) -> LIFNetwork:
    generator = torch.Generator().manual_seed(3)
    weights = Weights(kind, (-1.0, 1.0), (-1.0, 1.0), None) if kind == "real" else Weights(kind)
    settings = LIF(("18",), (3.0, 1.0), 8.0, 2.0, 1, lateral=lateral)
    network = LIFNetwork((N_IN,), CLASSES, coding, settings, weights, generator, backend)
    network.snap()
    network.temperature.fill_(0.8)
    return network


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["binary", "real"])
@pytest.mark.parametrize("lateral", [0.0, 0.5])
def test_spike_trains_equal_the_decision_of_a_shorter_window(kind, backend, lateral):
    n_steps, generator = 25, torch.Generator().manual_seed(4)
    images = torch.randint(0, 256, (30, N_IN), generator=generator).to(torch.uint8)
    images[0] = 0
    network = trains(backend, Direct(n_steps, 0.5), kind, lateral)
    times = torch.arange(1, n_steps)
    found = network.over_time(images, times)
    assert int(network.decide(images).tied.sum(1).max()) > 0
    for k, t in enumerate(times.tolist()):
        network.coding = Direct(t + 1, 0.5)
        close(found[:, k], network.decide(images).probabilities)


@pytest.mark.parametrize("backend", BACKENDS)
def test_spike_trains_of_poisson_input_end_in_the_decision(backend):
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (20, N_IN), generator=generator).to(torch.uint8)
    network = trains(backend, Poisson(30, 0.5))
    assert isinstance(network, Anytime)
    times = steps_between(30, 5)
    assert times.tolist() == [5, 11, 17, 23, 29]
    found = over_time(network, images, times, batch=7)
    assert found.shape == (20, 5, CLASSES)
    close(found[:, -1], network.decide(images).probabilities)
    torch.testing.assert_close(found.sum(2), torch.ones(20, 5))
    assert not torch.equal(found[:, 0], found[:, -1])


def test_times_are_steps_of_the_window():
    assert steps_between(256).tolist() == list(range(15, 256, 16))
    assert steps_between(3).tolist() == [0, 1, 2]
    assert steps_between(1).tolist() == [0]
    network = race("binary", (16,), 0, "reference")
    for bad in ([], [N_STEPS], [-1]):
        with pytest.raises(UsageError, match="give steps from 0 to 11"):
            network.over_time(race_inputs(), torch.tensor(bad, dtype=torch.int64))
