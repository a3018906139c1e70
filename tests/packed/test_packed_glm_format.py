"""Model files of networks of circuits: size, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bitspike.coding import Latency, Poisson
from bitspike.deploy.model import Model
from bitspike.errors import FormatError, UsageError
from bitspike.packed.base import MOST
from bitspike.packed.contents import Contents
from bitspike.packed.file import decode, encode
from bitspike.packed.glm.layers import Connection
from bitspike.packed.glm.network import GLMPacked
from bitspike.packed.weights import Reals, Signs
from bitspike.settings import GLM
from bitspike.settings.basis import Exponential, RaisedCosine
from glm_nets import random_glm
from spoil import Spoil, assert_refused, parts, whole

SETTINGS = GLM(
    hidden=(9,), values=2, basis=RaisedCosine(3, 6), feedback=Exponential(2.0, 4), recurrent=True, density=0.5
)


def contents(binary: bool, settings: GLM = SETTINGS) -> Contents:
    network = random_glm(np.random.default_rng(0), settings, 12, 3, binary, Latency(9), 9)
    return Contents(network, (3, 4), ("a", "b", "c"))


BINARY, REAL = encode(contents(True)), encode(contents(False))


def test_the_size_is_that_of_the_bits() -> None:
    settings = GLM(hidden=(64,))
    network = random_glm(np.random.default_rng(0), settings, 784, 10, True, Latency(16), 16)
    model = Model(Contents(network, (28, 28), tuple("0123456789")))
    numbers = 74 + 64 + 10 + 10  # biases, scales of three connections
    bits = 784 * 8 + 784 * 2 + 64 * 2
    footprint = model.footprint()
    assert footprint["file_bytes"] <= bits + 4 * (numbers + 16) + 2000
    assert footprint["synapses"] == footprint["synapse_bits"] == 784 * 74 + 64 * 10
    assert footprint["thresholds"] == numbers


def test_synapses_that_are_not_there_are_not_counted() -> None:
    network = contents(False).network
    there = sum(int((one.there.dense() > 0).sum()) * 3 for one in network.connections)  # type: ignore[attr-defined]
    assert network.sizes()["synapses"] == there
    assert network.sizes()["synapse_bits"] == 32 * there


WIDE = {"circuits": 2**12, "values": 1}
SPOILT: list[tuple[str, Spoil]] = [
    ("metadata fields", lambda m, t: m.pop("filters")),
    ("constant current", lambda m, t: m.update(coding="direct", settings={"n_steps": 9, "rate": 1.0})),
    ("least is 0", lambda m, t: m["settings"].update(least=0)),
    ("input_shape", lambda m, t: m.update(input=[3, 5])),
    ("3 outputs|classes", lambda m, t: m.update(classes=["a"])),
    ("group 1 is", lambda m, t: m["groups"][1].pop("values")),
    ("group 1 is", lambda m, t: m["groups"][1].update(values=True)),
    ("no circuits or no values", lambda m, t: m["groups"][1].update(circuits=0)),
    ("rows in 9 steps", lambda m, t: m["groups"][1].update(circuits=2**40)),
    ("1 groups; 2 to 64", lambda m, t: m.update(groups=m["groups"][:1])),
    ("65 groups", lambda m, t: m.update(groups=m["groups"][:1] * 65)),
    ("connection 1 is", lambda m, t: m["connections"][0].update(kind=3)),
    ("kind is 'ternary'", lambda m, t: m["connections"][0].update(kind="ternary")),
    ("which is given", lambda m, t: m["connections"][0].update(target=0)),
    ("groups are 0 to 2", lambda m, t: m["connections"][0].update(target=3)),
    ("there twice", lambda m, t: m["connections"].append(m["connections"][0])),
    ("nothing connects to group 1", lambda m, t: m.update(connections=m["connections"][2:])),
    ("connection 0-1 has", lambda m, t: m.update(filters=[64, 6], groups=[WIDE, WIDE, m["groups"][2]])),
    ("filters is", lambda m, t: m.update(filters=[0, 6])),
    ("filters is", lambda m, t: m.update(filters=[3, 2**20])),
    ("feedback is", lambda m, t: m.update(feedback=[-1, 4])),
    ("do not belong here", lambda m, t: m.update(feedback=[0, 0])),
    ("decision is 'coin'", lambda m, t: m.update(decision_by="coin")),
    ("runs is 0", lambda m, t: m.update(runs=0)),
    ("runs is 2", lambda m, t: m.update(runs=2, decision_by="mean-field")),
    ("runs is", lambda m, t: m.update(runs=2**70)),
    ("draw_seed is", lambda m, t: m.update(draw_seed=2**63)),
    ("draw_seed is", lambda m, t: m.update(draw_seed=-1)),
    (r"bias\.2 is missing", lambda m, t: t.pop("bias.2")),
    ("biases hold", lambda m, t: t["bias.1"].__setitem__(0, np.nan)),
    ("filters hold", lambda m, t: t["filters"].__setitem__((0, 0), np.inf)),
    ("feedback hold", lambda m, t: t["feedback.1"].__setitem__((0, 0), 2e12)),
    (r"1\.there", lambda m, t: t.pop("1.there")),
    ("unused bits", lambda m, t: t["1.there"].__setitem__((0, 2), 128)),
    ("do not belong here", lambda m, t: m["connections"][0].update(masked=False)),
]  # fmt: skip


@pytest.mark.parametrize(("match", "spoil"), SPOILT, ids=[str(i) for i in range(len(SPOILT))])
@pytest.mark.parametrize("valid", [BINARY, REAL], ids=["binary", "real"])
def test_what_breaks_the_format_is_refused(valid: bytes, match: str, spoil: Spoil) -> None:
    assert_refused(valid, spoil, match)


def test_scales_and_real_weights_are_checked() -> None:
    metadata, tensors = parts(REAL)
    for match, bad in (("NaN", np.nan), ("larger", 1e13), ("not on a grid", 1 / 3)):
        spoilt = tensors["1.weights"].copy()
        spoilt[0, 0, 0] = bad
        with pytest.raises(FormatError, match=match):
            decode(whole(metadata, {**tensors, "1.weights": spoilt}))
    metadata, tensors = parts(BINARY)
    with pytest.raises(FormatError, match="scale hold"):
        decode(whole(metadata, {**tensors, "1.scale": np.full(18, np.inf, np.float32)}))


@pytest.mark.parametrize("name", ["filters", "1.scale", "bias.1", "feedback"])
def test_potentials_that_could_overflow_are_refused(name: str) -> None:
    metadata, tensors = parts(BINARY)
    spoilt = {**tensors, name: np.full_like(tensors[name], 9e11), "1.scale": np.full(18, 9e11, np.float32)}
    with pytest.raises(FormatError, match="potentials of group 1 can reach"):
        decode(whole(metadata, spoilt))


def test_the_demand_counts_steps_runs_and_filters() -> None:
    network: Any = contents(True).network
    runs = replace(network, runs=10)
    assert runs.demand.states == 10 * network.demand.states
    assert runs.demand.synapses > network.demand.synapses
    assert network.demand.states > 9 * (12 + 18 + 3)
    large = random_glm(np.random.default_rng(0), GLM(hidden=(64,)), 784, 10, False, Latency(16), 16)
    assert 10 * large.demand.states < MOST.states
    assert 10 * large.demand.synapses < MOST.synapses
    greedy = replace(
        contents(True), network=replace(network, runs=10_000, n_steps=2000, coding=Poisson(2000))
    )
    with pytest.raises(FormatError, match="a decision asks for"):
        decode(encode(greedy))


def test_parts_that_do_not_fit_are_refused() -> None:
    network = contents(True).network
    assert isinstance(network, GLMPacked)
    first = network.connections[0]
    assert isinstance(first.weights, Signs)
    with pytest.raises(UsageError, match="need a scale"):
        replace(first, scale=None)
    with pytest.raises(UsageError, match="have no scale"):
        Connection(Reals(np.zeros(first.weights.shape, np.float32)), first.scale)
    with pytest.raises(UsageError, match="there has shape"):
        replace(first, there=Signs.of(np.ones((12, 17), bool)))
    with pytest.raises(UsageError, match="connection 0-1 is"):
        replace(network, connections=network.connections[::-1])
    with pytest.raises(UsageError, match="3 connections; 4 are expected"):
        replace(network, connections=network.connections[1:])
