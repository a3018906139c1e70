import io
import os
import stat
import tarfile
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitspike import data
from bitspike.cli.data import data as data_command
from bitspike.data import files
from bitspike.data.archives import read_members
from bitspike.data.catalog import CATALOG, Archive
from bitspike.data.events import decode_nmnist, encode_nmnist, nmnist, read_nmnist
from bitspike.data.recordings import EVENT, Events
from bitspike.errors import DataError

FAST = settings(max_examples=300)
LONG = settings(FAST, max_examples=20_000)
EVENTS = np.array(
    [(0, 1, 2, True), (70_000, 33, 0, False), (70_000, 0, 33, True), (8_388_607, 5, 6, False)], EVENT
)
RAW = bytes.fromhex("0102 800000  2100 011170  0021 811170  0506 7fffff")
ARCHIVE = Archive("tiny.zip", ("Train", "Test"), r"(?:Train|Test)/[^/]+/[^/]+\.bin", 4, 1000)


def raw(t: int, x: int = 3, y: int = 4, p: int = 1) -> bytes:
    return bytes([x, y]) + (p << 23 | t).to_bytes(3, "big")


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_five_bytes_per_event() -> None:
    assert np.array_equal(decode_nmnist(RAW, "here"), EVENTS)
    assert encode_nmnist(EVENTS) == RAW


def test_file(tmp_path: Path) -> None:
    (tmp_path / "1.bin").write_bytes(RAW)
    assert np.array_equal(read_nmnist(tmp_path / "1.bin"), EVENTS)
    with pytest.raises(DataError, match="cannot be read"):
        read_nmnist(tmp_path / "2.bin")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes"),
        (RAW[:-1], "19 bytes"),
        (RAW + b"\0", "21 bytes"),
        (raw(0) + raw(1, x=34), "event 1 is at x = 34, y = 4"),
        (raw(0) + raw(1) + raw(2, y=240) + raw(3, x=99), "event 2 is at x = 3, y = 240"),
        (raw(0) + raw(9) + raw(8) + raw(7), "event 2 is at 8 us, the one before at 9"),
        (raw(2**23 - 1) + raw(0), "event 1 is at 0 us"),  # a wrap of the 23 bits
    ],
)
def test_refuses_damage(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=f"^here: .*{words}"):
        decode_nmnist(content, "here")


@pytest.mark.parametrize(
    "events", [(-1, 0, 0, 0), (1 << 23, 0, 0, 0), (0, 34, 0, 0), (0, 0, 290, 0), (0, -1, 0, 0)]
)
def test_writes_only_what_can_be_read(events: tuple[int, ...]) -> None:
    with pytest.raises(DataError):
        encode_nmnist(np.array([events], EVENT))


MEMBERS = {
    "Train/1/00010.bin": raw(5),
    "Train/0/00002.bin": raw(6) + raw(7),
    "Train/1/00003.bin": raw(8),
    "Test/1/00001.bin": RAW,
}


def assert_tiny(train: Events, train_labels: Any, test: Events, test_labels: Any) -> None:
    assert train.values["t"].tolist() == [6, 7, 8, 5]  # by number
    assert train.offsets.tolist() == [0, 2, 3, 4]
    assert train.sensor == (34, 34)
    assert train_labels.tolist() == [0, 1, 1]
    assert np.array_equal(test.values, EVENTS)
    assert test_labels.tolist() == [1]
    assert test_labels.dtype == np.int64


def test_recordings_in_the_order_of_their_numbers() -> None:
    assert_tiny(*nmnist([("here", dict(MEMBERS))]))
    train = {name: content for name, content in MEMBERS.items() if name.startswith("Train")}
    assert_tiny(*nmnist([("one", train), ("two", {"Test/1/00001.bin": RAW})]))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("Train/10/00001.bin", RAW, "with a label 0..9"),
        ("Train/x/00001.bin", RAW, "with a label 0..9"),
        ("Train/1/first.bin", RAW, "is not named like"),
        ("Train/0/00010.bin", RAW, "have one number"),
        ("Train/1/0010.bin", RAW, "have one number"),
        ("Test/1/00002.bin", RAW[:7], r", Test/1/00002\.bin: 7 bytes"),
    ],
)
def test_refuses_members(name: str, content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=f"^here.*{words}"):
        nmnist([("here", {**MEMBERS, name: content})])


