"""Committees: their arithmetic, what makes none, and what breaks their files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bitspike.coding import Direct, EventBins, Poisson
from bitspike.data.recordings import EVENT, Events
from bitspike.deploy.model import Model
from bitspike.deploy.pack import verify
from bitspike.errors import UsageError
from bitspike.packed.average import combine
from bitspike.packed.committee import CommitteePacked
from bitspike.packed.contents import Contents
from bitspike.packed.decisions import Decisions
from bitspike.packed.file import encode
from lif_nets import dense, random_trains
from packed_nets import random_heaviside, random_network
from spoil import Spoil, assert_refused
from srm_nets import dense as srm_dense
from srm_nets import random_srm

RNG = np.random.default_rng(0)
ABC = ("a", "b", "c")


def first_spike(
    shape: tuple[int, ...] = (3, 4), classes: tuple[str, ...] = ABC, temperature: float = 2.0
) -> Contents:
    network = random_network(RNG, (12, 9, len(classes)), "bb")
    return Contents(network, shape, classes, temperature)


def members() -> tuple[Contents, ...]:
    """One of every kind of model that takes images."""
    pixel = Contents(random_heaviside(RNG, (12, 9, 3)), (3, 4), ABC, 900.0)
    trains = Contents(random_trains(RNG, dense(12, 3), True, Direct(9, 2.0), 9), (3, 4), ABC, 0.5)
    srm = Contents(random_srm(RNG, srm_dense(12, 8), 3, True, Poisson(9), 9), (3, 4), ABC)
    return first_spike(), pixel, trains, srm


def committee(members: Any, average: Any = "probability", temperature: float = 1.0, **more: Any) -> Contents:
    packed = CommitteePacked(tuple(members), average)
    return Contents(packed, packed.members[0].input_shape, packed.members[0].classes, temperature, **more)


CONTENTS = committee(members(), "probability", 1.5, recipe="test", conformal=((0.01, 0.9), (0.1, 0.5)))
VALID = encode(CONTENTS)
IMAGES = np.random.default_rng(1).integers(0, 256, (20, 3, 4)).astype(np.uint8)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("average", ["probability", "potential"])
def test_the_average_of_every_kind_of_model(average: Any) -> None:
    models = [Model(member) for member in CONTENTS.network.members]
    joint = Model(committee(CONTENTS.network.members, average, 1.5))
    alone = [model.decide(IMAGES) for model in models]
    scaled = np.stack(
        [
            one.potentials.astype(np.float64) / model.temperature
            for one, model in zip(alone, models, strict=True)
        ]
    )
    p = softmax(scaled).mean(axis=0) if average == "probability" else softmax(scaled.mean(axis=0))
    decided, shares = joint.decide_all(IMAGES)
    assert shares is not None
    np.testing.assert_array_equal(decided.labels, p.argmax(axis=1))
    np.testing.assert_allclose(decided.potentials, np.log(p), rtol=1e-6)
    np.testing.assert_allclose(joint.predict_proba(IMAGES), softmax(np.log(p) / 1.5), rtol=1e-5)
    np.testing.assert_array_equal(decided.n_spikes, sum(one.n_spikes for one in alone))
    np.testing.assert_array_equal(decided.n_synops, sum(one.n_synops for one in alone))
    np.testing.assert_array_equal(decided.decision_time, np.max([one.decision_time for one in alone], axis=0))
    np.testing.assert_allclose(shares, softmax(scaled), rtol=1e-6)
    assert joint.n_steps == 16
    assert joint.one_bit
    assert not joint.network.exact_potentials
    assert verify(joint, None, IMAGES) is None


@pytest.mark.parametrize("average", ["probability", "potential"])
def test_one_member_decides_as_alone_and_equal_members_as_one(average: Any) -> None:
    contents = first_spike(temperature=1.3)
    model = Model(contents)
    for count in (1, 3):
        joint = Model(committee([contents] * count, average))
        np.testing.assert_array_equal(joint.predict(IMAGES), model.decide(IMAGES).potentials.argmax(axis=1))
        np.testing.assert_allclose(joint.predict_proba(IMAGES), model.predict_proba(IMAGES), rtol=1e-5)


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
        Contents(random_srm(RNG, srm_dense(12, 8), 1, True, Poisson(9), 9), (12,), ()) for _ in range(3)
    ]
    joint, rows = Model(committee(contents)), IMAGES.reshape(-1, 12)
    values = np.stack([Model(one).predict(rows) for one in contents])
    np.testing.assert_allclose(joint.predict(rows), values.mean(axis=0), rtol=1e-6)
    shares = joint.member_probabilities(rows)
    assert shares is not None
    np.testing.assert_array_equal(shares[:, :, 0], values)


def test_recordings_are_decided_by_all_members() -> None:
    codings = [EventBins(20, 100, height=3, width=4)] * 2 + [EventBins(12, 150, height=3, width=4)]
    shape, contents = (2, 3, 4), []
    for coding in codings:
        network = random_srm(RNG, srm_dense(24, 8), 3, True, coding, coding.n_steps)
        contents.append(Contents(network, shape, ABC))
    events = np.zeros(50, dtype=EVENT)
    events["t"] = np.sort(RNG.integers(0, 1500, 50))
    events["x"], events["y"], events["p"] = (RNG.integers(0, size, 50) for size in (4, 3, 2))
    recordings = Events.join([events, events[:20]], (3, 4))
    for chosen in (contents[:2], contents):
        alone = [Model(one).predict_proba(recordings) for one in chosen]
        joint = Model(committee(chosen)).predict_proba(recordings)
        np.testing.assert_allclose(joint, np.mean(alone, axis=0), rtol=1e-5)
    images = Contents(random_srm(RNG, srm_dense(24, 8), 3, True, Poisson(9), 9), shape, ABC)
    with pytest.raises(UsageError, match="member 2 takes images, member 1 takes events"):
        committee((contents[0], images))


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
            CommitteePacked(wrong)
    assert len(CommitteePacked((one,) * 1000).members) == 1000
    regression = Contents(random_srm(RNG, srm_dense(12, 8), 1, True, Poisson(9), 9), (12,), ())
    with pytest.raises(UsageError, match="no conformal sets"):
        committee((regression,), conformal=((0.1, 0.5),))
    for change in ({"average": "median"}, {"temperature": 0.0}, {"temperature": np.nan}):
        with pytest.raises(UsageError, match=next(iter(change))):
            committee((one,), **change)  # type: ignore[arg-type]
    for match, shape, classes in (
        ("not that of the members", (4, 3), ABC),
        ("classes are", (3, 4), ("x", "y", "z")),
    ):
        with pytest.raises(UsageError, match=match):
            Contents(CommitteePacked((one,)), shape, classes)


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
    (r"member.4: .*'committee, index' is unknown", lambda m, t: t.update({"member.4": np.frombuffer(VALID, np.uint8)})),
    ("member 4 has classes", lambda m, t: t.update({"member.4": OTHER})),
]  # fmt: skip


@pytest.mark.parametrize(("match", "spoil"), SPOILT, ids=[str(i) for i in range(len(SPOILT))])
def test_what_breaks_the_format_is_refused(match: str, spoil: Spoil) -> None:
    assert_refused(VALID, spoil, match)
