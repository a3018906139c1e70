"""The native engine equals the reference in every figure, on every instruction set of this machine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitspike.coding import time_table
from bitspike.errors import BackendError, DataError
from bitspike.ops.native import instruction_sets
from bitspike.packed.first_spike.layers import FirstSpikePackedLayer
from bitspike.packed.first_spike.native import FirstSpikeEngine
from bitspike.packed.first_spike.network import FirstSpikePacked
from bitspike.packed.first_spike.reference import decide
from packed_nets import assert_equal, random_images, random_network, random_times

pytestmark = [
    pytest.mark.skipif(not instruction_sets(), reason="the native engine was not built"),
    pytest.mark.usefixtures("poisoned_decisions"),
]
ISAS = instruction_sets() or ["none"]

SIZES = [
    (1, 1),
    (7, 3),
    (65, 130),
    (20, 33, 17, 5),
    (600, 40, 70),
    (300, 64, 64, 16),
    (784, 600, 10),
    (3, 1030, 17),
]


CASES = [(widths, n_steps) for widths in SIZES for n_steps in (1, 2, 16, 256, 4096)]
CASES = [
    (widths, n_steps) for widths, n_steps in CASES if n_steps * max(widths) < 60_000
]  # the reference is slow


@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize(("widths", "n_steps"), CASES, ids=str)
def test_native_equals_reference(widths: tuple[int, ...], n_steps: int, delay: int) -> None:
    rng = np.random.default_rng([*widths, n_steps, delay])
    for kinds, level in (("bbbb", 0.4), ("rbrb", 0.4), ("brbr", 0.4), ("bbbb", -0.2)):
        network = random_network(rng, widths, kinds[-len(widths) + 1 :], n_steps, delay, level)
        times, images = random_times(rng, 8, network), random_images(rng, 8, widths[0])
        of_times, of_images = decide(network, times), decide(network, time_table(n_steps)[images])
        for isa in ISAS:
            engine = FirstSpikeEngine(network, isa)
            assert_equal(engine.decide(times, threads=1), of_times)
            assert_equal(engine.decide(images, threads=1), of_images)
            np.testing.assert_array_equal(engine.label(images, threads=1), of_images.labels)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", ["real", "binary"])
def test_a_neuron_at_its_threshold_does_not_fire(kind: str, isa: str) -> None:
    """Potentials are 1, 2 and 3 in the first three steps."""
    weights, level = np.ones((3, 20), np.float32), np.full(20, 2.0)
    layer = getattr(FirstSpikePackedLayer, kind)(weights if kind == "real" else weights > 0, level)
    network = FirstSpikePacked((layer,), n_steps=4)
    times = np.array([[0, 1, 2], [0, 1, 4]], np.int16)
    decided = FirstSpikeEngine(network, isa).decide(times, threads=1)
    assert decided.decision_time.tolist() == [2, 4]
    assert_equal(decided, decide(network, times))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("sign", [True, False])
def test_counters_of_a_byte_give_way_in_time(sign: bool, isa: str) -> None:
    """250 spikes in one step leave a byte room for few more; 8 in the next one would be too many."""
    hidden = FirstSpikePackedLayer.binary(np.full((258, 70), sign), np.full(70, 254.5 if sign else -254.5))
    output = FirstSpikePackedLayer.binary(np.ones((70, 2), bool), np.zeros(2))
    network = FirstSpikePacked((hidden, output), n_steps=4)
    times = np.repeat([0, 1], [250, 8]).astype(np.int16)[None]
    expected = decide(network, times)
    assert int(expected.decision_time[0]) == (1 if sign else 0)
    assert_equal(FirstSpikeEngine(network, isa).decide(times, threads=1), expected)


@pytest.mark.parametrize("n_steps", [256, 4096])
def test_native_equals_reference_with_many_steps(n_steps: int) -> None:
    rng = np.random.default_rng(n_steps)
    network = random_network(rng, (784, 600, 10), "bb", n_steps, level=1.0)
    images = random_images(rng, 2, 784)
    times = time_table(n_steps)[images]
    expected = decide(network, times)
    for isa in ISAS:
        engine = FirstSpikeEngine(network, isa)
        assert_equal(engine.decide(times, 1), expected)
        np.testing.assert_array_equal(engine.label(times, 1), expected.labels)
        assert_equal(FirstSpikeEngine(network, isa).decide(images, 1), expected)


@pytest.mark.parametrize("isa", ISAS)
def test_sums_far_beyond_a_byte_are_exact(isa: str) -> None:
    """All +1 and all -1 columns, hundreds of spikes in one step, then more one by one."""
    positive = np.zeros((900, 70), bool)
    positive[:, :35] = True
    levels = np.concatenate([np.arange(35) * 20.0 + 190, np.arange(35) * -20.0 - 3]).astype(np.float32)
    hidden = FirstSpikePackedLayer.binary(positive, levels)
    output = FirstSpikePackedLayer.binary(np.ones((70, 20), bool), np.full(20, 30, np.float32))
    times = np.sort(np.random.default_rng(0).integers(1, 64, (5, 900)), axis=1).astype(np.int16)
    times[1], times[2, :500], times[3, :250], times[4, 250:] = 0, 3, 5, 64
    for layers in ((hidden, output), (hidden,), (output,)):
        network = FirstSpikePacked(layers, 64)
        part = times[:, : network.n_in]
        assert_equal(FirstSpikeEngine(network, isa).decide(part, 1), decide(network, part))


@settings(max_examples=150)
@given(st.data())
def test_native_equals_reference_on_random_networks(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 2**32 - 1))
    widths = tuple(data.draw(st.lists(st.integers(1, 90), min_size=2, max_size=4)))
    kinds = data.draw(st.text("br", min_size=len(widths) - 1, max_size=len(widths) - 1))
    n_steps, delay = data.draw(st.integers(1, 300)), data.draw(st.integers(0, 1))
    rng = np.random.default_rng(seed)
    network = random_network(
        rng, widths, kinds, n_steps, delay, data.draw(st.sampled_from([-0.3, 0.0, 0.3, 1.0]))
    )
    times = random_times(rng, 5, network)
    expected = decide(network, times)
    for isa in ISAS:
        engine = FirstSpikeEngine(network, isa)
        assert_equal(engine.decide(times, 1), expected)
        np.testing.assert_array_equal(engine.label(times, 1), expected.labels)


@pytest.mark.parametrize("isa", ISAS)
def test_bad_inputs_are_refused(isa: str) -> None:
    network = random_network(np.random.default_rng(0), (40, 3), "b", n_steps=4)
    engine = FirstSpikeEngine(network, isa)
    for value in (-1, 5, 32767, -32768):
        times = np.zeros((9, 40), np.int16)
        times[6, 39] = value
        with pytest.raises(DataError, match="sample 6"):
            engine.decide(times, 1)
    for wrong in (np.zeros((2, 40), np.int32), np.zeros((2, 41), np.uint8), np.zeros(40, np.int16)):
        with pytest.raises(DataError, match="expected images uint8 or spike times int16"):
            engine.decide(wrong)
    with pytest.raises(DataError, match="at least 1"):
        engine.decide(np.zeros((2, 40), np.int16), threads=0)


def test_a_back_end_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network(np.random.default_rng(0), (4, 3), "b")
    with pytest.raises(BackendError, match="sse9"):
        FirstSpikeEngine(network, "sse9")
    monkeypatch.setattr("bitspike.ops.native._module", lambda: None)
    with pytest.raises(BackendError, match="not built"):
        FirstSpikeEngine(network)
