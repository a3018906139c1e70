"""Packed BiSNN inference in numpy: the conformance vectors, and the layers that training runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bitspike.coding import Direct, Poisson, SpikeList
from bitspike.errors import DataError, UsageError
from bitspike.ops import elementary
from bitspike.ops.operators import Conv, Dense
from bitspike.ops.srm import reference as training
from bitspike.ops.srm.neuron import SRMNeuron
from bitspike.ops.srm.settings import Update
from bitspike.ops.srm.step import Latents, Layer, State
from bitspike.packed.lif.reference import apply
from bitspike.packed.srm.layers import SRMPackedLayer
from bitspike.packed.srm.network import SRMPacked, from_weights
from bitspike.packed.srm.reference import advance, decide, decisions, over_time, run
from bitspike.packed.weights import Reals, Signs
from bitspike.packed.weights import snap_window as snap
from lif_nets import random_spikes
from srm_nets import dense, maps, random_srm


def spikes(steps: list[int], channels: list[int], n_steps: int, n_channels: int) -> SpikeList:
    lists = np.array(steps, np.int16), np.array(channels, np.int32), np.array([0, len(steps)])
    return SpikeList(*lists, n_steps, n_channels)


def test_vector_b1() -> None:
    layer = SRMPackedLayer(Dense(1, 1), Signs.of(np.ones((1, 1), bool)))
    state = np.zeros((4, 1, 1), np.float32)
    b1 = [  # x, P, Q, R
        (1, 0, 1, 0), (0, 1, 0.84648172, 1), (1, 1.75131914, 1.71653131, 1.60653066),
        (1, 3.30119040, 2.45301238, 1.97441010), (0, 5.44005298, 2.07643015, 2.19754026),
        (0, 6.99879365, 1.75766018, 2.33287554),
    ]  # fmt: skip
    for x, *expected in b1:
        fires = advance(state, np.array([[x]], np.float32), layer, SRMNeuron())
        np.testing.assert_allclose(state[:3, 0, 0], expected, rtol=1e-6)
        assert fires.tolist() == [[True]]


def by_training(network: SRMPacked, entering: np.ndarray[Any, Any]) -> tuple[list[Any], Any]:
    """Spikes of every layer `(n, n_steps, n_out)`, mean probabilities: filters before the synapses, float64."""
    readout = torch.from_numpy(network.readout.dense())
    offset = torch.from_numpy(network.readout_bias.dense())
    last, real, x = len(network.layers) - 1, Update("real"), torch.from_numpy(entering).double()
    layers, latents, states, found = [], [], [], []
    for index, packed in enumerate(network.layers):
        signs = readout if index == last else torch.ones(packed.n_out, 1)
        layers.append(Layer(packed.operator, packed.pool, network.neuron, signs, offset[: signs.shape[1]]))
        weight, bias = (
            torch.from_numpy(array).double() for array in (packed.weights.dense(), packed.biases())
        )
        latents.append(Latents(weight, bias))
        states.append(State.zeros(packed.operator, len(x), x))
        found.append([])
    total = torch.zeros(len(x), network.n_readouts, dtype=torch.float64)
    for t in range(network.n_steps):
        signal = x[:, t]
        for index, layer in enumerate(layers):
            states[index], out = training.step(layer, states[index], signal, latents[index], None, real, 0)
            signal = out.spikes
            found[index].append(signal)
        if t >= network.burn_in:
            total += (
                elementary.softmax(out.readout) if network.n_readouts > 1 else elementary.sigmoid(out.readout)
            )
    return [torch.stack(steps, 1).numpy() for steps in found], total / (network.n_steps - network.burn_in)


@pytest.mark.parametrize(
    ("shape", "n_classes"),
    [(dense(11, 9), 3), (dense(20, 15, 12), 2), (maps(7, 6, 2), 4), ([(Conv(6, 6, 1, 5, 3), 3)], 1)],
    ids=str,
)
def test_filters_behind_the_synapses_give_the_spikes_of_training(shape: Any, n_classes: int) -> None:
    rng = np.random.default_rng(n_classes)
    network = random_srm(rng, shape, n_classes, binary=False)
    inputs = random_spikes(rng, 5, network.n_steps, network.n_in)
    found = run(network, inputs)
    expected, probabilities = by_training(network, inputs.dense())
    for mine, theirs in zip(found.spikes, expected, strict=True):
        assert 0.05 < theirs.mean() < 0.95
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_allclose(found.over_time[:, -1], probabilities, atol=1e-6)
    entering = inputs.dense()
    assert found.n_spikes.tolist() == [
        sum(int(layer[k].sum()) for layer in (entering, *expected)) for k in range(5)
    ]


def test_synops_count_every_addition() -> None:
    rng = np.random.default_rng(0)
    network = random_srm(rng, maps(7, 6, 2), 4, binary=True)
    inputs = random_spikes(rng, 3, network.n_steps, network.n_in)
    found = run(network, inputs)
    trains = [train.astype(np.float32) for train in (inputs.dense(), *found.spikes)]
    for k in range(3):
        total = trains[-1][k].sum() * 4
        for train, layer in zip(trains, network.layers, strict=False):
            total += apply(layer.operator, train[k], np.ones(layer.operator.weight_shape, np.float32)).sum()
        assert found.n_synops[k] == total


def test_a_decision_is_the_mean_over_the_steps_from_burn_in_on() -> None:
    rng = np.random.default_rng(3)
    network = random_srm(rng, dense(20, 16), 3, True, Poisson(25, 0.7), 25)
    images = rng.integers(0, 256, (6, 20)).astype(np.uint8)
    times, decided = over_time(network, images), decide(network, images)
    assert times.shape == (6, 21, 3)
    trains = run(network, images).spikes[-1].astype(np.float32)
    read = (trains @ network.readout.dense() + network.readout_bias.dense()) / np.sqrt(16)
    for k in range(21):
        mean = np.stack([elementary.softmax(step) for step in read[:, 4 : 5 + k].swapaxes(0, 1)]).mean(axis=0)
        np.testing.assert_allclose(times[:, k], mean, rtol=1e-6)
    np.testing.assert_array_equal(decided.labels, times[:, -1].argmax(axis=1))
    np.testing.assert_allclose(np.exp(decided.potentials), times[:, -1], rtol=1e-6)
    assert decided.decision_time.tolist() == [24] * 6
    assert not decided.silent.any()
    again = SpikeList.concatenate(
        [
            spikes(*(places.tolist() for places in np.nonzero(train)), 25, 20)
            for train in Poisson(25, 0.7).trains(images)
        ]
    )
    listed = SRMPacked(**{**vars(network), "coding": None})
    np.testing.assert_array_equal(decide(listed, again).potentials, decided.potentials)


def test_one_readout_is_two_classes_or_a_regression() -> None:
    p = np.array([[0.25], [0.5], [1.0]], np.float32)
    count = np.zeros(3, np.int64)
    two = decisions(p, 9, 2, count, count)
    assert two.labels.tolist() == [0, 0, 1]
    assert two.tied.tolist() == [[True, False], [True, True], [False, True]]
    np.testing.assert_array_equal(two.potentials[0], np.log([0.75, 0.25]).astype(np.float32))
    assert two.potentials[2, 0] == np.float32(np.log(1e-30))
    one = decisions(p, 9, 1, count, count)
    np.testing.assert_array_equal(one.potentials, p)
    assert one.labels.tolist() == [0, 0, 0]


def test_real_weights_are_exact_or_refused() -> None:
    rng = np.random.default_rng(1)
    for scale in (1e-30, 0.02, 1.0, 1e9):
        weights = rng.normal(0, scale, (300, 7))
        SRMPackedLayer(Dense(300, 7), Reals(snap(weights)))
        with pytest.raises(UsageError, match="not on a grid"):
            SRMPackedLayer(Dense(300, 7), Reals(weights.astype(np.float32)))


def packed(**change: Any) -> SRMPacked:
    given: dict[str, Any] = {
        "layers": [(Dense(3, 4), 1, np.ones((3, 4)), np.ones(4))], "neuron": SRMNeuron(),
        "readout": np.ones((4, 3)), "readout_bias": np.ones(3), "burn_in": 1, "binary": True,
        "coding": None, "n_steps": 9, "n_classes": 3,
    }  # fmt: skip
    return from_weights(**{**given, **change})


def test_zero_counts_as_plus_one() -> None:
    network = packed(layers=[(Dense(3, 4), 1, np.zeros((3, 4)), -np.zeros(4))])
    assert network.layers[0].weights.dense().tolist() == [[1.0] * 4] * 3
    assert network.layers[0].biases().tolist() == [1.0] * 4


@pytest.mark.parametrize(
    ("match", "change"),
    [
        ("at least one layer", {"layers": []}),
        (r"layer 1 has weights \(3, 3\)", {"layers": [(Dense(3, 4), 1, np.ones((3, 3)), None)]}),
        (r"biases \(3,\)", {"layers": [(Dense(3, 4), 1, np.ones((3, 4)), np.ones(3))]}),
        ("layer 2 has 3 inputs", {"layers": [(Dense(3, 4), 1, np.ones((3, 4)), None)] * 2}),
        ("pooling by 2", {"layers": [(Dense(3, 4), 2, np.ones((3, 4)), None)]}),
        ("pooling by 0", {"layers": [(Dense(3, 4), 0, np.ones((3, 4)), None)]}),
        ("is NaN or infinite", {"layers": [(Dense(3, 4), 1, np.ones((3, 4)), np.full(4, np.nan))], "binary": False}),
        ("weight is NaN", {"layers": [(Dense(3, 4), 1, np.full((3, 4), np.inf), None)], "binary": False}),
        ("n_steps is 1", {"n_steps": 1}),
        ("burn_in is 9", {"burn_in": 9}),
        ("burn_in is -1", {"burn_in": -1}),
        ("the coding has 8 steps", {"coding": Poisson(8)}),
        ("not a constant current", {"coding": Direct(9)}),
        ("3 readouts do not make 2 classes", {"n_classes": 2}),
        ("1 readouts do not make 3", {"readout": np.ones((4, 1)), "readout_bias": np.ones(1)}),
        ("readout holds something else", {"readout": np.zeros((4, 3))}),
        ("readout_bias holds", {"readout_bias": np.full(3, np.nan)}),
        (r"readout is \(3, 3\); expected \(4, 3\)", {"readout": np.ones((3, 3))}),
    ],
)  # fmt: skip
def test_what_is_no_network_is_refused(match: str, change: dict[str, Any]) -> None:
    packed()
    with pytest.raises(UsageError, match=match):
        packed(**change)


def test_biases_are_of_the_weights_kind_and_number() -> None:
    signs = Signs.of(np.zeros((1, 3), bool))
    with pytest.raises(UsageError, match="unused bits"):
        Signs(np.array([8], np.uint8), (3,))
    with pytest.raises(UsageError, match="biases of the other kind"):
        SRMPackedLayer(Dense(1, 3), signs, Reals(np.zeros(3, np.float32)))
    with pytest.raises(UsageError, match=r"biases have shape \(4,\)"):
        SRMPackedLayer(Dense(1, 3), signs, Signs.of(np.zeros(4, bool)))


def test_inputs_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(DataError, match="needs a SpikeList"):
        decide(packed(), np.zeros((2, 3), np.uint8))
    with pytest.raises(DataError, match="9 and 3"):
        decide(packed(), spikes([0], [0], 9, 4))
    with pytest.raises(DataError, match="two spikes in one step"):
        decide(packed(), spikes([1, 1], [2, 2], 9, 3))
    assert len(decide(packed(), spikes([], [], 9, 3)[:0]).labels) == 0