def test_load_and_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "cache", lambda: tmp_path / "cache")
    monkeypatch.delenv("BITSPIKE_DATA", raising=False)
    entry = replace(CATALOG["nmnist-1100"], name="tiny", files=(ARCHIVE,))
    monkeypatch.setitem(CATALOG, "tiny", entry)
    (tmp_path / "packed").mkdir()
    place = zipped(tmp_path / "packed" / "tiny.zip", MEMBERS)
    for name, content in MEMBERS.items():
        (tmp_path / "unpacked" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "unpacked" / name).write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    hashes = []
    for folder in (place.parent, tmp_path / "unpacked"):
        dataset = data.load("tiny", folder)
        assert_tiny(dataset.train_inputs, dataset.train_labels, dataset.test_inputs, dataset.test_labels)
        assert dataset.shape == (2, 34, 34)
        assert dataset.note == entry.note
        hashes.append(dataset.hashes)
    assert hashes[0] == hashes[1]
    assert data_command("get", "tiny", data_dir=place.parent)["files"] == {"tiny.zip": str(place)}
    verified = data_command("verify", "tiny", data_dir=place.parent)["verified"]
    assert verified == {"tiny": {"tiny.zip": "4 files as published"}}
    listed = data_command("list", data_dir=tmp_path / "unpacked")["data"]
    assert listed["tiny"]["there"]
    assert sorted(tmp_path.rglob("*")) == before


def test_full_set_is_two_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = CATALOG["nmnist"]
    small = tuple(replace(file, n_members=n) for file, n in zip(known.files, (3, 1), strict=True))
    monkeypatch.setitem(CATALOG, "nmnist", replace(known, files=small))
    for side in ("Train", "Test"):
        zipped(tmp_path / f"{side}.zip", {n: c for n, c in MEMBERS.items() if n.startswith(side)})
    dataset = data.load("nmnist", tmp_path, download=False)
    assert_tiny(dataset.train_inputs, dataset.train_labels, dataset.test_inputs, dataset.test_labels)
    assert set(dataset.hashes) == {"Train.zip", "Test.zip"}


def test_real_part(data_dir: Path) -> None:
    dataset = data.load("nmnist-1100", data_dir, download=False)
    assert (len(dataset.train_inputs), len(dataset.test_inputs)) == (1000, 100)
    assert np.bincount(dataset.train_labels).tolist() == [97, 116, 99, 93, 105, 92, 94, 117, 87, 100]
    assert len(dataset.train_inputs.values) + len(dataset.test_inputs.values) == 4_518_827
    assert dataset.hashes["n-mnist-1100.zip"] == CATALOG["nmnist-1100"].files[0].content  # type: ignore[union-attr]
    assert "subset" in dataset.note
    one = dataset.train_inputs[:1].values
    assert one[0].tolist() == (893, 18, 16, True)
    assert encode_nmnist(one)[:5] == bytes([18, 16, 0x80, 0x03, 0x7D])


BYTES = st.lists(
    st.tuples(st.integers(0, 400_000), st.integers(0, 36), st.integers(0, 36), st.integers(0, 1)), max_size=6
).map(lambda events: b"".join(raw(*event) for event in events))
GOOD = st.lists(
    st.tuples(st.integers(0, 400_000), st.integers(0, 33), st.integers(0, 33), st.integers(0, 1)),
    min_size=1, max_size=6,
).map(lambda events: b"".join(raw(*event) for event in sorted(events)))  # fmt: skip
NAMES = st.builds(
    lambda side, label, number: f"{side}/{label}/{number:05d}.bin",
    st.sampled_from(["Train", "Test"]), st.integers(0, 9), st.integers(1, 30),
)  # fmt: skip
BAD_NAMES = st.sampled_from(
    ["../x.bin", "/tmp/x.bin", "Train/../../1.bin", "Train/10/1.bin", "Train/1/x.bin", "..\\1.bin", "C:/Train/1/1.bin",
     "Train/\0/1.bin", "Train/1/\u0661.bin", "Train//1.bin", "a" * 300 + "/Train/1/1.bin", "\ud7ff", "Train/1/1.bin/"]
)  # fmt: skip


