"""The model file: round trip, size, refusals, hostile bytes, and the vectors in tests/vectors."""

from __future__ import annotations

import json
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bitspike
from bitspike.coding import SpikeList
from bitspike.deploy.load import PackedModel
from bitspike.errors import DataError, FormatError, UsageError
from bitspike.packed.decisions import Decisions
from bitspike.packed.file import Contents, decode, encode, read, write
from bitspike.packed.first_spike.network import FirstSpikePacked, FirstSpikePackedLayer
from packed_nets import assert_equal, random_network

VECTORS = Path(__file__).parents[1] / "vectors"
NETWORK = random_network(np.random.default_rng(0), (6, 11, 5, 3), "brb", n_steps=9, delay=1)
CONTENTS = Contents(NETWORK, "first_spike", (2, 3), ("a", "ü", '"'), 1.5, "test")
VALID = encode(CONTENTS)


def parts(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    return json.loads(header["__metadata__"]["bitspike"]), safetensors.numpy.load(data)


def whole(metadata: dict[str, Any], tensors: dict[str, np.ndarray]) -> bytes:
    return safetensors.numpy.save(tensors, metadata={"bitspike": json.dumps(metadata)})


def assert_same(a: Contents, b: Contents) -> None:
    for name in ("coding", "input_shape", "classes", "temperature", "recipe", "binarise"):
        assert getattr(a, name) == getattr(b, name)
    assert (a.network.n_steps, a.network.delay) == (b.network.n_steps, b.network.delay)
    for x, y in zip(a.network.layers, b.network.layers, strict=True):
        np.testing.assert_array_equal(x.dense(), y.dense())
        if x.kind == "real" or x is a.network.layers[-1]:
            np.testing.assert_array_equal(x.thresholds, y.thresholds)
        else:  # the file keeps floor(threshold) + 1, within what the potential can reach
            np.testing.assert_array_equal(x.fires_at(x.n_in), y.fires_at(x.n_in))


def test_round_trip() -> None:
    again = decode(VALID)
    assert_same(CONTENTS, again)
    assert encode(again) == VALID


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 40), min_size=2, max_size=4), st.data())
def test_round_trip_of_random_networks(seed: int, widths: list[int], data: st.DataObject) -> None:
    kinds = data.draw(st.text("br", min_size=len(widths) - 1, max_size=len(widths) - 1))
    network = random_network(
        np.random.default_rng(seed), tuple(widths), kinds, data.draw(st.integers(1, 32766))
    )
    names = tuple(data.draw(st.lists(st.text(max_size=5), min_size=widths[-1], max_size=widths[-1])))
    contents = Contents(network, "first_spike", (widths[0],), names, data.draw(st.floats(1e-3, 1e3)), "r")
    encoded = encode(contents)
    assert_same(contents, decode(encoded))
    assert encode(decode(encoded)) == encoded


def test_the_mnist_network_stays_below_62000_bytes(tmp_path: Path) -> None:
    network = random_network(np.random.default_rng(0), (784, 600, 10), "bb")
    contents = Contents(network, "first_spike", (28, 28), tuple("0123456789"), 1.2345678, "bs4nn-mnist")
    assert write(contents, tmp_path / "m") == (tmp_path / "m").stat().st_size <= 62_000


def test_thresholds_take_32_bits_only_where_they_must() -> None:
    layers = (
        FirstSpikePackedLayer.binary(np.ones((200, 2), bool), np.full(2, 40_000)),
        FirstSpikePackedLayer.binary(np.ones((2, 2), bool), np.zeros(2)),
    )
    network = FirstSpikePacked(layers, 1)
    spiking = parts(encode(Contents(network, "first_spike", (200,), ("a", "b"))))[1]
    assert spiking["1.fires_at"].dtype == np.int16
    assert spiking["1.fires_at"].tolist() == [201, 201]  # out of reach, and no more than that
    pixels = parts(encode(Contents(network, "pixel", (200,), ("a", "b"), binarise=True)))
    assert pixels[1]["1.fires_at"].dtype == np.int32
    assert pixels[1]["1.fires_at"].tolist() == [40_001, 40_001]
    assert pixels[0]["binarise"] is True


