"""The native engine of BiSNN equals the reference in every bit, on every instruction set of this machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitspike.coding import Poisson, SpikeList
from bitspike.errors import BackendError, DataError
from bitspike.ops.native import instruction_sets
from bitspike.ops.operators import Conv, Dense
from bitspike.ops.srm.neuron import SRMNeuron
from bitspike.packed.srm.native import SRMEngine
from bitspike.packed.srm.network import SRMPacked
from bitspike.packed.srm.reference import decide, over_time, run
from lif_nets import random_spikes
from packed_nets import assert_equal
from srm_nets import Shape, dense, maps, random_srm

pytestmark = pytest.mark.skipif(not instruction_sets(), reason="the native engine was not built")
ISAS = instruction_sets() or ["none"]


def inputs_of(rng: np.random.Generator, n: int, network: SRMPacked) -> Any:
    coding = network.coding
    if coding is None:
        return random_spikes(rng, n, network.n_steps, network.n_in)
    images = rng.integers(0, 256, (n, network.n_in // coding.channels_of(1))).astype(np.uint8)
    images[n // 3 :][rng.random(images[n // 3 :].shape) < 0.7] = 0
    images[0], images[-1] = 0, 255
    return images


SHAPES: list[tuple[Shape, int]] = [
    (dense(1, 1), 1),
    (dense(5, 3), 2),
    (dense(70, 20), 10),
    (dense(130, 300, 17), 4),
    (dense(33, 600, 64), 16),
    (dense(12, 40), 17),
    (dense(12, 90), 70),
    (maps(9, 8, 2), 5),
    ([(Conv(6, 6, 3, 17, 3), 2)], 3),
    ([(Conv(5, 7, 1, 4, 1, 1), 3), (Conv(2, 3, 4, 33, 2, 1), 1)], 2),
]


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "real"])
@pytest.mark.parametrize(("shape", "n_classes"), SHAPES, ids=str)
def test_native_equals_reference(shape: Shape, n_classes: int, binary: bool) -> None:
    rng = np.random.default_rng([n_classes, shape[0][0].n_in])
    cases: list[tuple[Any, int, int, bool]] = [(None, 40, 10, True), (Poisson(31, 0.4), 31, 0, False)]
    if isinstance(shape[0][0], Dense) and shape[0][0].n_in % 2 == 0:
        cases.append((Poisson(9, 0.9, signed=True), 9, 8, True))
    for coding, n_steps, burn_in, biased in cases:
        network = random_srm(rng, shape, n_classes, binary, coding, n_steps, biased, burn_in)
        inputs = inputs_of(rng, 8, network)
        truth, times = decide(network, inputs), over_time(network, inputs)
        for isa in ISAS:
            engine = SRMEngine(network, isa)
            assert_equal(engine.decide(inputs), truth)
            np.testing.assert_array_equal(engine.over_time(inputs), times)


def test_layers_of_the_cases_above_spike_and_pause() -> None:
    rng = np.random.default_rng(1)
    for shape, n_classes in SHAPES[1:]:
        network = random_srm(rng, shape, n_classes, True)
        for train in run(network, random_spikes(rng, 8, network.n_steps, network.n_in)).spikes:
            assert 0 < train[:, 5:].mean() < 1


@settings(max_examples=40)
@given(st.data())
def test_random_networks(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    widths = [data.draw(st.integers(1, 80)) for _ in range(data.draw(st.integers(2, 4)))]
    taus = [10.0 ** data.draw(st.floats(-3, 4)) for _ in range(3)]
    n_steps = data.draw(st.integers(2, 60))
    network = random_srm(
        rng, dense(*widths), data.draw(st.integers(1, 20)), data.draw(st.booleans()), None, n_steps,
        data.draw(st.booleans()), data.draw(st.integers(0, n_steps - 1)), SRMNeuron(*taus),
    )  # fmt: skip
    inputs = random_spikes(rng, 4, n_steps, network.n_in)
    truth = decide(network, inputs)
    for isa in ISAS:
        assert_equal(SRMEngine(network, isa).decide(inputs), truth)


def test_long_windows_fade_into_denormals_alike() -> None:
    rng = np.random.default_rng(6)
    network = random_srm(rng, dense(8, 20), 3, True, None, 1200, True, 1000)
    one = SpikeList(np.zeros(3, np.int16), np.arange(3, dtype=np.int32), np.array([0, 3]), 1200, 8)
    for isa in ISAS:
        assert_equal(SRMEngine(network, isa).decide(one), decide(network, one))


def test_what_cannot_run_is_refused() -> None:
    rng = np.random.default_rng(7)
    network = random_srm(rng, dense(8, 20), 3, True)
    with pytest.raises(BackendError, match="sse9"):
        SRMEngine(network, "sse9")
    engine = SRMEngine(network)
    twice = SpikeList(np.ones(2, np.int16), np.ones(2, np.int32), np.array([0, 0, 2]), 30, 8)
    with pytest.raises(DataError, match="recording 1"):
        engine.decide(twice)
    with pytest.raises(DataError, match="SpikeList"):
        engine.decide(np.zeros((1, 8), np.uint8))
    with pytest.raises(DataError, match="threads is 0"):
        engine.decide(twice, 0)
