"""Model files of LIF networks: size and refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bitspike.coding import Cochlea, Direct, EventBins, Poisson
from bitspike.errors import FormatError, UsageError
from bitspike.packed.contents import Contents
from bitspike.packed.file import decode, encode
from lif_nets import dense, maps, random_trains
from spoil import HUGE, Spoil, assert_refused, parts, whole

RNG = np.random.default_rng(0)
NETWORK = random_trains(RNG, maps(6, 5, 1, 3), True, Direct(9, 0.5), 9, lateral=0.25)
REAL = random_trains(RNG, dense(4, 3), False, Poisson(9, signed=True), 9)
CONTENTS = Contents(NETWORK, (6, 5), ("a", "ü", '"'), 1.5, "test")
VALID = encode(CONTENTS)
SOUND = Cochlea(60, rate=8000)
EVENTS = EventBins(20, 100, height=3, width=4)


def contents_of(kind: str) -> Contents:
    if kind == "direct":
        return CONTENTS
    if kind == "poisson":
        return Contents(REAL, (2,), ("a", "b", "c"))
    coding: Any = SOUND if kind == "sound" else EVENTS
    shape = (coding.n_channels,) if kind == "sound" else (2, 3, 4)
    network = random_trains(RNG, dense(coding.n_channels, 9, 2), True, coding, coding.n_steps)
    return Contents(network, shape, ("a", "b"))


def test_the_size_is_that_of_the_bits() -> None:
    network = random_trains(np.random.default_rng(0), dense(784, 800, 10), True, Direct(100), 100)
    encoded = encode(Contents(network, (28, 28), tuple("0123456789")))
    assert len(encoded) <= 784 * 100 + 800 * 2 + 1500


SPOILT: list[tuple[str, Spoil]] = [
    ("format version 2", lambda m, t: m.update(format=2)),
    ("metadata fields", lambda m, t: m.pop("settings")),
    ("metadata fields", lambda m, t: m.update(delay=0)),
    ("'first_spike' is unknown", lambda m, t: m.update(coding="first_spike")),
    ("metadata fields", lambda m, t: m.update(coding="first_spike", decision="earliest, margin, index")),
    ("settings is", lambda m, t: m.update(coding="poisson")),
    ("settings is", lambda m, t: m["settings"].update(colour=1)),
    ("n_steps is 1", lambda m, t: m["settings"].update(n_steps=1)),
    ("n_steps is 9.0", lambda m, t: m["settings"].update(n_steps=9.0)),
    ("n_steps is 32768", lambda m, t: m["settings"].update(n_steps=32768)),
    ("rate is 0", lambda m, t: m["settings"].update(rate=0.0)),
    ("Infinity is not", lambda m, t: m["settings"].update(rate=float("inf"))),
    ("input_shape", lambda m, t: m.update(input=[6, 6])),
    ("input_shape", lambda m, t: m.update(input=[-6, -5])),
    ("input_shape", lambda m, t: m.update(input=[])),
    ("input holds", lambda m, t: m.update(input=[6, 5.0])),
    ("classes are named", lambda m, t: m.update(classes=["a"])),
    ("temperature is 0", lambda m, t: m.update(temperature=0.0)),
    ("decision rule", lambda m, t: m.update(decision="coin")),
    ("0 layers", lambda m, t: m.update(layers=[])),
    ("layers holds", lambda m, t: m.update(layers=[1])),
    ("layer 1 has fields", lambda m, t: m["layers"][0].pop("kind")),
    ("layer 2 has fields", lambda m, t: m["layers"][1].update(dense={"n_in": 1, "n_out": 1})),
    ("layer 1: kind is 3", lambda m, t: m["layers"][0].update(kind=3)),
    ("layer 1, conv is", lambda m, t: m["layers"][0]["conv"].update(stride=2)),
    ("layer 1, conv", lambda m, t: m["layers"][0]["conv"].update(size=0)),
    ("layer 1, conv", lambda m, t: m["layers"][0]["conv"].update(height=-3)),
    ("layer 1, conv: size is True", lambda m, t: m["layers"][0]["conv"].update(size=True)),
    ("layer 2, pool", lambda m, t: m["layers"][1]["pool"].update(size=99)),
    ("layer 2 has 360 inputs|layer 1 has", lambda m, t: m["layers"][1]["pool"].update(width=4)),
    ("neurons in 9 steps", lambda m, t: m["layers"][0].update(conv=HUGE)),
    ("layer 5 has weights", lambda m, t: m["layers"][4]["dense"].update(n_in=2**21, n_out=2**20)),
    ("neurons in 9 steps", lambda m, t: m["layers"][4]["dense"].update(n_in=0)),
    ("neurons in 9 steps", lambda m, t: m["layers"][4]["dense"].update(n_out=2**40)),
    ("layer 1, neuron is", lambda m, t: m["layers"][0]["neuron"].pop("tau_m")),
    ("threshold", lambda m, t: m["layers"][0]["neuron"].update(threshold=0.0)),
    ("threshold is 100000000000000.0", lambda m, t: m["layers"][0]["neuron"].update(threshold=1e14)),
    ("threshold is 1e-320", lambda m, t: m["layers"][0]["neuron"].update(threshold=1e-320)),
    ("tau_m is 1.0", lambda m, t: m["layers"][0]["neuron"].update(tau_m=1.0)),
    ("must differ", lambda m, t: m["layers"][0]["neuron"].update(tau_s=20.0)),
    ("refractory is 64", lambda m, t: m["layers"][0]["neuron"].update(refractory=64)),
    ("lateral is -1", lambda m, t: m["layers"][0]["neuron"].update(lateral=-1.0)),
    ("only the last layer", lambda m, t: m["layers"][0]["neuron"].update(lateral=1.0)),
    ("kind is 'pool'", lambda m, t: m["layers"][0].update(kind="pool")),
    ("kind is 'ternary'", lambda m, t: m["layers"][0].update(kind="ternary")),
    (r"1\.weights is missing", lambda m, t: m["layers"][0].update(kind="real")),
    (r"1\.signs is missing", lambda m, t: t.pop("1.signs")),
    (r"5\.signs is uint8 \(36, 1\)", lambda m, t: t.update({"5.signs": t["5.signs"][:36]})),
    ("do not belong here", lambda m, t: t.update({"2.signs": t["1.signs"]})),
    ("unused bits", lambda m, t: t["1.signs"].__setitem__((0, 1), 128)),
]  # fmt: skip


@pytest.mark.parametrize(("match", "spoil"), SPOILT, ids=[str(i) for i in range(len(SPOILT))])
def test_what_breaks_the_format_is_refused(match: str, spoil: Spoil) -> None:
    assert_refused(VALID, spoil, match)


def test_weights_are_finite_and_channels_those_of_the_coding() -> None:
    metadata, tensors = parts(encode(contents_of("poisson")))
    for bad in (np.nan, np.inf, 1e13):
        spoilt = {"1.weights": np.full_like(tensors["1.weights"], bad)}
        with pytest.raises(FormatError, match=r"a weight is (NaN|larger)"):
            decode(whole(metadata, spoilt))
    metadata["settings"]["signed"] = False
    with pytest.raises(FormatError, match="does not make 4 inputs"):
        decode(whole(metadata, tensors))
    for kind, shape in (("sound", (77,)), ("events", (24, 2))):
        with pytest.raises(UsageError, match="input_shape"):
            replace(contents_of(kind), input_shape=shape)
