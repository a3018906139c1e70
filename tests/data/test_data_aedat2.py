from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitspike import data
from bitspike.cli.predict import _read
from bitspike.data import files
from bitspike.data.aedat2 import cropped, decode_aedat, encode_aedat, mnist_dvs, read_aedat
from bitspike.data.catalog import CATALOG
from bitspike.data.recordings import EVENT
from bitspike.errors import DataError

HEADER = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n# Timestamps tick is 1 us\r\n"
EVENTS = np.array([(0, 0, 0, True), (5, 127, 2, False), (5, 3, 127, True), (70_000, 60, 61, False)], EVENT)


def event(t: int, x: int = 3, y: int = 4, polarity: int = 1) -> bytes:
    """Bits as the camera sends them."""
    return (y << 8 | x << 1 | polarity).to_bytes(4, "big") + (t % 2**32).to_bytes(4, "big")


def test_eight_bytes_per_event(tmp_path: Path) -> None:
    raw = bytes.fromhex("000000fe 000003e8  00000201 000003ed  00007ff8 000003ed  00003d87 00011558")
    assert np.array_equal(decode_aedat(HEADER + raw, "here"), EVENTS)
    shifted = encode_aedat(EVENTS)
    assert shifted.startswith(b"#!AER-DAT2.0\r\n")
    assert np.array_equal(decode_aedat(shifted, "here"), EVENTS)
    (tmp_path / "one.aedat").write_bytes(b"#!AER-DAT2.0\n" + raw)
    assert np.array_equal(read_aedat(tmp_path / "one.aedat"), EVENTS)
    with pytest.raises(DataError, match="cannot be read"):
        read_aedat(tmp_path / "two.aedat")


def test_stamps_wrap_around() -> None:
    for start in (2**31 - 3, 2**32 - 3):
        found = decode_aedat(HEADER + b"".join(event(start + k) for k in (0, 2, 4, 100_000)), "here")
        assert found["t"].tolist() == [0, 2, 4, 100_000]


def test_a_little_disorder_is_sorted() -> None:
    found = decode_aedat(HEADER + event(500, 1) + event(490, 2) + event(500, 3) + event(700, 4), "here")
    assert found["t"].tolist() == [0, 10, 10, 210]
    assert found["x"].tolist() == [125, 126, 124, 123]


def test_plug_events_are_left_out() -> None:
    plug = (1 << 15).to_bytes(4, "big") + (40).to_bytes(4, "big")
    found = decode_aedat(HEADER + plug + event(50) + plug + event(60), "here")
    assert found["t"].tolist() == [0, 10]
    with pytest.raises(DataError, match="1 events of the plug"):
        decode_aedat(HEADER + plug, "here")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "starts with b''"),
        (event(0), "not with #!AER-DAT2.0"),
        (b"#!AER-DAT3.1\r\n" + event(0), "AER-DAT3.1"),
        (b"#!AER-DAT2.01\r\n" + event(0), "AER-DAT2.01"),
        (b"# no version\r\n" + event(0), "no version"),
        (HEADER[:-2], "ends inside its header"),
        (b"#!AER-DAT2.0", "ends inside its header"),
        (HEADER, "0 bytes after the header"),
        (HEADER + event(0)[:-1], "7 bytes after the header"),
        (HEADER + event(0) + b"\0", "9 bytes after the header"),
        (HEADER + event(0) + b"\0\1" + event(0)[2:], "event 1 has the address 0x10"),
        (HEADER + event(20_000) + event(20_001) + event(10_001), "event 2 is 10000 us before"),
        (HEADER + event(0) + event(2**31 - 1) + event(2**31), "lasts 2147 s"),
    ],
)
def test_refuses_damage(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=f"^here: .*{words}"):
        decode_aedat(content, "here")


@pytest.mark.parametrize("address", [(128, 0), (0, 128), (-1, 0), (0, -1)])
def test_writes_only_what_can_be_read(address: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="event 0 is at"):
        encode_aedat(np.array([(0, *address, True)], EVENT))


def test_cropped() -> None:
    events = np.array(
        [
            (0, 47, 50, 1),
            (7, 48, 50, 1),
            (8, 73, 73, 0),
            (9, 50, 74, 1),
            (2_000_006, 60, 48, 1),
            (2_000_007, 60, 60, 1),
        ],
        EVENT,
    )
    assert cropped(events).tolist() == [(0, 0, 2, True), (1, 25, 25, False), (1_999_999, 12, 0, True)]
    assert events["t"][1] == 7  # the recording itself is left alone
    assert len(cropped(events[:1])) == 0


def members(digit: int, numbers: tuple[int, ...]) -> dict[str, bytes]:
    return {
        f"grabbed_data{digit}/scale4/mnist_{digit}_scale04_{number:04d}.aedat": HEADER
        + event(10, 127 - 50 - digit, 60) + event(number + 10, 70, 70)
        for number in numbers
    }  # fmt: skip


def test_mnist_dvs() -> None:
    train, labels, test, test_labels = mnist_dvs(
        [("one", members(3, (901, 900, 1))), ("two", members(7, (1000, 5)))]
    )
    assert labels.tolist() == [3, 3, 7]
    assert test_labels.tolist() == [3, 7]
    assert train.sensor == test.sensor == (26, 26)
    assert train.values["t"].tolist() == [0, 1, 0, 900, 0, 5]
    assert train.values[:2][["x", "y", "p"]].tolist() == [(5, 12, False), (9, 22, False)]
    assert test.offsets.tolist() == [0, 2, 4]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("grabbed_data3/scale4/mnist_4_scale04_0001.aedat", "is not named like"),
        ("grabbed_data3/scale8/mnist_3_scale08_0001.aedat", "is not named like"),
        ("grabbed_data3/scale4/mnist_3_scale04_0000.aedat", "is not named like"),
        ("grabbed_data3/scale4/mnist_3_scale04_1001.aedat", "is not named like"),
        ("grabbed_data3/scale4/mnist_3_scale04_0002.aedat", r"_0002\.aedat: 3 bytes after"),
    ],
)
def test_mnist_dvs_refuses(name: str, words: str) -> None:
    with pytest.raises(DataError, match=f"^here.*{words}"):
        mnist_dvs([("here", {name: HEADER + b"abc"})])


