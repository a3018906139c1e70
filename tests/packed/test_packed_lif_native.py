"""The native engine of spike trains equals the reference in every figure, on every instruction set of this machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitspike.coding import Direct, Poisson, SpikeList
from bitspike.errors import BackendError, DataError
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.native import instruction_sets
from bitspike.ops.operators import Conv, Dense, Operator, Pool
from bitspike.packed.lif.native import LIFEngine, least_current
from bitspike.packed.lif.network import LIFPacked
from bitspike.packed.lif.reference import decide, run
from lif_nets import dense, maps, random_inputs, random_spikes, random_trains
from packed_nets import assert_equal

pytestmark = [
    pytest.mark.skipif(not instruction_sets(), reason="the native engine was not built"),
    pytest.mark.usefixtures("poisoned_decisions"),
]
ISAS = instruction_sets() or ["none"]


SHAPES: list[list[Operator]] = [
    dense(1, 1),
    dense(70, 20, 10),
    dense(300, 130, 17),
    dense(64, 600, 64, 16),
    maps(9, 8, 2),
    [Conv(6, 5, 3, 4, 5, 2), Pool(6, 5, 4, 4), Dense(4, 3)],
    [Pool(7, 9, 2, 3), Conv(2, 3, 2, 18, 2), Conv(1, 2, 18, 2, 1), Dense(4, 40)],
]


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "real"])
@pytest.mark.parametrize("operators", SHAPES, ids=str)
def test_native_equals_reference(operators: list[Operator], binary: bool) -> None:
    rng = np.random.default_rng([len(operators), operators[0].n_in])
    codings: list[Any] = [(None, 40), (Direct(33, 0.6), 33), (Poisson(31, 0.4), 31), (Direct(2, 20.0), 2)]
    if isinstance(operators[0], Dense) and operators[0].n_in % 2 == 0:
        codings.append((Poisson(40, 0.9, signed=True), 40))
    for number, (coding, n_steps) in enumerate(codings):
        more: dict[str, Any] = {
            "lateral": 0.7 * (number % 2),
            "refractory": 3 - number,
            "epsilon": 0.1 * number,
        }
        more["refractory"] = max(0, more["refractory"])
        network = random_trains(rng, operators, binary, coding, n_steps, **more)
        inputs = random_inputs(rng, 8, network)
        truth = decide(network, inputs)
        for isa in ISAS:
            engine = LIFEngine(network, isa)
            assert_equal(engine.decide(inputs), truth)
            np.testing.assert_array_equal(engine.label(inputs), truth.labels)


def test_every_layer_of_the_cases_above_fires() -> None:
    rng = np.random.default_rng(1)
    for operators in SHAPES[1:]:
        networks = [random_trains(rng, operators, True) for _ in range(5)]
        runs = [run(network, random_inputs(rng, 8, network)).spikes for network in networks]
        for layer in zip(*runs, strict=True):
            assert 0 < np.mean(layer) < 0.5


@settings(max_examples=60)
@given(st.data())
def test_any_network(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n_steps = data.draw(st.integers(2, 70))
    operators = data.draw(st.sampled_from([*SHAPES, dense(9, 800), dense(520, 3), maps(5, 5, 1, 20)]))
    coding = data.draw(st.sampled_from([None, Direct(n_steps), Poisson(n_steps)]))
    network = random_trains(
        rng,
        operators,
        data.draw(st.booleans()),
        coding,
        n_steps,
        level=data.draw(st.sampled_from([0.01, 0.4, 3.0])),
        lateral=data.draw(st.sampled_from([0.0, 0.3, 5.0])),
        refractory=data.draw(st.sampled_from([0, 1, 2, 7, 63])),
    )
    inputs = random_inputs(rng, 4, network)
    isa = data.draw(st.sampled_from(ISAS))
    assert_equal(LIFEngine(network, isa).decide(inputs), decide(network, inputs))


def test_a_current_below_the_least_never_fires_and_one_above_does() -> None:
    for neuron, n_steps in [
        (Neuron(3.0), 100),
        (Neuron(1.0, 500.0, 1.5, epsilon=0.2), 2000),
        (Neuron(9.0), 2),
    ]:
        least = np.float32(least_current(neuron, n_steps))
        for factor, fires in ((0.9999, False), (1.05 + 3e-6 * n_steps, True)):
            v = x = np.float32(0)
            highest = np.float32(0)
            for _ in range(n_steps - 1):
                v, x = v * np.float32(neuron.beta_m), x * np.float32(neuron.beta_s)
                x += least * np.float32(factor)
                v += x * np.float32(1 / neuron.tau_s)
                highest = max(highest, v)
            assert (highest > neuron.threshold - neuron.epsilon) == fires


def test_what_does_not_fit_is_refused() -> None:
    rng = np.random.default_rng(0)
    network = random_trains(rng, dense(4, 3), True, None, 9)
    engine = LIFEngine(network)
    twice = SpikeList(np.zeros(3, np.int16), np.array([1, 2, 2], np.int32), np.array([0, 1, 3]), 9, 4)
    with pytest.raises(DataError, match="recording 1"):
        engine.decide(twice)
    assert_equal(engine.decide(twice[:1]), decide(network, twice[:1]))
    with pytest.raises(DataError, match="SpikeList"):
        engine.decide(np.zeros((2, 4), np.uint8))
    with pytest.raises(DataError, match="8 steps"):
        engine.decide(random_spikes(rng, 3, 8, 4))
    with pytest.raises(BackendError, match="avx9"):
        LIFEngine(network, "avx9")
    with pytest.raises(DataError, match="uint8"):
        LIFEngine(LIFPacked(network.layers, 9, Direct(9))).decide(np.zeros((2, 5), np.uint8))
