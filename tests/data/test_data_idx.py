import gzip
import hashlib
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bitspike.data.idx import idx_sha256, read_idx, write_idx
from bitspike.errors import DataError

DTYPES = ["u1", "i1", "i2", "i4", "f4", "f8"]
FAST = settings(max_examples=200)
LONG = settings(FAST, max_examples=20_000)
VALID = struct.pack(">BBBB3i", 0, 0, 8, 3, 2, 2, 3) + bytes(range(12))


@FAST
@given(
    array=st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            hnp.array_shapes(max_dims=4, max_side=5),
            elements=None
            if dtype[0] != "f"
            else st.floats(width=8 * int(dtype[1]), allow_nan=False, allow_infinity=False),  # type: ignore[arg-type]
        )
    ),
    suffix=st.sampled_from(["", ".gz"]),
)
def test_round_trip(tmp_path: Path, array: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    write_idx(path, array)
    back = read_idx(path)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)
    content = path.read_bytes()
    write_idx(path, back)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    write_idx(tmp_path / "x", array)
    assert (tmp_path / "x").read_bytes() == VALID
    write_idx(tmp_path / "y", np.array([1, -2], np.int32))
    assert (tmp_path / "y").read_bytes() == bytes.fromhex("00000c01 00000002 00000001 fffffffe")
    assert idx_sha256(array) == hashlib.sha256(VALID).hexdigest()


def packed(shape: tuple[int, ...], payload: bytes, kind: int = 8, zeros: bytes = b"\0\0") -> bytes:
    return zeros + bytes([kind, len(shape)]) + b"".join(struct.pack(">I", n) for n in shape) + payload


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "IDX header"),
        (b"\0\0\x08", "IDX header"),
        (packed((2,), b"ab", zeros=b"\0\1"), "IDX header"),
        (packed((2,), b"ab", kind=7), "0x07 is unknown"),
        (packed((2,), b"ab", kind=0x0A), "0x0a is unknown"),
        (packed((), b"a"), "0 dimensions"),
        (packed((1,) * 9, b"a"), "9 dimensions"),
        (packed((2, 3), b"")[:7], "inside its header"),
        (packed((0, 3), b""), "at least 1"),
        (packed((2**31,), b"ab"), "at least 1"),
        (packed((2**32 - 1,), b"ab"), "at least 1"),
        (packed((2, 3), b"abcde"), "at most|ends after"),
        (packed((2, 3), b"abcdefg"), "follow"),
        (packed((2**31 - 1,) * 8, b"abc"), "at most"),
        (packed((2**31 - 1, 2), b"abc"), "at most"),
        (packed((1,), struct.pack(">f", float("nan")), kind=0x0D), "NaN"),
        (packed((1,), struct.pack(">d", float("inf")), kind=0x0E), "NaN or infinity"),
    ],
)
def test_refuses(tmp_path: Path, content: bytes, words: str, zipped: bool) -> None:
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(DataError, match=words) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_refuses_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_idx(tmp_path / "absent")
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path)


def test_refuses_damaged_gzip(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    good = gzip.compress(VALID)
    for content in (good[:-1], good[:-8], good[: len(good) // 2], good[:3], good + b"junk"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.gz: "):
            read_idx(path)
    flipped = bytearray(good)
    flipped[-6] ^= 1  # the CRC
    path.write_bytes(flipped)
    with pytest.raises(DataError, match="damaged gzip"):
        read_idx(path)


def test_limit_and_bombs_cost_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(packed((4, 5), bytes(20)))
    assert read_idx(path, limit=20).shape == (4, 5)
    with pytest.raises(DataError, match="limit is 19"):
        read_idx(path, limit=19)
    path.write_bytes(gzip.compress(packed((2, 2), bytes(40_000_000))))  # 40 MB behind a header of 4 bytes
    with pytest.raises(DataError, match="follow"):
        measured(path, 1 << 20)
    path.write_bytes(gzip.compress(packed((40_000_000,), bytes(40_000_000))))  # honest, but beyond the limit
    with pytest.raises(DataError, match="limit"):
        measured(path, 1 << 20, limit=1_000_000)
    path.write_bytes(gzip.compress(packed((2**31 - 1,), bytes(100))))
    with pytest.raises(DataError, match="at most"):
        measured(path, 1 << 20)


def measured(path: Path, bound: int, **options: Any) -> None:
    """Read, and fail if more than `bound` bytes were held at once."""
    tracemalloc.start()
    try:
        read_idx(path, **options)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < bound


def mutated(valid: bytes) -> st.SearchStrategy[bytes]:
    """Damaged files: bytes replaced, cut, inserted or appended; or nothing but noise."""
    place = st.integers(0, len(valid))
    edit = st.tuples(place, st.integers(0, 4), st.binary(max_size=4))

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        content = valid
        for start, length, new in edits:
            content = content[:start] + new + content[start + length :]
        return content

    return st.lists(edit, min_size=1, max_size=4).map(apply) | st.binary(max_size=64)


HEADERS = st.builds(
    packed, st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 4), max_size=9).map(tuple),
    st.binary(max_size=40), st.integers(0, 20),
)  # fmt: skip


def assert_survives(path: Path, content: bytes) -> None:
    """Reading gives an array or a DataError that names the file; it holds no more than the file can."""
    path.write_bytes(content)
    outcome: np.ndarray | str
    tracemalloc.start()
    try:
        outcome = read_idx(path)
    except DataError as error:
        outcome = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1032 * len(content) + 300_000
    if isinstance(outcome, str):
        assert str(path) in outcome
    else:
        assert 0 < outcome.nbytes <= 1032 * len(content)


CONTENTS = mutated(VALID) | HEADERS | HEADERS.map(gzip.compress) | mutated(gzip.compress(VALID))


@FAST
@given(content=CONTENTS)
def test_fuzz(tmp_path: Path, content: bytes) -> None:
    assert_survives(tmp_path / "x", content)


@pytest.mark.slow
@LONG
@given(content=CONTENTS)
def test_fuzz_long(tmp_path: Path, content: bytes) -> None:
    assert_survives(tmp_path / "x", content)


@pytest.mark.parametrize(
    "array",
    [np.zeros((0, 3), np.uint8), np.array(3, np.uint8), np.zeros(2, np.int64), np.zeros((1,) * 9, np.uint8)],
)
def test_writer_refuses(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"IDX"):
        write_idx(tmp_path / "x", array)
    assert list(tmp_path.iterdir()) == []
