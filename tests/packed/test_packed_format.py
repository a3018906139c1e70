"""The model file: first spikes and pixels, sizes, refusals, and bytes that are no model file at all."""

from __future__ import annotations

import resource
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bitspike
from bitspike.deploy.model import Model
from bitspike.errors import DataError, FormatError, UsageError
from bitspike.packed.contents import Contents
from bitspike.packed.file import decode, encode, read, write
from bitspike.packed.first_spike.layers import FirstSpikePackedLayer
from bitspike.packed.first_spike.network import FirstSpikePacked
from bitspike.packed.heaviside import HeavisidePacked, from_weights
from packed_nets import random_network
from spoil import Spoil, assert_refused, parts, whole

NETWORK = random_network(np.random.default_rng(0), (6, 11, 5, 3), "brb", n_steps=9, delay=1)
CONTENTS = Contents(NETWORK, (2, 3), ("a", "ü", '"'), 1.5, "test")
VALID = encode(CONTENTS)


def assert_same(a: Contents, b: Contents) -> None:
    mine: Any = a.network
    theirs: Any = b.network
    assert (mine.n_steps, mine.delay) == (theirs.n_steps, theirs.delay)
    for x, y in zip(mine.layers, theirs.layers, strict=True):
        np.testing.assert_array_equal(x.weights.dense(), y.weights.dense())
        if x.kind == "real" or x is mine.layers[-1]:
            np.testing.assert_array_equal(x.thresholds, y.thresholds)
        else:  # the file keeps floor(threshold) + 1, within what the potential can reach
            np.testing.assert_array_equal(x.fires_at(x.n_in), y.fires_at(x.n_in))


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 40), min_size=2, max_size=4), st.data())
def test_round_trip_of_random_networks(seed: int, widths: list[int], data: st.DataObject) -> None:
    kinds = data.draw(st.text("br", min_size=len(widths) - 1, max_size=len(widths) - 1))
    network = random_network(
        np.random.default_rng(seed), tuple(widths), kinds, data.draw(st.integers(1, 32766))
    )
    names = tuple(data.draw(st.lists(st.text(max_size=5), min_size=widths[-1], max_size=widths[-1])))
    contents = Contents(network, (widths[0],), names, data.draw(st.floats(1e-3, 1e3)), "r")
    encoded = encode(contents)
    assert_same(contents, decode(encoded))
    assert encode(decode(encoded)) == encoded


def test_the_mnist_network_stays_below_62000_bytes(tmp_path: Path) -> None:
    network = random_network(np.random.default_rng(0), (784, 600, 10), "bb")
    contents = Contents(network, (28, 28), tuple("0123456789"), 1.2345678, "bs4nn-mnist")
    assert write(contents, tmp_path / "m") == (tmp_path / "m").stat().st_size <= 62_000


def test_thresholds_take_32_bits_only_where_they_must() -> None:
    layers = (
        FirstSpikePackedLayer.binary(np.ones((200, 2), bool), np.full(2, 40_000)),
        FirstSpikePackedLayer.binary(np.ones((2, 2), bool), np.zeros(2)),
    )
    spiking = parts(encode(Contents(FirstSpikePacked(layers, 1), (200,), ("a", "b"))))[1]
    assert spiking["1.fires_at"].dtype == np.int16
    assert spiking["1.fires_at"].tolist() == [201, 201]  # out of reach, and no more than that
    pixels = parts(encode(Contents(HeavisidePacked(layers, True), (200,), ("a", "b"))))
    assert pixels[1]["1.fires_at"].dtype == np.int32
    assert pixels[1]["1.fires_at"].tolist() == [40_001, 40_001]
    assert pixels[0]["binarise"] is True