Spoil = Callable[[dict[str, Any], dict[str, np.ndarray]], Any]
SPOILT: list[tuple[str, Spoil]] = [
    ("format version 2", lambda m, t: m.update(format=2)),
    ("format version True", lambda m, t: m.update(format=True)),
    ("metadata fields", lambda m, t: m.pop("delay")),
    ("metadata fields", lambda m, t: m.update(colour="red")),
    ("n_steps is '9'", lambda m, t: m.update(n_steps="9")),
    ("n_steps is 0", lambda m, t: m.update(n_steps=0)),
    ("n_steps is 32767", lambda m, t: m.update(n_steps=32767)),
    ("delay is 2", lambda m, t: m.update(delay=2)),
    ("coding is 'morse'", lambda m, t: m.update(coding="morse")),
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
    ("kind 'ternary'", lambda m, t: m.update(kinds=["ternary", "real", "binary"])),
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
]  # fmt: skip


@pytest.mark.parametrize(("match", "spoil"), SPOILT, ids=[str(i) for i in range(len(SPOILT))])
def test_what_breaks_the_format_is_refused(match: str, spoil: Spoil) -> None:
    metadata, tensors = parts(VALID)
    tensors = {name: tensor.copy() for name, tensor in tensors.items()}
    decode(whole(metadata, tensors))
    spoil(metadata, tensors)
    with pytest.raises(FormatError, match=match):
        decode(whole(metadata, tensors))


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


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.bitspike"
    write(CONTENTS, path)

    def fail(handle: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write(Contents(NETWORK, "first_spike", (6,), ("x", "y", "z")), path)
    assert path.read_bytes() == VALID
    assert list(tmp_path.iterdir()) == [path]


def test_contents_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="binary layers"):
        Contents(NETWORK, "pixel", (6,), ("a", "b", "c"))
    with pytest.raises(UsageError, match="binarise"):
        Contents(NETWORK, "first_spike", (6,), ("a", "b", "c"), binarise=True)


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


def must_not_crash(data: bytes) -> None:
    try:
        contents = decode(data)
    except DataError:
        return
    model = PackedModel(contents)
    labels = model.predict(np.zeros((2, contents.network.n_in), np.uint8))
    assert ((labels >= 0) & (labels < len(contents.classes))).all()


@given(mutations)
def test_mutated_files_are_read_or_refused(changes: list[tuple[int, str, int]]) -> None:
    must_not_crash(mutate(VALID, changes))


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode(data)


@pytest.mark.slow
def test_20000_hostile_files_within_bounded_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(mutations, st.binary(max_size=64))
    def attack(changes: list[tuple[int, str, int]], tail: bytes) -> None:
        must_not_crash(mutate(VALID, changes) + (tail if len(changes) % 2 else b""))

    attack()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300_000, f"reading hostile files took {grown} kB"


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.bitspike")), ids=lambda path: path.stem)
def test_vectors(path: Path) -> None:
    """The files in the repository give the decisions in the repository, with every back end."""
    held = safetensors.numpy.load_file(path.with_suffix(".safetensors"))
    expected = Decisions(**{name: held[name] for name in Decisions.__dataclass_fields__})
    for backend in ("auto", "reference"):
        model = bitspike.load(path, backend=backend)
        inputs: Any = held.get("images")
        if inputs is None:
            lists = [held[part] for part in ("steps", "channels", "offsets")]
            inputs = SpikeList(*lists, model.network.n_steps, model.network.n_in)
        assert_equal(model.decide(inputs), expected)
        np.testing.assert_array_equal(model.predict(inputs), expected.labels)
    assert encode(model.contents) == path.read_bytes()


def test_the_vectors_are_what_their_script_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, VECTORS / "make.py", tmp_path], check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {
        path.name: path.read_bytes()
        for path in VECTORS.iterdir()
        if path.suffix in (".bitspike", ".safetensors")
    }
    assert made == kept
    assert len(kept) == 14
