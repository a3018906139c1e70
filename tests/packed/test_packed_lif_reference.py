"""The numpy reference of packed spike trains against the PyTorch reference of training, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bitspike.coding import Direct, Poisson, SpikeList
from bitspike.errors import DataError, UsageError
from bitspike.ops.lif import reference as training
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.lif.signals import pack, unpack
from bitspike.ops.operators import Conv, Dense, Operator, Pool
from bitspike.packed.lif.layers import LIFPackedLayer
from bitspike.packed.lif.network import LIFPacked, from_weights
from bitspike.packed.lif.reference import decide, run
from bitspike.packed.weights import Reals, Signs
from bitspike.packed.weights import snap_window as snap
from lif_nets import dense, maps, random_inputs, random_spikes, random_trains

CASES = [
    (dense(30, 20, 10), {}),
    (dense(70, 3), {"refractory": 0, "lateral": 0.7}),
    (dense(20, 33, 17, 5), {"refractory": 5, "lateral": 2.0, "epsilon": 0.3}),
    (maps(9, 8, 2), {}),
]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(("operators", "options"), CASES, ids=str)
def test_spikes_are_those_of_the_training_reference(
    operators: list[Operator], options: dict[str, Any], binary: bool
) -> None:
    rng = np.random.default_rng(len(operators))
    network = random_trains(rng, operators, binary, **options)
    inputs = random_spikes(rng, 7, network.n_steps, network.n_in)
    done = run(network, inputs)
    signal: Any = pack(torch.from_numpy(inputs.dense()))
    n_spikes = n_synops = 0
    for layer, spikes in zip(network.layers, done.spikes, strict=True):
        counts = unpack(signal).sum(1).numpy()
        n_spikes, n_synops = n_spikes + counts.sum(1), n_synops + counts @ layer.operator.fan_out()
        weight = layer.dense()
        result = training.forward(
            layer.operator, signal, None if weight is None else torch.from_numpy(weight), layer.neuron
        )
        np.testing.assert_array_equal(unpack(result.spikes, torch.bool).numpy(), spikes)
        assert spikes.any()
        signal = result.spikes
    np.testing.assert_array_equal(done.counts, result.counts.numpy())
    np.testing.assert_array_equal(done.membranes, result.membrane.numpy())
    np.testing.assert_array_equal(done.n_spikes, n_spikes)
    np.testing.assert_array_equal(done.n_synops, n_synops)


def test_a_direct_current_is_exact_and_costs_its_pixels_once() -> None:
    network = LIFPacked((_layer(Dense(2, 2), [[1, -1], [1, 1]], 1.0),), 5, Direct(5, 0.5))
    done = run(network, np.array([[255, 51], [0, 0]], np.uint8))
    # I = (0.6, -0.4); x(t) = I (1 + .8 + .8^2 ..), v <- .95 v + .2 x, over the threshold 1 never in 5 steps
    assert done.counts.tolist() == [[0, 0], [0, 0]]
    assert done.n_spikes.tolist() == [0, 0]
    assert done.n_synops.tolist() == [4, 0]
    x = v = np.float32(0)
    for _ in range(4):
        v, x = v * np.float32(0.95), x * np.float32(0.8)
        x += np.float32(306 * (0.5 / 255))
        v += x * np.float32(0.2)
    assert done.membranes[0, 0] == v


def test_poisson_trains_are_the_images_own() -> None:
    rng = np.random.default_rng(3)
    coding = Poisson(30, 0.5, signed=True)
    network = random_trains(rng, dense(24, 12, 4), True, coding, 30)
    images = random_inputs(rng, 5, network)
    trains = coding.trains(images)
    steps = np.nonzero(trains)
    counts = np.concatenate([[0], np.cumsum(trains.sum(axis=(1, 2)))])
    spikes = SpikeList(steps[1].astype(np.int16), steps[2].astype(np.int32), counts, 30, 24)
    by_list = decide(LIFPacked(network.layers, 30), spikes)
    for name, value in vars(decide(network, images)).items():
        np.testing.assert_array_equal(value, getattr(by_list, name), err_msg=name)
    np.testing.assert_array_equal(coding.trains(images[3:]), trains[3:])


def test_the_decision_is_the_count_then_the_membrane_then_the_index() -> None:
    identity = np.eye(4) * 8.0
    network = from_weights([Dense(4, 4)], [Neuron(1.0, 20.0, 5.0)], [identity], False, None, 12)
    steps, channels = np.array([0, 6, 0, 0, 10], np.int16), np.array([2, 2, 1, 3, 3], np.int32)
    offsets = np.array([0, 2, 2, 5])
    done = decide(network, SpikeList(steps, channels, offsets, 12, 4))
    truth = run(network, SpikeList(steps, channels, offsets, 12, 4))
    assert truth.counts[1].tolist() == [0, 0, 0, 0]
    assert done.labels.tolist() == [2, 0, int(truth.counts[2].argmax())]
    assert done.silent.tolist() == [False, True, False]
    assert done.decision_time.tolist() == [11, 12, 11]
    assert not done.tied[1].any()
    share = done.potentials - truth.counts
    assert (np.abs(share) < 0.5).all()
    assert (np.sign(share) == np.sign(truth.membranes)).all()


def test_snapped_weights_sum_exactly_in_any_order() -> None:
    rng = np.random.default_rng(5)
    for shape in [(784, 40), (5, 5, 15, 8)]:
        weights = rng.normal(0, 1, shape).astype(np.float32)
        weights.reshape(-1, shape[-1])[:, 0] *= 50
        rows = snap(weights).reshape(-1, shape[-1])
        exact = rows.astype(np.float64).sum(axis=0)
        for order in (slice(None), slice(None, None, -1), rng.permutation(len(rows))):
            np.testing.assert_array_equal(np.add.accumulate(rows[order], axis=0)[-1], exact)
        worst = np.abs(rows).astype(np.float64).sum(axis=0).max()
        assert np.abs(rows - weights.reshape(rows.shape)).max() <= worst / 2**22
        levels = rng.integers(0, 256, len(rows))
        direct = snap(weights, direct=True).reshape(rows.shape)
        assert np.abs(direct - weights.reshape(rows.shape)).max() <= np.abs(rows).max() / 2**23
        sums = np.add.accumulate(direct * levels.astype(np.float64)[:, None], axis=0)[-1]
        np.testing.assert_array_equal(
            sums, (direct[::-1] * levels.astype(np.float64)[::-1, None]).sum(axis=0)
        )
    np.testing.assert_array_equal(snap(np.zeros((3, 2), np.float32)), 0)
    with pytest.raises(UsageError, match="NaN"):
        snap(np.full((2, 2), np.nan))


def _layer(op: Operator, weight: Any, threshold: float, **more: float) -> LIFPackedLayer:
    neuron = Neuron(threshold, 20.0, 5.0, **more)  # type: ignore[arg-type]
    return from_weights([op], [neuron], [np.array(weight)], True, None, 2).layers[0]


def test_what_does_not_fit_is_refused() -> None:
    rng = np.random.default_rng(0)
    layer = random_trains(rng, dense(4, 3), True).layers[0]
    other = random_trains(rng, dense(4, 3), True, lateral=1.0).layers[0]
    fitting = random_trains(rng, dense(3, 2), True).layers[0]
    assert layer.weights is not None
    nan = np.full((4, 3), np.nan, np.float32)
    huge = Reals(np.full((4, 3), 1e13, np.float32))
    pool = Pool(2, 2, 1, 2)
    for fault, make in {
        "layer 2 has 4 inputs": lambda: LIFPacked((layer, layer), 9),
        "only the last layer": lambda: LIFPacked((other, fitting), 9),
        "at least one layer": lambda: LIFPacked((), 9),
        "n_steps is 1": lambda: LIFPacked((layer,), 1),
        "coding has 5 steps": lambda: LIFPacked((layer,), 9, Direct(5)),
        "unused bits": lambda: Signs(np.full((4, 1), 128, np.uint8), (4, 3)),
        "expected uint8": lambda: Signs(np.zeros((4, 2), np.uint8), (4, 3)),
        "a Dense, needs": lambda: LIFPackedLayer(layer.operator, None, layer.neuron),
        "a Pool, needs None": lambda: LIFPackedLayer(pool, layer.weights, layer.neuron),
        "a weight is NaN": lambda: Reals(nan),
        "a weight is larger": lambda: LIFPackedLayer(layer.operator, huge, layer.neuron),
        "threshold is": lambda: _layer(Dense(1, 1), [[1.0]], 1e20),
        "expected \\(3, 3, 1, 2\\)": lambda: _layer(Conv(3, 3, 1, 2, 3), np.ones((3, 3, 2)), 1.0),
    }.items():
        with pytest.raises(UsageError, match=fault):
            make()
    network = LIFPacked((layer,), 9)
    for wrong in (
        np.zeros((2, 4), np.uint8),
        SpikeList(np.zeros(2, np.int16), np.zeros(2, np.int32), np.array([0, 2]), 9, 4),
        SpikeList(np.zeros(0, np.int16), np.zeros(0, np.int32), np.array([0]), 8, 4),
    ):
        with pytest.raises(DataError):
            decide(network, wrong)
    with pytest.raises(DataError, match="uint8"):
        decide(LIFPacked((layer,), 9, Direct(9)), np.zeros((2, 5), np.uint8))
