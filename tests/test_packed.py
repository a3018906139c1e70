"""The contract of packed networks: every kind, in and out of a file, damaged, on every back end, from many threads."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import bitspike
from bitspike.coding import Cochlea, Direct, EventBins, Latency, Poisson, SpikeList
from bitspike.data.recordings import EVENT, Audio, Events
from bitspike.deploy.model import Model
from bitspike.errors import BackendError, DataError, FormatError
from bitspike.ops.native import instruction_sets
from bitspike.ops.srm.neuron import SRMNeuron
from bitspike.packed.committee import CommitteePacked
from bitspike.packed.contents import Contents
from bitspike.packed.decisions import Decisions
from bitspike.packed.file import decode, encode, read, write
from bitspike.packed.kinds import PACKED
from bitspike.settings import GLM
from bitspike.settings.basis import Dirac, Exponential, RaisedCosine
from glm_nets import random_glm
from lif_nets import dense, maps, random_trains
from packed_nets import assert_equal, random_heaviside, random_network
from spoil import spoilt_bytes, spoilt_metadata
from srm_nets import dense as srm_dense
from srm_nets import maps as srm_maps
from srm_nets import random_srm

VECTORS = Path(__file__).parent / "vectors"
ABC = ("a", "ü", '"')
EVENTS, SOUND = EventBins(20, 100, height=3, width=4), Cochlea(60, rate=8000)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def images(n: int, *shape: int) -> Any:
    """Dense, sparse, black and white."""
    values = rng(n).integers(0, 256, (n, *shape)).astype(np.uint8)
    values[n // 3 :][rng(1).random(values[n // 3 :].shape) < 0.7] = 0
    values[:1], values[n - 1 :] = 0, 255
    return values


def events(n: int) -> Events:
    recordings = []
    for k in range(n):
        one = np.zeros(k % 50, EVENT)
        one["t"] = np.sort(rng(k).integers(0, 1500, len(one)))
        one["x"], one["y"], one["p"] = (rng(k + 1).integers(0, size, len(one)) for size in (4, 3, 2))
        recordings.append(one)
    return Events.join(recordings, (3, 4))


def sound(n: int) -> Audio:
    recordings = [rng(k).normal(0, 3000, 50 * (k % 40)).astype(np.int16) for k in range(n)]
    return Audio.join(recordings, 8000)


class Case(NamedTuple):
    contents: Contents
    inputs: Callable[[int], Any]  # so many of what a user has


def of_images(network: Any, shape: tuple[int, ...], classes: tuple[str, ...] = ABC, **more: Any) -> Case:
    return Case(Contents(network, shape, classes, **more), lambda n: images(n, *shape))


def first_spike(kinds: str, delay: int = 0, **more: Any) -> Case:
    widths = (12, 11, 5, 3)[: len(kinds)]
    return of_images(random_network(rng(1), (*widths, 3), kinds, 9, delay), (3, 4), **more)


def lif(coding: Any, operators: Any, binary: bool, **more: Any) -> Any:
    return random_trains(rng(2), operators, binary, coding, coding.n_steps, level=0.2, **more)


def srm(coding: Any, shape: Any, n_classes: int, binary: bool, **more: Any) -> Any:
    return random_srm(rng(), shape, n_classes, binary, coding, coding.n_steps, **more)


def glm(coding: Any, n_in: int, binary: bool, **settings: Any) -> Any:
    return random_glm(rng(3), GLM(**settings), n_in, 3, binary, coding, coding.n_steps, 3.0)


def committee(cases: list[Case], average: Any = "probability", **more: Any) -> Case:
    members = tuple(case.contents for case in cases)
    first = members[0]
    contents = Contents(CommitteePacked(members, average), first.input_shape, first.classes, **more)
    return Case(contents, cases[0].inputs)


def cases() -> dict[str, Case]:
    thresholds = ((0.01, 0.9), (0.1, 0.5))
    one = {
        "first-spike-binary": first_spike("bb", temperature=1.5, recipe="test"),
        "first-spike-real": first_spike("rr", delay=1),
        "first-spike-mixed": first_spike("brb", conformal=thresholds),
        "heaviside": of_images(random_heaviside(rng(), (12, 9, 3)), (12,), temperature=900.0),
        "heaviside-two-valued": of_images(random_heaviside(rng(), (12, 9, 7, 3), True), (3, 4)),
        "lif-direct-maps": of_images(
            lif(Direct(9, 0.5), maps(6, 5, 3, 3), True, lateral=0.25), (6, 5, 3), conformal=thresholds
        ),
        "lif-direct-real": of_images(lif(Direct(9, 2.0), dense(12, 8, 3), False), (3, 4)),
        "lif-poisson": of_images(lif(Poisson(20, 0.6, signed=True), dense(24, 8, 3), False), (12,)),
        "lif-events": Case(Contents(lif(EVENTS, dense(24, 9, 3), True), (2, 3, 4), ABC), events),
        "lif-sound": Case(Contents(lif(SOUND, dense(SOUND.n_channels, 9, 3), True), (SOUND.n_channels,), ABC), sound),
        "srm-maps": of_images(
            srm(Poisson(12), srm_maps(6, 5, 1), 3, True, neuron=SRMNeuron(9.0, 5.0, 2.5)), (6, 5), conformal=thresholds
        ),
        "srm-real": of_images(srm(Poisson(9, signed=True), srm_dense(24, 8), 2, False), (3, 4), ("a", "b")),
        "srm-regression": of_images(srm(Poisson(9), srm_dense(12, 8), 1, True, biased=False), (12,), ()),
        "srm-events": Case(Contents(srm(EVENTS, srm_dense(24, 9), 3, True), (2, 3, 4), ABC), events),
        "srm-sound": Case(
            Contents(srm(SOUND, srm_dense(SOUND.n_channels, 9), 3, True), (SOUND.n_channels,), ABC), sound
        ),
        "glm-poisson": of_images(
            glm(Poisson(20), 12, False, hidden=(9, 5), values=2, basis=RaisedCosine(3, 6), feedback=RaisedCosine(2, 4),
                recurrent=True, lateral=True, top_down=True, density=0.7), (3, 4), conformal=thresholds,
        ),
        "glm-latency": of_images(glm(Latency(9), 12, True, hidden=(20,), runs=3, draw_seed=7), (12,), temperature=2.0),
        "glm-counts": of_images(
            glm(Poisson(12, 0.5, signed=True), 24, True, hidden=(17,), values=3, output_values=2, basis=Dirac(4),
                feedback=Exponential(2.0, 3), skip=False, density=0.5, decision="count", runs=3), (3, 4), recipe="test",
        ),
        "glm-mean-field": of_images(
            glm(Latency(9), 12, False, hidden=(9,), recurrent=True, decision="mean-field", feedback=Dirac(2)), (3, 4)
        ),
        "glm-events": Case(Contents(glm(EVENTS, 24, True, hidden=(), lateral=True), (2, 3, 4), ABC), events),
    }  # fmt: skip
    later = dataclasses.replace(EVENTS, bin_us=150)
    other = Case(Contents(srm(later, srm_dense(24, 9), 3, True), (2, 3, 4), ABC), events)
    pixels = of_images(random_heaviside(rng(), (12, 9, 3)), (3, 4), temperature=900.0)
    direct, poisson = one["lif-direct-real"], of_images(srm(Poisson(9), srm_dense(12, 8), 3, True), (3, 4))
    mixed = [one["first-spike-binary"], pixels, direct, poisson]
    return one | {
        "committee": committee(mixed, temperature=1.5, recipe="test", conformal=thresholds),
        "committee-of-potentials": committee([direct, one["first-spike-real"]], "potential"),
        "committee-of-regressions": committee([one["srm-regression"]] * 3),
        "committee-of-events": committee([one["lif-events"], one["srm-events"]]),
        "committee-of-codings": committee([one["srm-events"], other]),
    }


CASES = cases()
ISAS: list[str | None] = list(instruction_sets())
each = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def test_every_kind_is_here() -> None:
    assert {type(case.contents.network) for case in CASES.values()} == set(PACKED)


def engines(contents: Contents) -> list[Model]:
    """On every instruction set; where a network, or a member, has no native engine, what "auto" takes."""
    try:
        return [Model(contents, "native", isa) for isa in ISAS]
    except BackendError:
        assert "heaviside" in str(type(contents.network)) or contents.network.members or not ISAS
        return [Model(contents)]


@each
def test_round_trip(case: Case, tmp_path: Path) -> None:
    contents, path = case.contents, tmp_path / "model.bitspike"
    size = write(contents, path)
    again = read(path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert encode(again) == path.read_bytes()
    for name in ("input_shape", "classes", "temperature", "recipe", "conformal"):
        assert getattr(again, name) == getattr(contents, name)
    for name in ("n_steps", "n_in", "n_classes", "regression", "one_bit", "takes", "exact_potentials"):
        assert getattr(again.network, name) == getattr(contents.network, name)
    loaded, given = bitspike.load(path), Model(contents)
    footprint = loaded.footprint()
    assert footprint == given.footprint()
    assert footprint["file_bytes"] == size == path.stat().st_size
    assert footprint["synapse_bits"] // 8 < size
    assert (footprint["synapse_bits"] == footprint["synapses"]) == loaded.one_bit
    inputs = case.inputs(20)
    assert_equal(loaded.decide(inputs), given.decide(inputs))
    assert_equal(pickle.loads(pickle.dumps(loaded)).decide(inputs), given.decide(inputs))


@each
def test_every_back_end_decides_as_the_reference(case: Case) -> None:
    reference = Model(case.contents, "reference")
    assert set(reference.backend.split(", ")) == {"reference"}
    inputs = reference.inputs(case.inputs(200))
    truth = reference.decide(inputs)
    labels = truth.labels if reference.classes else truth.potentials[:, 0]
    assert len(np.unique(labels)) > 1
    for model in engines(case.contents):
        for threads in (1, 2, 3, None):
            assert_equal(model.decide(inputs, threads), truth)
            np.testing.assert_array_equal(model.predict(inputs, threads), labels)
        np.testing.assert_array_equal(model.predict_proba(inputs), reference.predict_proba(inputs))
        alone = model.decide(inputs[150:151])
        for name, value in vars(alone).items():
            np.testing.assert_array_equal(value[0], getattr(truth, name)[150], err_msg=name)


@each
def test_what_decisions_are(case: Case) -> None:
    model, network = Model(case.contents), case.contents.network
    for n in (20, 0):
        inputs = case.inputs(20) if n else model.inputs(case.inputs(20))[:0]
        decided, p = model.decide(inputs), model.predict_proba(inputs)
        for name, value in vars(Decisions.empty(n, network.n_classes)).items():
            found = getattr(decided, name)
            assert (found.dtype, found.shape) == (value.dtype, value.shape), name
        assert p.dtype == np.float32
        assert np.isfinite(p).all()
        assert ((decided.decision_time >= 0) & (decided.decision_time <= model.n_steps)).all()
        if not network.regression:
            np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
        members = model.member_probabilities(inputs)
        assert (members is None) == (not network.members)
        if members is not None:
            assert members.shape == (len(network.members), n, network.n_classes)
        operations = network.operations(model.inputs(case.inputs(20)))
        assert operations.neuron_updates >= 0


@each
def test_inputs_are_taken_again_as_they_were_given(case: Case) -> None:
    model, inputs = Model(case.contents), case.inputs(20)
    ready = model.inputs(inputs)
    assert_equal(model.decide(ready), model.decide(inputs))
    if model.network.takes != "images":
        return
    for same in (inputs.tolist(), inputs / 255, inputs.astype(np.int64), np.asfortranarray(inputs)):
        assert_equal(model.decide(same), model.decide(inputs))
    np.testing.assert_array_equal(model.predict(inputs[7]), model.predict(inputs[7:8]))


@each
def test_other_inputs_are_refused(case: Case) -> None:
    takes = case.contents.network.takes
    shape = case.contents.input_shape
    wrong: list[Any] = [
        np.zeros((2, 7, 3), np.uint8),
        np.zeros((2, *shape), bool),
        np.full(shape, np.nan),
        "text",
    ]
    wrong += [other(2) for name, other in (("events", events), ("sound", sound)) if name != takes]
    wrong.append(SpikeList(np.zeros(0, np.int16), np.zeros(0, np.int32), np.zeros(2, np.int64), 5, 7))
    if takes == "events":
        wrong.append(Events.join([np.zeros(0, EVENT)], (9, 9)))
    for model in (Model(case.contents), Model(case.contents, "reference")):
        for x in wrong:
            with pytest.raises(DataError):
                model.decide(x)
            with pytest.raises(DataError):
                model.predict(x)


def first_calls(model: Model, inputs: Any, n_threads: int) -> list[dict[str, Any]]:
    """Labels and probabilities, each by its method, for threads that ask a model together for the first time."""
    start, found = threading.Barrier(n_threads), list[dict[str, Any]]()

    def call(number: int) -> None:
        asked = [model.predict, model.predict_proba]
        if number % 2:
            asked.reverse()
        start.wait()
        found.append({ask.__name__: ask(inputs, 1 + number % 3) for ask in asked})

    crowd = [threading.Thread(target=call, args=(number,)) for number in range(n_threads)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    return found


def all_as_alone(found: list[dict[str, Any]], n_threads: int, model: Model, inputs: Any) -> bool:
    """Did each of the threads get what one alone gets?"""
    alone = {ask.__name__: ask(inputs, 1) for ask in (model.predict, model.predict_proba)}
    same = [np.array_equal(told[name], value) for told in found for name, value in alone.items()]
    return len(same) == 2 * n_threads and all(same)


@each
def test_threads_may_make_the_first_call_together(case: Case) -> None:
    data, inputs, alone = encode(case.contents), case.inputs(30), Model(case.contents)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(3):
            found = first_calls(Model(decode(data)), inputs, 8)
            assert all_as_alone(found, 8, alone, inputs)
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_loading_and_deciding_again_takes_no_more_memory() -> None:
    ready = [(encode(case.contents), Model(case.contents).inputs(case.inputs(20))) for case in CASES.values()]

    def held() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def use(times: int) -> None:
        for _ in range(times):
            for data, inputs in ready:
                Model(decode(data)).decide(inputs, 2)

    use(3)
    before = held()
    use(12)
    assert held() - before < 2 << 20


def assert_read_or_refused(data: bytes, case: Case) -> None:
    """A reader gives contents that run alike on both back ends, or `FormatError`; nothing else."""
    try:
        contents = decode(data)
    except FormatError:
        return
    if contents.network.n_steps > 100 or contents.input_shape != case.contents.input_shape:
        return
    inputs = case.inputs(2)
    try:
        ready = Model(contents).inputs(inputs)
    except DataError:  # another coding, which takes other recordings
        return
    assert_equal(Model(contents).decide(ready), Model(contents, "reference").decide(ready))
    assert np.isfinite(Model(contents).predict_proba(ready)).all()


@each
@settings(max_examples=25)
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused(case: Case, data: st.DataObject) -> None:
    assert_read_or_refused(spoilt_bytes(data, encode(case.contents)), case)


@each
@settings(max_examples=35)
@given(data=st.data())
def test_changed_metadata_are_read_or_refused(case: Case, data: st.DataObject) -> None:
    assert_read_or_refused(spoilt_metadata(data, encode(case.contents)), case)


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.bitspike")), ids=lambda path: path.stem)
def test_vectors(path: Path) -> None:
    """The files in the repository give the decisions in the repository, with every back end, and are written alike."""
    held = safetensors.numpy.load_file(path.with_suffix(".safetensors"))
    expected = Decisions(**{name: held[name] for name in Decisions.__dataclass_fields__})
    for backend in ("auto", "reference"):
        model = bitspike.load(path, backend=backend)  # type: ignore[arg-type]
        inputs: Any = held.get("images")
        if inputs is None:
            lists = [held[part] for part in ("steps", "channels", "offsets")]
            inputs = SpikeList(*lists, model.network.n_steps, model.network.n_in)
        assert_equal(model.decide(inputs), expected)
    assert encode(model.contents) == path.read_bytes()


def test_the_vectors_are_what_their_script_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, VECTORS / "make.py", tmp_path], check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {
        path.name: path.read_bytes()
        for path in VECTORS.glob("*s*")
        if path.suffix in (".bitspike", ".safetensors")
    }
    assert made == kept
    assert len(kept) == 22
