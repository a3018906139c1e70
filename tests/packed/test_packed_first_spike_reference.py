"""The slow truth against vectors of the S4NN specification and against its own laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitspike.coding import time_table
from bitspike.errors import DataError, UsageError
from bitspike.ops.operators import Dense
from bitspike.packed.first_spike.layers import FirstSpikePackedLayer
from bitspike.packed.first_spike.network import FirstSpikePacked
from bitspike.packed.first_spike.reference import decide
from bitspike.packed.heaviside import HeavisidePacked
from bitspike.packed.weights import Signs
from packed_nets import assert_equal, random_network, random_times

# Specification, vector T2: theta = 5, T = 20, one output neuron with one step of delay.
T2 = [
    ((2, 2, 5), (6, -3, 1), 20),
    ((18, 20, 20), (6, 1, 1), 19),
    ((19, 20, 20), (6, 1, 1), 20),
    ((20, 20, 20), (6, 6, 6), 20),
    ((0, 1, 2), (5, 0, 0), 20),
    ((0, 1, 2), (5.5, -3, 9), 1),
    ((0, 0, 3), (5, 0.5, -9), 1),
    ((0, 4, 4), (3, 9, -8), 20),
]


@pytest.mark.parametrize(("times", "weights", "expected"), T2)
def test_single_neuron_fires_as_the_specification_says(
    times: tuple[int, ...], weights: tuple[float, ...], expected: int
) -> None:
    layer = FirstSpikePackedLayer.real(np.array(weights)[:, None], np.array([5.0]))
    decisions = decide(FirstSpikePacked((layer,), 20, delay=1), np.array([times]))
    assert decisions.decision_time[0] == expected
    assert decisions.silent[0] == (expected == 20)


def test_three_layer_vector_of_the_specification() -> None:
    """Vector T5: 12-6-4, T = 32, theta (10, 6); outputs fire at 32, 32, 32, 18."""
    w1 = np.array([[((7 * j + 5 * i + j * i) % 11) - 3 for j in range(6)] for i in range(12)])
    w2 = np.array([[((3 * k + 8 * j + 2 * k * j) % 13) - 4 for k in range(4)] for j in range(6)])
    times = np.array([[(11 * i + 5) % 33 for i in range(12)]])
    layers = (FirstSpikePackedLayer.real(w1, np.full(6, 10)), FirstSpikePackedLayer.real(w2, np.full(4, 6)))
    decisions = decide(FirstSpikePacked(layers, 32, delay=1), times)
    assert (decisions.labels[0], decisions.decision_time[0]) == (3, 18)
    assert decisions.tied.tolist() == [[False, False, False, True]]
    # input spikes up to 18: eight; all six hidden neurons fire (times 17, 6, 17, 17, 17, 6)
    assert (decisions.n_spikes[0], decisions.n_synops[0]) == (8 + 6, 8 * 6 + 6 * 4)


def test_ties_fall_to_the_largest_margin_then_to_the_lowest_index() -> None:
    weights = np.array([[1.0, 3.0, 3.0, 9.0]])
    layer = FirstSpikePackedLayer.real(weights, np.array([0.5, 2.0, 2.0, 9.0]))
    decisions = decide(FirstSpikePacked((layer,), 4), np.array([[2], [4]]))
    assert decisions.labels.tolist() == [1, 0]  # black: every margin is -theta, the largest is -0.5
    assert decisions.tied.tolist() == [[True, True, True, False], [False] * 4]
    assert decisions.silent.tolist() == [False, True]
    np.testing.assert_array_equal(decisions.potentials[0], [0.5, 1.0, 1.0, 0.0])
    assert decisions.decision_time.tolist() == [2, 4]


def test_a_negative_threshold_fires_in_step_0_without_a_spike() -> None:
    layers = (
        FirstSpikePackedLayer.real(np.ones((1, 1)), np.array([-1.0])),
        FirstSpikePackedLayer.real(np.ones((1, 2)), np.array([0.5, 2])),
    )
    decisions = decide(FirstSpikePacked(layers, 8), np.array([[8], [3]]))
    assert decisions.decision_time.tolist() == [0, 0]
    assert decisions.n_spikes.tolist() == [1, 1]


@given(st.integers(0, 2**32 - 1), st.sampled_from(["bb", "rb", "br"]), st.integers(0, 1))
def test_permuting_inputs_with_their_weights_changes_nothing(seed: int, kinds: str, delay: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng, (12, 9, 4), kinds, n_steps=7, delay=delay)
    times = random_times(rng, 6, network)
    order = rng.permutation(12)
    first = network.layers[0]
    build = FirstSpikePackedLayer.binary if first.kind == "binary" else FirstSpikePackedLayer.real
    weights = first.weights.dense()[order]
    moved = build(weights > 0 if first.kind == "binary" else weights, first.thresholds)
    assert_equal(
        decide(network, times),
        decide(FirstSpikePacked((moved, *network.layers[1:]), 7, delay), times[:, order]),
    )


@given(st.integers(0, 2**32 - 1), st.sampled_from(["bb", "rb", "br"]))
def test_black_inputs_are_inert(seed: int, kinds: str) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng, (12, 9, 4), kinds, n_steps=7)
    times = random_times(rng, 6, network)
    first = network.layers[0]
    wider = np.concatenate([first.weights.dense(), np.sign(rng.normal(size=(5, 9)))])
    build = FirstSpikePackedLayer.binary if first.kind == "binary" else FirstSpikePackedLayer.real
    padded = build(wider > 0 if first.kind == "binary" else wider, first.thresholds)
    black = np.full((6, 5), 7, np.int16)
    more = decide(FirstSpikePacked((padded, *network.layers[1:]), 7), np.concatenate([times, black], axis=1))
    assert_equal(decide(network, times), more)


@given(st.integers(0, 2**32 - 1), st.integers(-8, 8))
def test_scaling_weights_and_thresholds_by_a_power_of_two_scales_only_the_margins(
    seed: int, power: int
) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng, (12, 9, 4), "rr", n_steps=7)
    times = random_times(rng, 6, network)
    scaled = tuple(
        FirstSpikePackedLayer.real(y.weights.dense() * 2.0**power, y.thresholds * 2.0**power)
        for y in network.layers
    )
    a, b = decide(network, times), decide(FirstSpikePacked(scaled, 7), times)
    for name in ("labels", "decision_time", "tied", "n_spikes", "n_synops"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_array_equal(a.potentials * np.float32(2.0**power), b.potentials)


def test_pixels_fire_strictly_above_the_threshold() -> None:
    hidden = FirstSpikePackedLayer.binary(np.array([[True, True], [False, True]]), np.array([100.0, 300.5]))
    output = FirstSpikePackedLayer.binary(np.array([[True, False], [False, True]]), np.zeros(2))
    network = HeavisidePacked((hidden, output))
    decisions = network.decide(np.array([[150, 50], [151, 50], [151, 150]], np.uint8))
    np.testing.assert_array_equal(decisions.potentials, [[0, 0], [1, -1], [-1, 1]])
    assert decisions.labels.tolist() == [0, 0, 1]
    assert decisions.tied.tolist() == [[True, True], [True, False], [False, True]]
    assert decisions.n_spikes.tolist() == [2, 3, 3]


@pytest.mark.parametrize("times", [[[0, 5]], [[-1, 0]]])
def test_times_out_of_range_are_refused(times: list[list[int]]) -> None:
    network = random_network(np.random.default_rng(0), (2, 3), "b", n_steps=4)
    with pytest.raises(DataError, match=r"outside 0\.\.4"):
        decide(network, np.array(times))


def test_layers_that_cannot_be_are_refused() -> None:
    layer = FirstSpikePackedLayer.binary(np.ones((3, 5), bool), np.zeros(5))
    with pytest.raises(UsageError, match="unused bits"):
        Signs(np.full((3, 1), 255, np.uint8), (3, 5))
    with pytest.raises(UsageError, match="expected uint8"):
        Signs(np.zeros((3, 1), np.uint8), (3, 9))
    with pytest.raises(UsageError, match=r"shape \(3, 5\); expected \(3, 9\)"):
        FirstSpikePackedLayer(Dense(3, 9), layer.weights, np.zeros(9, np.float32))
    with pytest.raises(UsageError, match="finite"):
        FirstSpikePackedLayer.real(np.ones((2, 1)), np.array([np.nan]))
    with pytest.raises(UsageError, match="layer 2 has 3 inputs"):
        FirstSpikePacked((layer, layer), 4)
    with pytest.raises(UsageError, match="n_steps"):
        FirstSpikePacked((layer,), 32767)


def test_the_time_table_is_what_the_engine_expects() -> None:
    assert time_table(256)[[0, 1, 2, 127, 128, 254, 255]].tolist() == [256, 254, 253, 128, 127, 1, 0]