SPOILT: list[tuple[str, Spoil]] = [
    ("format version 2", lambda m, t: m.update(format=2)),
    ("format version True", lambda m, t: m.update(format=True)),
    ("metadata fields", lambda m, t: m.pop("delay")),
    ("metadata fields", lambda m, t: m.update(colour="red")),
    ("n_steps is '9'", lambda m, t: m.update(n_steps="9")),
    ("n_steps is 0", lambda m, t: m.update(n_steps=0)),
    ("n_steps is 32767", lambda m, t: m.update(n_steps=32767)),
    ("delay is 2", lambda m, t: m.update(delay=2)),
    ("has coding 'morse'", lambda m, t: m.update(coding="morse")),
    ("input_shape", lambda m, t: m.update(input=[2, 4])),
    ("input_shape", lambda m, t: m.update(input=[])),
    ("input_shape", lambda m, t: m.update(input=[-2, -3])),
    ("input holds", lambda m, t: m.update(input=[2, 3.0])),
    ("classes are named", lambda m, t: m.update(classes=["a"])),
    ("temperature is 0", lambda m, t: m.update(temperature=0.0)),
    ("temperature is -1", lambda m, t: m.update(temperature=-1.0)),
    ("temperature is 1", lambda m, t: m.update(temperature=1)),
    ("NaN is not a number", lambda m, t: m.update(temperature=float("nan"))),
    ("Infinity is not a number", lambda m, t: m.update(temperature=float("inf"))),
    ("decision rule", lambda m, t: m.update(decision="coin")),
    ("kind is 'ternary'", lambda m, t: m.update(kinds=["ternary", "real", "binary"])),
    ("widths and", lambda m, t: m.update(widths=[6, 11, 3])),
    ("a width lies outside", lambda m, t: m.update(widths=[6, 0, 5, 3])),
    ("a width lies outside", lambda m, t: m.update(widths=[6, 2**24, 5, 3])),
    (r"1\.signs is uint8 \(6, 2\); expected uint8 \(6, 3\)", lambda m, t: m.update(widths=[6, 17, 5, 3])),
    (r"1\.signs is missing", lambda m, t: t.pop("1.signs")),
    ("do not belong here.*extra", lambda m, t: t.update(extra=np.zeros(1, np.uint8))),
    (r"1\.fires_at is int32", lambda m, t: t.update({"1.fires_at": t["1.fires_at"].astype(np.int32)})),
    ("dtype F64", lambda m, t: t.update({"2.weights": t["2.weights"].astype(np.float64)})),
    (r"outside -6\.\.7", lambda m, t: t["1.fires_at"].__setitem__(3, 8)),
    (r"outside -6\.\.7", lambda m, t: t["1.fires_at"].__setitem__(3, -7)),
    ("unused bits", lambda m, t: t["1.signs"].__setitem__((0, 1), 8)),
    ("a weight is NaN or infinite", lambda m, t: t["2.weights"].__setitem__((0, 0), np.nan)),
    ("a threshold is NaN or infinite", lambda m, t: t["2.thresholds"].__setitem__(0, np.inf)),
    ("a threshold is NaN or infinite", lambda m, t: t["3.thresholds"].__setitem__(0, np.nan)),
    (r"a threshold is larger than 1e\+12", lambda m, t: t["3.thresholds"].__setitem__(0, -3e38)),
    (r"a weight is larger than 1e\+12", lambda m, t: t["2.weights"].fill(1e30)),
    ("metadata fields", lambda m, t: m.update(coding="pixel")),
    ("temperature is 1e-320", lambda m, t: m.update(temperature=1e-320)),
    ("temperature is 1e\\+300", lambda m, t: m.update(temperature=1e300)),
    ("has 9 dimensions", lambda m, t: t.update({"1.fires_at": t["1.fires_at"].reshape(1, 1, 1, 1, 1, 1, 1, 1, -1)})),
]  # fmt: skip


