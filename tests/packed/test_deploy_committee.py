"""Committee files: arithmetic, round trip, refusals, hostile bytes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bitspike
from bitspike.coding import Direct, EventBins, Poisson
from bitspike.data.recordings import EVENT, Events
from bitspike.deploy.load import build
from bitspike.deploy.pack import truth, verify
from bitspike.errors import FormatError, UsageError
from bitspike.packed.average import combine
from bitspike.packed.committee import CommitteeContents, CommitteeModel
from bitspike.packed.decisions import Decisions
from bitspike.packed.file import Contents, decode, encode, write
from bitspike.packed.first_spike.network import FirstSpikePackedLayer
from bitspike.packed.lif.file import TrainContents
from bitspike.packed.srm.file import SRMContents
from lif_nets import dense, random_trains
from packed_nets import assert_equal, random_network
from spoil import parts, spoilt_bytes, spoilt_metadata, whole
from srm_nets import dense as srm_dense
from srm_nets import random_srm

RNG = np.random.default_rng(0)
ABC = ("a", "b", "c")


def first_spike(
    shape: tuple[int, ...] = (3, 4), classes: tuple[str, ...] = ABC, temperature: float = 2.0
) -> Contents:
    network = random_network(RNG, (12, 9, len(classes)), "bb")
    return Contents(network, "first_spike", shape, classes, temperature)


def members() -> tuple[Any, ...]:
    """One of every kind of model that takes images."""
    pixels = random_network(RNG, (12, 9, 3), "bb", n_steps=1)
    layers = [
        FirstSpikePackedLayer.binary(layer.dense() > 0, np.zeros(layer.n_out, np.float32))
        for layer in pixels.layers
    ]
    pixel = Contents(type(pixels)(tuple(layers), 1, 0), "pixel", (3, 4), ABC, 900.0)
    trains = TrainContents(random_trains(RNG, dense(12, 3), True, Direct(9, 2.0), 9), (3, 4), ABC, 0.5)
    srm = SRMContents(random_srm(RNG, srm_dense(12, 8), 3, True, Poisson(9), 9), (3, 4), ABC)
    return first_spike(), pixel, trains, srm


CONTENTS = CommitteeContents(members(), "probability", 1.5, "test", ((0.01, 0.9), (0.1, 0.5)))
VALID = encode(CONTENTS)
IMAGES = np.random.default_rng(1).integers(0, 256, (20, 3, 4)).astype(np.uint8)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("average", ["probability", "potential"])
def test_the_average_of_every_kind_of_model(average: Any) -> None:
    models = [build(member) for member in CONTENTS.members]
    committee = CommitteeModel(models, average, 1.5)
    alone = [model.decide(IMAGES) for model in models]
    scaled = np.stack(
        [
            one.potentials.astype(np.float64) / model.temperature
            for one, model in zip(alone, models, strict=True)
        ]
    )
    p = softmax(scaled).mean(axis=0) if average == "probability" else softmax(scaled.mean(axis=0))
    decided = committee.decide(IMAGES)
    np.testing.assert_array_equal(decided.labels, p.argmax(axis=1))
    np.testing.assert_allclose(decided.potentials, np.log(p), rtol=1e-6)
    np.testing.assert_allclose(committee.predict_proba(IMAGES), softmax(np.log(p) / 1.5), rtol=1e-5)
    np.testing.assert_array_equal(decided.n_spikes, sum(one.n_spikes for one in alone))
    np.testing.assert_array_equal(decided.n_synops, sum(one.n_synops for one in alone))
    np.testing.assert_array_equal(decided.decision_time, np.max([one.decision_time for one in alone], axis=0))
    np.testing.assert_allclose(committee.member_probabilities(IMAGES), softmax(scaled), rtol=1e-6)
    assert committee.n_steps == 16
    assert committee.one_bit
    assert verify(committee, None, IMAGES) is None
    assert_equal(pickle.loads(pickle.dumps(committee)).decide(IMAGES), decided)


def test_one_member_decides_as_alone_and_equal_members_as_one() -> None:
    model = build(first_spike(temperature=1.3))
    alone = model.decide(IMAGES)
    for count in (1, 3):
        for average in ("probability", "potential"):
            committee = CommitteeModel([model] * count, average)  # type: ignore[arg-type]
            np.testing.assert_array_equal(committee.predict(IMAGES), alone.potentials.argmax(axis=1))
            np.testing.assert_allclose(
                committee.predict_proba(IMAGES), model.predict_proba(IMAGES), rtol=1e-5
            )


def decisions(potentials: list[float], silent: bool) -> Decisions:
    u, one = np.array([potentials], np.float32), np.ones(1, np.int64)
    return Decisions(u.argmax(1), one, np.array([silent]), u > 0, u, one, one)


def test_ties_go_to_the_lowest_index_and_silence_is_unanimous() -> None:
    a, b = decisions([3.0, 0.0, 1.0], True), decisions([0.0, 3.0, 1.0], False)
    both = combine([a, b], [1.0, 1.0], "potential")
    assert both.labels.tolist() == [0]
    assert both.tied.tolist() == [[True, True, False]]
    assert both.silent.tolist() == [False]
    assert combine([a, a], [1.0, 2.0], "probability").silent.tolist() == [True]


def test_regressions_are_averaged_as_values() -> None:
    contents = [
        SRMContents(random_srm(RNG, srm_dense(12, 8), 1, True, Poisson(9), 9), (12,), ()) for _ in range(3)
    ]
    models = [build(one) for one in contents]
    committee = CommitteeModel(models)
    rows = IMAGES.reshape(-1, 12)
    values = np.stack([model.predict(rows) for model in models])
    np.testing.assert_allclose(committee.predict(rows), values.mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(committee.member_probabilities(rows)[:, :, 0], values)


def test_recordings_are_decided_by_all_members() -> None:
    codings = [EventBins(20, 100, height=3, width=4)] * 2 + [EventBins(12, 150, height=3, width=4)]
    shape, contents = (2, 3, 4), []
    for coding in codings:
        network = random_srm(RNG, srm_dense(24, 8), 3, True, coding, coding.n_steps)
        contents.append(SRMContents(network, shape, ABC))
    events = np.zeros(50, dtype=EVENT)
    events["t"] = np.sort(RNG.integers(0, 1500, 50))
    events["x"], events["y"], events["p"] = (RNG.integers(0, size, 50) for size in (4, 3, 2))
    recordings = Events.join([events, events[:20]], (3, 4))
    for chosen in (contents[:2], contents):
        committee = CommitteeModel([build(one) for one in chosen])
        alone = [build(one).predict_proba(recordings) for one in chosen]
        np.testing.assert_allclose(committee.predict_proba(recordings), np.mean(alone, axis=0), rtol=1e-5)
    images = SRMContents(random_srm(RNG, srm_dense(24, 8), 3, True, Poisson(9), 9), shape, ABC)
    with pytest.raises(UsageError, match="member 2 takes images, member 1 takes events"):
        CommitteeContents((contents[0], images))


def test_round_trip(tmp_path: Path) -> None:
    again = decode(VALID)
    assert isinstance(again, CommitteeContents)
    assert encode(again) == VALID
    assert (again.average, again.temperature, again.recipe) == ("probability", 1.5, "test")
    assert again.conformal == ((0.01, 0.9), (0.1, 0.5))
    assert [encode(member) for member in again.members] == [encode(member) for member in CONTENTS.members]
    size = write(CONTENTS, tmp_path / "model")
    model = bitspike.load(tmp_path / "model")
    assert isinstance(model, CommitteeModel)
    assert size == len(VALID) == model.footprint()["file_bytes"]
    assert model.footprint()["members"] == 4
    assert model.footprint()["synapses"] == sum(
        build(one).footprint()["synapses"] for one in CONTENTS.members
    )
    slow = bitspike.load(tmp_path / "model", backend="reference")
    assert slow.backend == "reference"
    assert_equal(model.decide(IMAGES), slow.decide(IMAGES))
    assert_equal(model.decide(IMAGES), truth(model, IMAGES))
    assert sum(len(encode(member)) for member in CONTENTS.members) + 700 > size


def test_what_makes_no_committee_is_refused() -> None:
    one = first_spike()
    for match, wrong in (
        ("0 members", ()),
        ("1001 members", (one,) * 1001),
        ("member 2 is a committee", (one, CONTENTS)),
        (r"member 2 has classes \('a', 'b', 'd'\)", (one, first_spike(classes=("a", "b", "d")))),
        (r"member 3 has input_shape \(4, 3\)", (one, one, first_spike(shape=(4, 3)))),
    ):
        with pytest.raises(UsageError, match=match):
            CommitteeContents(wrong)
    assert len(CommitteeContents((one,) * 1000).members) == 1000
    regression = SRMContents(random_srm(RNG, srm_dense(12, 8), 1, True, Poisson(9), 9), (12,), ())
    with pytest.raises(UsageError, match="no conformal sets"):
        CommitteeContents((regression,), conformal=((0.1, 0.5),))
    for change in ({"average": "median"}, {"temperature": 0.0}, {"temperature": np.nan}):
        with pytest.raises(UsageError, match=next(iter(change))):
            CommitteeContents((one,), **change)  # type: ignore[arg-type]


Spoil = Callable[[dict[str, Any], dict[str, np.ndarray]], Any]
OTHER = np.frombuffer(encode(first_spike((3, 4), ("a", "b"))), np.uint8)
SPOILT: list[tuple[str, Spoil]] = [
    ("format version 2", lambda m, t: m.update(format=2)),
    ("metadata fields", lambda m, t: m.pop("average")),
    ("metadata fields", lambda m, t: m.update(coding="first_spike")),
    ("metadata fields|decision", lambda m, t: m.update(decision="coin")),
    ("metadata fields|decision", lambda m, t: m.update(decision=["committee, index"])),
    ("average is 'median'", lambda m, t: m.update(average="median")),
    ("temperature is 0", lambda m, t: m.update(temperature=0.0)),
    ("temperature is 1", lambda m, t: m.update(temperature=1)),
    ("conformal has", lambda m, t: m.update(conformal=[[0.1, 0.5], [0.01, 0.9]])),
    ("0 members", lambda m, t: m.update(members=0)),
    ("-1 members", lambda m, t: m.update(members=-1)),
    ("1001 members", lambda m, t: m.update(members=1001)),
    ("members is True", lambda m, t: m.update(members=True)),
    (r"expected member.1 to member.3", lambda m, t: m.update(members=3)),
    (r"expected member.1 to member.5", lambda m, t: m.update(members=5)),
    (r"expected member.1 to member.4", lambda m, t: t.update({"member.04": t.pop("member.4")})),
    (r"member.2 is uint8 \(1, ", lambda m, t: t.update({"member.2": t["member.2"][None]})),
    (r"member.2 is int16", lambda m, t: t.update({"member.2": t["member.2"].astype(np.int16)})),
    (r"member.3: not a safetensors", lambda m, t: t.update({"member.3": t["member.3"][:-1]})),
    (r"member.1: 0 bytes", lambda m, t: t.update({"member.1": t["member.1"][:0]})),
    (r"member.1: not a safetensors", lambda m, t: t.update({"member.1": np.append(t["member.1"], np.uint8(0))})),
    (r"member.4: a committee is no member", lambda m, t: t.update({"member.4": np.frombuffer(VALID, np.uint8)})),
    ("member 4 has classes", lambda m, t: t.update({"member.4": OTHER})),
]  # fmt: skip


@pytest.mark.parametrize(("match", "spoil"), SPOILT, ids=[str(i) for i in range(len(SPOILT))])
def test_what_breaks_the_format_is_refused(match: str, spoil: Spoil) -> None:
    metadata, tensors = parts(VALID)
    decode(whole(metadata, tensors))
    spoil(metadata, tensors)
    with pytest.raises(FormatError, match=match):
        decode(whole(metadata, tensors))


def check_bytes(data: bytes) -> None:
    """A reader gives contents that run, or `FormatError`; nothing else."""
    try:
        contents = decode(data)
    except FormatError:
        return
    assert isinstance(contents, CommitteeContents)
    steps = [member.network.n_steps for member in contents.members]
    if max(steps) <= 100:
        rows = IMAGES[:2] if contents.input_shape == (3, 4) else IMAGES[:2].reshape(2, -1)
        assert_equal(build(contents).decide(rows), build(contents, "reference").decide(rows))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_mutated_bytes_never_crash(data: st.DataObject) -> None:
    check_bytes(spoilt_bytes(data, VALID))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_mutated_metadata_never_crash(data: st.DataObject) -> None:
    check_bytes(spoilt_metadata(data, VALID))
