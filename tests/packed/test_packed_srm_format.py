"""Model files of BiSNN networks: size, refusals, and the answers over time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bitspike.coding import Poisson
from bitspike.deploy.model import Model
from bitspike.errors import FormatError, UsageError
from bitspike.ops.srm.neuron import SRMNeuron
from bitspike.packed.contents import Contents
from bitspike.packed.file import decode, encode
from lif_nets import dense as lif_dense
from lif_nets import random_trains
from spoil import HUGE, Spoil, assert_refused, parts, whole
from srm_nets import dense, maps, random_srm

RNG = np.random.default_rng(0)
NETWORK = random_srm(RNG, maps(6, 5, 1), 3, True, Poisson(9), 9, neuron=SRMNeuron(9.0, 5.0, 2.5))
CONTENTS = Contents(NETWORK, (6, 5), ("a", "ü", '"'), 1.5, "test", ((0.01, 0.9), (0.1, 0.5)))
VALID = encode(CONTENTS)


def contents_of(kind: str) -> Contents:
    if kind == "poisson":
        return CONTENTS
    n_classes, classes = (2, ("a", "b")) if kind == "real" else (1, ())
    network = random_srm(RNG, dense(4, 3), n_classes, False, Poisson(9, signed=True), 9)
    return Contents(network, (2,), classes)


def inputs_of(contents: Contents) -> Any:
    return np.random.default_rng(1).integers(0, 256, (4, *contents.input_shape)).astype(np.uint8)


def test_probabilities_are_those_of_the_last_step_over_time() -> None:
    for kind in ("poisson", "real"):
        for backend in ("auto", "reference"):
            model = Model(replace(contents_of(kind), temperature=0.7), backend)  # type: ignore[arg-type]
            inputs = inputs_of(model.contents)
            times, p = model.over_time(inputs), model.predict_proba(inputs)
            assert times.shape == (4, 5, len(model.classes))
            np.testing.assert_array_equal(times[:, -1], p)
            np.testing.assert_allclose(times.sum(axis=2), 1, rtol=1e-6)
            np.testing.assert_array_equal(model.predict(inputs), p.argmax(axis=1))


def test_a_regression_gives_values() -> None:
    model = Model(contents_of("regression"))
    inputs = inputs_of(model.contents)
    values = model.predict(inputs)
    assert values.dtype == np.float32
    assert values.shape == (4,)
    np.testing.assert_array_equal(model.predict_proba(inputs)[:, 0], values)
    np.testing.assert_array_equal(model.over_time(inputs)[:, -1, 0], values)
    assert 0 < values.min() < values.max() < 1
    with pytest.raises(UsageError, match="1 classes are named"):
        replace(model.contents, classes=("a",))


def test_other_networks_have_no_answers_over_time() -> None:
    network = random_trains(RNG, lif_dense(4, 3), True, Poisson(9), 9)
    for backend in ("auto", "reference"):
        model = Model(Contents(network, (4,), tuple("abc")), backend)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="no answers over time"):
            model.over_time(np.zeros((2, 4), np.uint8))


def test_the_size_is_that_of_the_bits() -> None:
    network = random_srm(np.random.default_rng(0), dense(784, 256, 256), 10, True, Poisson(40), 40)
    encoded = encode(Contents(network, (28, 28), tuple("0123456789")))
    bits = 784 * 32 + 256 * 32 + 2 * 32 + 256 * 2 + 2
    assert len(encoded) <= bits + 1300
    footprint = Model(Contents(network, (28, 28), tuple("0123456789"))).footprint()
    assert footprint["synapses"] == footprint["synapse_bits"] == 785 * 256 + 257 * 256 + 257 * 10


SPOILT: list[tuple[str, Spoil]] = [
    ("format version 2", lambda m, t: m.update(format=2)),
    ("metadata fields", lambda m, t: m.pop("settings")),
    ("metadata fields", lambda m, t: m.update(delay=0)),
    ("metadata fields|is unknown", lambda m, t: m.update(coding="first_spike")),
    ("not a constant current|settings is", lambda m, t: m.update(coding="direct")),
    ("constant current", lambda m, t: m.update(coding="direct", settings={"n_steps": 9, "rate": 1.0})),
    ("settings is", lambda m, t: m["settings"].update(colour=1)),
    ("n_steps is 1", lambda m, t: m["settings"].update(n_steps=1)),
    ("n_steps is 9.0", lambda m, t: m["settings"].update(n_steps=9.0)),
    ("rate is 0", lambda m, t: m["settings"].update(rate=0.0)),
    ("Infinity is not", lambda m, t: m["neuron"].update(tau_mem=float("inf"))),
    ("tau_mem is 0.0", lambda m, t: m["neuron"].update(tau_mem=0.0)),
    ("tau_ref is 10000000", lambda m, t: m["neuron"].update(tau_ref=1e7)),
    ("neuron is", lambda m, t: m["neuron"].pop("tau_syn")),
    ("tau_syn is 5", lambda m, t: m["neuron"].update(tau_syn=5)),
    ("input_shape", lambda m, t: m.update(input=[6, 6])),
    ("input_shape", lambda m, t: m.update(input=[])),
    ("input holds", lambda m, t: m.update(input=[6, 5.0])),
    ("3 readouts do not make 1 classes", lambda m, t: m.update(classes=[])),
    ("classes are named|do not make", lambda m, t: m.update(classes=["a"])),
    ("temperature is 0", lambda m, t: m.update(temperature=0.0)),
    ("metadata fields", lambda m, t: m.update(decision="count, membrane, index")),
    ("decision rule 'coin' is unknown", lambda m, t: m.update(decision="coin")),
    ("conformal", lambda m, t: m.update(conformal=[])),
    ("burn_in is 9", lambda m, t: m.update(burn_in=9)),
    ("burn_in is -1", lambda m, t: m.update(burn_in=-1)),
    ("burn_in is True", lambda m, t: m.update(burn_in=True)),
    ("0 readouts", lambda m, t: m.update(readouts=0)),
    ("readouts of 21 neurons", lambda m, t: m.update(readouts=2**40)),
    (r"readout\.signs is uint8 \(21, 1\)", lambda m, t: m.update(readouts=9)),
    ("0 layers", lambda m, t: m.update(layers=[])),
    ("layers holds", lambda m, t: m.update(layers=[1])),
    ("layer 1 has fields", lambda m, t: m["layers"][0].pop("kind")),
    ("layer 2 has fields", lambda m, t: m["layers"][1].update(dense={"n_in": 1, "n_out": 1})),
    ("kind is 3; expected str", lambda m, t: m["layers"][0].update(kind=3)),
    ("kind is 'pool'", lambda m, t: m["layers"][0].update(kind="pool")),
    ("kind is 'ternary'", lambda m, t: m["layers"][0].update(kind="ternary")),
    ("bias is 1", lambda m, t: m["layers"][0].update(bias=1)),
    ("pool is 2.0", lambda m, t: m["layers"][0].update(pool=2.0)),
    ("pooling by 0", lambda m, t: m["layers"][0].update(pool=0)),
    ("pooling by 6", lambda m, t: m["layers"][0].update(pool=6)),
    ("layer 2 has 78 inputs|layer 2 has", lambda m, t: m["layers"][0].update(pool=1)),
    ("layer 1, conv is", lambda m, t: m["layers"][0]["conv"].update(stride=2)),
    ("layer 1, conv", lambda m, t: m["layers"][0]["conv"].update(size=0)),
    ("layer 1, conv: size is True", lambda m, t: m["layers"][0]["conv"].update(size=True)),
    ("neurons in 9 steps", lambda m, t: m["layers"][0].update(conv=HUGE)),
    ("layer 3 has weights", lambda m, t: m["layers"][2]["dense"].update(n_in=2**21, n_out=2**20)),
    ("neurons in 9 steps", lambda m, t: m["layers"][2]["dense"].update(n_in=0)),
    ("neurons in 9 steps", lambda m, t: m["layers"][2]["dense"].update(n_out=2**40)),
    (r"1\.weights is missing", lambda m, t: m["layers"][0].update(kind="real")),
    (r"1\.signs is missing", lambda m, t: t.pop("1.signs")),
    (r"1\.bias_signs is missing", lambda m, t: t.pop("1.bias_signs")),
    ("do not belong here", lambda m, t: m["layers"][0].update(bias=False)),
    ("do not belong here", lambda m, t: t.update({"9.signs": t["1.signs"]})),
    (r"readout\.bias_signs is missing", lambda m, t: t.pop("readout.bias_signs")),
    ("unused bits", lambda m, t: t["1.signs"].__setitem__((0, 1), 128)),
    (r"1\.bias_signs: signs has unused bits", lambda m, t: t["1.bias_signs"].__setitem__(1, 128)),
    (r"readout\.signs: signs has unused bits", lambda m, t: t["readout.signs"].__setitem__((0, 0), 8)),
    (r"readout\.bias_signs: signs has unused bits", lambda m, t: t["readout.bias_signs"].__setitem__(0, 8)),
]  # fmt: skip


@pytest.mark.parametrize(("match", "spoil"), SPOILT, ids=[str(i) for i in range(len(SPOILT))])
def test_what_breaks_the_format_is_refused(match: str, spoil: Spoil) -> None:
    assert_refused(VALID, spoil, match)


def test_real_weights_are_finite_and_exact() -> None:
    metadata, tensors = parts(encode(contents_of("real")))
    for match, bad in (("NaN", np.nan), ("larger", 1e13), ("not on a grid", 1 / 3)):
        spoilt = tensors["1.weights"].copy()
        spoilt[0, 0] = bad
        with pytest.raises(FormatError, match=match):
            decode(whole(metadata, {**tensors, "1.weights": spoilt}))
    with pytest.raises(FormatError, match=r"1\.bias: a weight is NaN"):
        decode(whole(metadata, {**tensors, "1.bias": np.full(3, np.inf, np.float32)}))
