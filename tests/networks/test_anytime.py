"""Answers demanded early: equal to those of a network whose input or window ends there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bitspike.coding import Direct, FirstSpike, Poisson
from bitspike.errors import UsageError
from bitspike.networks.anytime import over_time, steps_between
from bitspike.networks.decision import decide
from bitspike.networks.first_spike import FirstSpikeNetwork
from bitspike.networks.lif import LIFNetwork
from bitspike.ops.native import instruction_sets
from bitspike.settings import IF, LIF, Weights

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
        N_IN, CLASSES, FirstSpike(N_STEPS), IF(hidden, delay), Weights(kind, **spread), generator, backend
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


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["binary", "real"])
def test_first_spikes_with_delay_end_in_the_decision_and_wait_before_it(kind, backend):
    """Against the packed network of an input that ends earlier: its spikes after the demand were not there yet."""
    network = race(kind, (16,), 1, backend)
    inputs = race_inputs()
    found = network.over_time(inputs, torch.arange(N_STEPS))
    packed = network.packed()
    decision = packed.decide(inputs.numpy())
    assert decision.silent.any()
    assert not decision.silent.all()
    weight, threshold = network.weight(1).detach(), network.thresholds[1].detach()
    hidden = torch.from_numpy(first_crossings(packed, inputs.numpy()) + 1)  # a step after they cross
    for i in range(len(inputs)):
        until = N_STEPS if decision.silent[i] else int(decision.decision_time[i]) - 1
        for t in range(N_STEPS):
            margin = (hidden[i] <= min(t, until)).float() @ weight - threshold
            close(found[i, t], (margin.double() / 1.7).softmax(0).float())
        settled = torch.from_numpy(decision.potentials[i]).double()
        close(found[i, -1], (settled / 1.7).softmax(0).float())


def test_times_by_hand_with_delay():
    """One input of each of two hidden neurons, thresholds 0.5; outputs are theirs, negated for the other class."""
    network = FirstSpikeNetwork(
        2, 2, FirstSpike(6), IF((2,), 1), Weights("real", clip=None), torch.Generator(), "reference"
    )
    with torch.no_grad():
        network.latents[0].copy_(torch.eye(2))
        network.latents[1].copy_(torch.tensor([[1.0, -1.0], [-3.0, 3.0]]))
        for threshold in network.thresholds:
            threshold.fill_(0.5)
    # Input 0 spikes in step 0, hidden neuron 0 in step 1, output 0 crosses in step 1: the decision falls in step 2, by
    # the potentials of step 1, and the spike of hidden neuron 1 in step 2 no longer counts.
    probabilities = network.over_time(torch.tensor([[0, 1]], dtype=torch.int16), torch.arange(6))[0]
    margins = torch.tensor([[-0.5, -0.5]] + 5 * [[0.5, -1.5]])
    close(probabilities, margins.double().softmax(1).float())
    assert int(network.decide(torch.tensor([[0, 1]], dtype=torch.int16)).decision_time) == 2
    # Without the first input hidden neuron 1 fires in step 3, and so on.
    probabilities = network.over_time(torch.tensor([[6, 2]], dtype=torch.int16), torch.arange(6))[0]
    margins = torch.tensor(3 * [[-0.5, -0.5]] + 3 * [[-3.5, 2.5]])
    close(probabilities, margins.double().softmax(1).float())


def first_crossings(packed: Any, times: np.ndarray) -> np.ndarray:
    """The step in which each neuron of the first layer crosses its threshold, far beyond the window if never."""
    layer = packed.layers[0]
    weight = layer.weights.dense()
    found = np.full((len(times), weight.shape[1]), 10 * N_STEPS)
    for t in reversed(range(N_STEPS)):
        found[(times <= t).astype(np.float32) @ weight > layer.thresholds] = t
    return found


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
    assert network.anytime
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