def test_load_from_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "cache", lambda: tmp_path / "cache")
    monkeypatch.delenv("BITSPIKE_DATA", raising=False)
    known = CATALOG["mnist-dvs"]
    assert sum(file.n_members for file in known.files) == 10_000  # type: ignore[union-attr]
    monkeypatch.setitem(
        CATALOG,
        "mnist-dvs",
        replace(known, files=tuple(replace(file, n_members=2) for file in known.files)),  # type: ignore[type-var]
    )
    with pytest.raises(DataError, match=r"(?s)grabbed_data0\.zip.*MNISTDVS\.html") as caught:
        data.load("mnist-dvs", tmp_path)
    assert f"Put it into {tmp_path / 'mnist-dvs'}" in str(caught.value)
    for digit in range(10):
        for name, content in members(digit, (12, 950)).items():
            path = tmp_path / "mnist-dvs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            other = path.parent.parent / "scale8" / path.name.replace("04_", "08_")
            other.parent.mkdir(exist_ok=True)
            other.write_bytes(b"another scale, passed over")
    dataset = data.load("mnist-dvs", tmp_path)
    assert dataset.shape == (2, 26, 26)
    assert dataset.train_labels.tolist() == dataset.test_labels.tolist() == list(range(10))
    assert dataset.train_inputs.values["t"].tolist() == [0, 12] * 10
    assert len(dataset.hashes) == 10
    assert all(check.ok for check in data.verify("mnist-dvs", tmp_path))


@pytest.mark.parametrize(("pixels", "n"), [(128, 2), (26, 1), (34, 0), (28, 0)])
def test_predict_takes_recordings_of_the_models_camera(tmp_path: Path, pixels: int, n: int) -> None:
    """What `bitspike predict` reads for a model of so many pixels."""
    model: Any = SimpleNamespace(network=SimpleNamespace(takes="events"), input_shape=(2, pixels, pixels))
    (tmp_path / "one.aedat").write_bytes(HEADER + event(0, 1, 1) + event(9, 70, 70))
    (tmp_path / "one.bin").write_bytes(bytes([1, 2, 128, 0, 9]))
    if n:
        read = _read(model, tmp_path / "one.aedat")
        assert (read.sensor, len(read.values)) == ((pixels, pixels), n)
    else:
        with pytest.raises(DataError, match=f"128 x 128 pixels, the model needs {pixels} x {pixels}"):
            _read(model, tmp_path / "one.aedat")
    if pixels == 34:
        assert _read(model, tmp_path / "one.bin").values.tolist() == [(9, 1, 2, True)]
    else:
        with pytest.raises(DataError, match="34 x 34 pixels, the model needs"):
            _read(model, tmp_path / "one.bin")


GOOD = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 127), st.integers(0, 127), st.booleans()),
    min_size=1,
    max_size=8,
).map(lambda events: np.array([(0, 1, 2, True), *sorted(events)], EVENT))


@settings(max_examples=200)
@given(events=GOOD, start=st.integers(0, 2**32 - 1))
def test_what_is_written_is_read(events: np.ndarray, start: int) -> None:
    content = encode_aedat(events)
    assert np.array_equal(decode_aedat(content, "here"), events)
    raw = np.frombuffer(content[len(b"#!AER-DAT2.0\r\n") :], ">u4").reshape(-1, 2).copy()
    raw[:, 1] += np.uint32(start)  # modulo 2^32: whenever it was recorded
    assert np.array_equal(decode_aedat(HEADER + raw.tobytes(), "here"), events)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    content = (
        HEADER[: draw(st.sampled_from([len(HEADER)] * 4 + [14, 13, 5, 0]))]
        + draw(GOOD.map(encode_aedat))[14:]
    )
    edit = st.tuples(st.integers(0, len(content)), st.integers(0, 4), st.binary(max_size=9))
    for at, length, new in draw(st.lists(edit, max_size=3)):
        content = content[:at] + new + content[at + length :]
    return content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content


def assert_survives(content: bytes) -> None:
    """A recording that keeps its promises, or a `DataError` that names the file."""
    outcome: Any
    try:
        outcome = decode_aedat(content, "here")
    except DataError as error:
        outcome = str(error)
    if isinstance(outcome, str):
        assert outcome.startswith("here: ")
        return
    assert outcome["t"][0] == 0
    assert (np.diff(outcome["t"]) >= 0).all()
    for axis in "xy":
        assert (outcome[axis] >= 0).all()
        assert (outcome[axis] < 128).all()
    part = cropped(outcome)
    assert (part["t"] < 2_000_000).all()
    assert ((part["x"] >= 0) & (part["x"] < 26) & (part["y"] >= 0) & (part["y"] < 26)).all()


@settings(max_examples=500)
@given(content=damaged() | st.binary(max_size=60))
def test_fuzz(content: bytes) -> None:
    assert_survives(content)


@pytest.mark.slow
@settings(max_examples=20_000)
@given(content=damaged() | st.binary(max_size=60))
def test_fuzz_long(content: bytes) -> None:
    assert_survives(content)
