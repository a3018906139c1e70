"""The native engine of networks of circuits equals the reference in every bit, on every instruction set at hand."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitspike.coding import SpikeList
from bitspike.errors import BackendError, DataError
from bitspike.ops.native import instruction_sets
from bitspike.packed.glm.layers import Connection
from bitspike.packed.glm.native import GLMEngine
from bitspike.packed.glm.network import GLMPacked
from bitspike.packed.glm.reference import decide, run, scores
from bitspike.packed.weights import Signs
from bitspike.settings import GLM
from bitspike.settings.basis import Dirac, Exponential, RaisedCosine
from glm_nets import random_glm
from lif_nets import random_spikes
from packed_nets import assert_equal

pytestmark = pytest.mark.skipif(not instruction_sets(), reason="the native engine was not built")
ISAS = instruction_sets() or ["none"]

NETWORKS: dict[str, tuple[GLM, int, int]] = {  # settings, inputs, classes
    "one circuit": (GLM(hidden=(), basis=Exponential(2.0, 3)), 1, 1),
    "no hidden circuits": (GLM(hidden=(), lateral=True, feedback=Exponential(3.0, 9)), 70, 10),
    "wide": (GLM(hidden=(300,), basis=RaisedCosine(3, 10)), 33, 17),
    "deep": (GLM(hidden=(20, 65, 7), basis=Dirac(5), skip=False), 130, 33),
    "all connections": (
        GLM(hidden=(18, 33), values=2, output_values=3, basis=RaisedCosine(3, 6), feedback=RaisedCosine(2, 9),
            recurrent=True, lateral=True, top_down=True, density=0.6), 40, 5,
    ),
    "many values": (GLM(hidden=(5,), values=20, recurrent=True, feedback=Dirac(2)), 9, 3),
    "filters beyond the window": (GLM(hidden=(17,), recurrent=True, basis=Exponential(20.0, 100)), 20, 4),
}  # fmt: skip


def assert_engines_equal(network: GLMPacked, inputs: Any) -> None:
    truth, over_time = decide(network, inputs), scores(network, inputs)
    for isa in ISAS:
        engine = GLMEngine(network, isa)
        for threads in (1, 2):
            assert_equal(engine.decide(inputs, threads), truth)
            np.testing.assert_array_equal(engine.scores(inputs, threads), over_time)
            np.testing.assert_array_equal(engine.label(inputs, threads), truth.labels)


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "real"])
@pytest.mark.parametrize("name", NETWORKS)
def test_native_equals_reference(name: str, binary: bool) -> None:
    glm, n_in, n_classes = NETWORKS[name]
    rng = np.random.default_rng([n_in, n_classes])
    for decision, runs in (("probability", 1), ("probability", 3), ("count", 2), ("mean-field", 1)):
        asked = replace(glm, decision=decision, runs=runs, draw_seed=runs)  # type: ignore[arg-type]
        network = random_glm(rng, asked, n_in, n_classes, binary)
        assert_engines_equal(network, random_spikes(rng, 6, network.n_steps, n_in))


def test_groups_of_the_cases_above_emit_and_are_silent() -> None:
    rng = np.random.default_rng(1)
    for glm, n_in, n_classes in NETWORKS.values():
        network = random_glm(rng, glm, n_in, n_classes, False)
        inputs = random_spikes(rng, 9, network.n_steps, n_in)
        circuits = sum(group.n for group in network.topology.groups[1 : None if network.draws_output else -1])
        emitted = run(network, inputs).n_spikes - np.diff(inputs.offsets)
        assert (emitted > 0).mean() == (circuits > 0)
        assert (emitted < network.n_steps * max(1, circuits)).all()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_random_networks(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    hidden = tuple(data.draw(st.lists(st.integers(1, 80), max_size=3)))
    yes = st.booleans()
    mean_field = data.draw(st.integers(0, 3)) == 0
    bases = st.builds(Exponential, st.floats(0.1, 50), st.integers(1, 40)) | st.builds(
        Dirac, st.integers(1, 9)
    )
    glm = GLM(
        hidden=hidden, values=data.draw(st.integers(1, 4)), output_values=data.draw(st.integers(1, 3)),
        basis=data.draw(bases | st.builds(RaisedCosine, st.integers(1, 5), st.integers(2, 12))),
        feedback=data.draw(st.none() | bases), skip=data.draw(yes), recurrent=bool(hidden) and data.draw(yes),
        lateral=data.draw(yes), top_down=bool(hidden) and data.draw(yes), density=data.draw(st.floats(0.1, 1)),
        decision="mean-field" if mean_field else data.draw(st.sampled_from(["probability", "count"])),
        runs=1 if mean_field else data.draw(st.integers(1, 4)), draw_seed=data.draw(st.integers(0, 2**62)),
    )  # fmt: skip
    n_in, n_steps = data.draw(st.integers(1, 200)), data.draw(st.integers(2, 50))
    network = random_glm(
        rng,
        glm,
        n_in,
        data.draw(st.integers(1, 20)),
        data.draw(yes),
        None,
        n_steps,
        data.draw(st.floats(0, 20)),
    )
    inputs = random_spikes(rng, 4, n_steps, n_in)
    truth = decide(network, inputs)
    for isa in ISAS:
        assert_equal(GLMEngine(network, isa).decide(inputs), truth)


def test_more_spikes_than_a_byte_counts() -> None:
    """Sums of signs leave -128 to 127."""
    rng = np.random.default_rng(2)
    network = random_glm(rng, GLM(hidden=(70,)), 700, 3, True, None, 9)
    first = network.connections[0]
    positive = rng.random(first.weights.shape) < 0.5
    positive[:, :, ::2] = True  # 128 spikes are enough
    network = replace(
        network, connections=(Connection(Signs.of(positive), first.scale), *network.connections[1:])
    )
    inputs = random_spikes(rng, 5, 9, 700)
    assert inputs.dense().sum(axis=2).max() > 127
    assert_engines_equal(network, inputs)


def test_equal_inputs_draw_alike_and_other_seeds_otherwise() -> None:
    rng = np.random.default_rng(3)
    network = random_glm(rng, GLM(hidden=(20,)), 30, 4, False)
    inputs = random_spikes(rng, 10, 20, 30)
    order = np.concatenate([rng.permutation(np.arange(a, b)) for a, b in itertools.pairwise(inputs.offsets)])
    shuffled = SpikeList(inputs.steps[order], inputs.channels[order], inputs.offsets, 20, 30)
    engine = GLMEngine(network)
    assert_equal(engine.decide(shuffled), engine.decide(inputs))
    other = GLMEngine(replace(network, draw_seed=1))
    assert (engine.decide(inputs).potentials != other.decide(inputs).potentials).any()


def test_what_cannot_run_is_refused() -> None:
    network = random_glm(np.random.default_rng(7), GLM(hidden=(20,)), 8, 3, True)
    with pytest.raises(BackendError, match="sse9"):
        GLMEngine(network, "sse9")
    engine = GLMEngine(network)
    twice = SpikeList(np.ones(2, np.int16), np.ones(2, np.int32), np.array([0, 0, 2]), 20, 8)
    for ask in (engine.decide, engine.label, engine.scores):
        with pytest.raises(DataError, match="recording 1"):
            ask(twice)
    with pytest.raises(DataError, match="SpikeList"):
        engine.decide(np.zeros((1, 8), np.uint8))
    with pytest.raises(DataError, match="threads is 0"):
        engine.decide(twice, 0)