@pytest.mark.parametrize(("match", "spoil"), SPOILT, ids=[str(i) for i in range(len(SPOILT))])
def test_what_breaks_the_format_is_refused(match: str, spoil: Spoil) -> None:
    assert_refused(VALID, spoil, match)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "at least 8"),
        (VALID[:-1], "not a safetensors file"),
        (VALID + b"\0", "not a safetensors file"),
        (struct.pack("<Q", 2**63) + VALID[8:], "the header claims"),
        (struct.pack("<Q", len(VALID)) + VALID[8:], "the header claims"),
        (struct.pack("<Q", 40) + b"[" * 40, "header"),
        (struct.pack("<Q", 90_000) + b"[" * 90_000, "header"),
        (struct.pack("<Q", 2) + b"{}", "header"),
        (safetensors.numpy.save({"a": np.zeros(1)}, metadata={"bitspike": "[1]"}), "JSON object"),
        (safetensors.numpy.save({"a": np.zeros(1)}), "header"),
    ],
)
def test_what_is_no_model_file_is_refused(data: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        decode(data)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"absent\.bitspike"):
        read(tmp_path / "absent.bitspike")
    (tmp_path / "bad.bitspike").write_bytes(VALID[:100])
    with pytest.raises(FormatError, match=r"bad\.bitspike"):
        bitspike.load(tmp_path / "bad.bitspike")


@pytest.mark.parametrize("dimensions", [64, 65, 1000])
def test_more_dimensions_than_numpy_knows_are_refused(dimensions: int) -> None:
    length = struct.unpack("<Q", VALID[:8])[0]
    header, shape = VALID[8 : 8 + length].rstrip(), b'"shape":[3],'
    many = header.replace(shape, b'"shape":[' + b"1," * (dimensions - 1) + b"3],", 1)
    assert many != header
    many += b" " * (-len(many) % 8)
    with pytest.raises(FormatError, match=f"has {dimensions} dimensions"):
        decode(struct.pack("<Q", len(many)) + many + VALID[8 + length :])


def test_networks_that_cannot_be_are_refused() -> None:
    real = FirstSpikePackedLayer.real(np.ones((6, 3)), np.zeros(3))
    with pytest.raises(UsageError, match="binary layers"):
        HeavisidePacked((real,))
    with pytest.raises(UsageError, match="so wide"):
        from_weights([np.ones((70_000, 1), bool)], [np.zeros(1, np.float32)], False)
    pixel = encode(Contents(from_weights([np.ones((6, 2), bool)], [np.zeros(2)], False), (6,), ("a", "b")))
    metadata, tensors = parts(pixel)
    for change in ({"n_steps": 2}, {"delay": 1}):
        with pytest.raises(FormatError, match="knows no time"):
            decode(whole(metadata | change, tensors))


mutations = st.lists(
    st.tuples(
        st.integers(0, len(VALID) - 1), st.sampled_from(["set", "cut", "drop", "repeat"]), st.integers(0, 255)
    ),
    min_size=1,
    max_size=4,
)


def mutate(data: bytes, changes: list[tuple[int, str, int]]) -> bytes:
    for place, verb, value in changes:
        at = place % max(1, len(data))
        if verb == "set":
            data = data[:at] + bytes([value]) + data[at + 1 :]
        elif verb == "cut":
            data = data[:at]
        elif verb == "drop":
            data = data[:at] + data[at + 1 + value % 16 :]
        else:
            data = data[:at] + data[at : at + value] + data[at:]
    return data


def assert_read_or_refused(data: bytes) -> None:
    try:
        contents = decode(data)
    except DataError:
        return
    labels = Model(contents).predict(np.zeros((2, contents.network.n_in), np.uint8))
    assert ((labels >= 0) & (labels < len(contents.classes))).all()


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode(data)


@pytest.mark.slow
def test_20000_hostile_files_within_bounded_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(max_examples=20_000, suppress_health_check=list(HealthCheck), database=None)
    @given(mutations, st.binary(max_size=64))
    def attack(changes: list[tuple[int, str, int]], tail: bytes) -> None:
        assert_read_or_refused(mutate(VALID, changes) + (tail if len(changes) % 2 else b""))

    attack()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300_000, f"reading hostile files took {grown} kB"