@st.composite
def archives(draw: st.DrawFn) -> tuple[bytes, int]:
    """A zip or tar of good, odd and hostile members, then perhaps damaged; and how many files it should have."""
    members = draw(
        st.lists(st.tuples(NAMES, GOOD), min_size=1, max_size=5, unique_by=lambda member: member[0])
    )
    if draw(st.booleans()):
        members += draw(
            st.lists(st.tuples(NAMES | BAD_NAMES, GOOD | BYTES | st.binary(max_size=20)), max_size=2)
        )
    link = draw(st.integers(0, 9)) == 0
    out = io.BytesIO()
    if draw(st.booleans()):
        method = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
        with zipfile.ZipFile(out, "w", method) as archive:
            for name, content in dict(members).items():
                info = zipfile.ZipInfo("x")
                info.filename, info.compress_type = name, method
                info.external_attr = (stat.S_IFLNK if link else stat.S_IFREG) << 16
                archive.writestr(info, content)
    else:
        with tarfile.open(fileobj=out, mode=draw(st.sampled_from(["w", "w:gz"]))) as archive:  # type: ignore[call-overload]
            for name, content in members:
                entry = tarfile.TarInfo(name)
                entry.size, entry.type = len(content), tarfile.SYMTYPE if link else tarfile.REGTYPE
                archive.addfile(entry, io.BytesIO(content))
    content = out.getvalue()
    if draw(st.booleans()):
        edit = st.tuples(st.integers(0, len(content)), st.integers(0, 4), st.binary(max_size=4))
        for start, length, new in draw(st.lists(edit, max_size=3)):
            content = content[:start] + new + content[start + length :]
        content = content[: draw(st.integers(0, len(content)))] if draw(st.integers(0, 4)) == 0 else content
    return content, len(members)


def assert_survives(tmp_path: Path, content: bytes, n_members: int) -> None:
    """Reading gives recordings that keep their promises or a `DataError` that names the file; nothing is written."""
    path = tmp_path / "x"
    path.write_bytes(content)
    outcome: tuple[Events, Any, Events, Any] | str
    tracemalloc.start()
    try:
        members = read_members(replace(ARCHIVE, n_members=n_members), path)
        sizes = sum(map(len, members.values()))
        outcome = nmnist([(str(path), members)])
    except DataError as error:
        outcome = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 3_000_000
    assert os.listdir(tmp_path) == ["x"]
    assert path.read_bytes() == content
    if isinstance(outcome, str):
        assert str(path) in outcome
        return
    train, train_labels, test, test_labels = outcome
    assert len(train) + len(test) == len(train_labels) + len(test_labels) == n_members
    assert len(train.values) + len(test.values) == sizes // 5
    for events in (train, test):
        for k in range(len(events)):
            recording = events.values[events.offsets[k] : events.offsets[k + 1]]
            assert len(recording) > 0
            assert (np.diff(recording["t"]) >= 0).all()
            assert max(recording["x"].max(), recording["y"].max()) < 34


def assert_decodes(content: bytes) -> None:
    """A recording that is read says the same bytes again."""
    outcome: np.ndarray | str
    try:
        outcome = decode_nmnist(content, "here")
    except DataError as error:
        outcome = str(error)
    if isinstance(outcome, str):
        assert outcome.startswith("here: ")
    else:
        assert encode_nmnist(outcome) == content


@FAST
@given(case=archives())
def test_fuzz_archives(tmp_path: Path, case: tuple[bytes, int]) -> None:
    assert_survives(tmp_path, *case)


@FAST
@given(content=GOOD | BYTES | st.binary(max_size=40))
def test_fuzz_recordings(content: bytes) -> None:
    assert_decodes(content)


@pytest.mark.slow
@LONG
@given(case=archives())
def test_fuzz_archives_long(tmp_path: Path, case: tuple[bytes, int]) -> None:
    assert_survives(tmp_path, *case)


@pytest.mark.slow
@LONG
@given(content=GOOD | BYTES | st.binary(max_size=40))
def test_fuzz_recordings_long(content: bytes) -> None:
    assert_decodes(content)
