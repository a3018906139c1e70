import io
import os
import struct
import tracemalloc
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitspike import data
from bitspike.data.audio import join_sounds, read_sound
from bitspike.data.catalog import CATALOG, Archive
from bitspike.data.fsdd import fsdd
from bitspike.data.sphere import read_sphere
from bitspike.data.ti46 import ti46_alpha
from bitspike.data.wav import read_wav
from bitspike.errors import DataError

FAST = settings(max_examples=300)
LONG = settings(max_examples=20_000)
SAMPLES = np.array([0, 1, -1, 1000, -32768, 32767], np.int16)


def wav(samples: np.ndarray = SAMPLES, rate: int = 8000, channels: int = 1, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(samples.astype("<i2" if width == 2 else samples.dtype).tobytes())
    return file.getvalue()


def sphere(content: bytes, size: int = 1024, **fields: str | int) -> bytes:
    known: dict[str, str | int] = {
        "channel_count": 1,
        "sample_count": len(content) // 2,
        "sample_n_bytes": 2,
        "sample_rate": 12_500,
        "sample_byte_format": "01",
    } | fields
    lines = [f"{k} {f'-s{len(v)}' if isinstance(v, str) else '-i'} {v}" for k, v in known.items() if v != ""]
    head = "\n".join(["NIST_1A", f"{size:7d}", "database_id -s4 TI46", *lines, "end_head", ""])
    return head.encode().ljust(size) + content


LITTLE = SAMPLES.astype("<i2").tobytes()


def test_wav_reads_what_the_standard_library_writes() -> None:
    for rate in (8000, 12_500, 44_100):
        samples, its_rate = read_wav(wav(rate=rate), "x")
        assert (samples.dtype, its_rate) == (np.int16, rate)
        assert np.array_equal(samples, SAMPLES)
    eight = np.array([0, 127, 128, 129, 255], np.uint8)
    assert read_wav(wav(eight, width=1), "x")[0].tolist() == [-32768, -256, 0, 256, 127 * 256]


def test_wav_passes_over_other_chunks_and_knows_the_extensible_form() -> None:
    plain = wav()
    extra = plain[:12] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + plain[12:]
    assert np.array_equal(read_wav(extra + b"tail", "x")[0], SAMPLES)
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8000, 16_000, 2, 16, 22, 16, 4) + b"\1\0" + bytes(14)
    content = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", len(form)) + form + plain[36:]
    assert np.array_equal(read_wav(content, "x")[0], SAMPLES)


def patched(at: int, values: bytes) -> bytes:
    content = bytearray(wav())
    content[at : at + len(values)] = values
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "WAV header"),
        (b"RIFF\0\0\0\0AVI ", "WAV header"),
        (wav()[:-1], "truncated"),
        (wav()[:40], "no 'data' chunk"),
        (wav()[:12], "no 'data' chunk"),
        (patched(40, b"\xff\xff\xff\xff"), "should hold 4294967295 bytes"),
        (patched(16, b"\xff\xff\xff\x7f"), "truncated"),
        (patched(40, b"\5\0\0\0"), "5 bytes of samples of 2 bytes"),
        (patched(40, b"\0\0\0\0"), "0 bytes of samples"),
        (patched(20, b"\7\0"), "WAV coding 7"),
        (patched(20, b"\xfe\xff"), "WAV coding 65534"),
        (patched(34, b"\x18\0"), "of 24 bits"),
        (patched(24, b"\0\0\0\0"), "0 samples per second"),
        (patched(24, b"\xff\xff\xff\xff"), "4294967295 samples per second"),
        (patched(32, b"\4\0"), "blocks of 4"),
        (wav(rate=999), ", 999 samples per second"),
        (wav(channels=2), "2 channels"),
        (wav()[:12] + wav()[36:], "before their format"),
        (wav()[:16] + b"\4\0\0\0" + wav()[20:24] + wav()[36:], "format chunk has 4 bytes"),
    ],
)
def test_wav_refuses(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=f"here: .*{words}"):
        read_wav(content, "here")


def test_sphere_reads_both_byte_orders_one_byte_and_mu_law() -> None:
    for content in (sphere(LITTLE), sphere(SAMPLES.astype(">i2").tobytes(), sample_byte_format="10")):
        samples, rate = read_sphere(content, "x")
        assert (samples.dtype, rate) == (np.int16, 12_500)
        assert np.array_equal(samples, SAMPLES)
    explicit = sphere(LITTLE, size=2048, sample_coding="pcm", sample_checksum=77)
    assert np.array_equal(read_sphere(explicit, "x")[0], SAMPLES)
    one = sphere(b"\x80\0\x7f", sample_n_bytes=1, sample_count=3, sample_byte_format="1")
    assert read_sphere(one, "x")[0].tolist() == [-32768, 0, 127 * 256]
    codes = bytes([0x00, 0x80, 0xFF, 0x7F, 0xFE, 0x7E, 0xEF, 0x10])
    law = sphere(codes, sample_n_bytes=1, sample_count=len(codes), sample_coding="ulaw")
    # ITU-T G.711, table 2a, times 4
    assert read_sphere(law, "x")[0].tolist() == [-32124, 32124, 0, 0, 8, -8, 132, -15996]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "SPHERE header"),
        (b"NIST_1A\n", "header of size"),
        (b"NIST_1A\n   1024\n", "inside its header"),
        (b"NIST_1A\n  99999\n".ljust(100_000), "header of size"),
        (b"NIST_1A\n   -100\n".ljust(2000), "header of size"),
        (b"NIST_1A\n   1024\nsample_rate -i 5\n".ljust(2000), "no end_head"),
        (b"NIST_1A\n   1024\nwhat\nend_head\n".ljust(2000), "is not `name"),
        (b"NIST_1A\n   1024\na -i 5\na -i 5\nend_head\n".ljust(2000), "a twice"),
        (sphere(LITTLE)[:-1], "6 samples of 2 bytes, 11 bytes follow"),
        (sphere(LITTLE) + b"x", "13 bytes follow"),
        (sphere(LITTLE, sample_count=10**11), "truncated"),
        (sphere(LITTLE, sample_count=10**13), "for sample_count"),
        (sphere(LITTLE, sample_count=-6), "b'-6' for sample_count"),
        (sphere(LITTLE, sample_count=0), "b'0' for sample_count"),
        (sphere(LITTLE, sample_count=""), "b'nothing' for sample_count"),
        (sphere(LITTLE, sample_rate=""), "for sample_rate"),
        (sphere(LITTLE, sample_rate=10**9), "1000000000 samples per second"),
        (sphere(LITTLE, sample_rate=1), ", 1 samples per second"),
        (sphere(LITTLE, sample_n_bytes=4), "pcm of 4 bytes"),
        (sphere(LITTLE, sample_coding="ulaw"), "ulaw of 2 bytes"),
        (sphere(LITTLE, sample_byte_format="0123"), "sample_byte_format"),
        (sphere(LITTLE, sample_byte_format=""), "sample_byte_format"),
        (sphere(LITTLE, channel_count=2), "2 channels"),
        (sphere(LITTLE, sample_coding="pcm,embedded-shorten-v2.00"), "sph2pipe -p IN OUT"),
        (sphere(LITTLE, sample_coding="alaw"), "'alaw'"),
    ],
)
def test_sphere_refuses(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=f"here: .*{words}"):
        read_sphere(content, "here")


def test_kind_is_told_by_content_and_rates_must_agree() -> None:
    assert read_sound(wav(), "x")[1] == 8000
    assert read_sound(sphere(LITTLE), "x")[1] == 12_500
    with pytest.raises(DataError, match=r"here: .*neither WAV"):
        read_sound(b"OggS", "here")
    assert len(join_sounds([("a", wav()), ("b", wav())], 8000)) == 2
    with pytest.raises(DataError, match="b: 12500 samples per second, 8000"):
        join_sounds([("a", wav()), ("b", sphere(LITTLE))], 8000)


VALID = (wav(), wav(np.arange(9, dtype=np.uint8), width=1), sphere(LITTLE))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid file with bytes replaced, cut or inserted, mostly in its header; or noise behind a valid start."""
    if draw(st.integers(0, 7)) == 0:
        return draw(st.sampled_from([b"", b"RIFF\0\0\0\0WAVE", b"NIST_1A\n   1024\n"])) + draw(
            st.binary(max_size=99)
        )
    content = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, 200) | st.integers(0, len(content)))
        cut = draw(st.integers(0, 4) | st.just(len(content)))
        content = content[:at] + draw(st.binary(max_size=4)) + content[at + cut :]
    return content


def assert_survives(content: bytes) -> None:
    """Samples that the file can hold, or an error that names it; memory follows the file, not its header."""
    outcome: tuple[np.ndarray, int] | str
    tracemalloc.start()
    try:
        outcome = read_sound(content, "here.wav")
    except DataError as error:
        outcome = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 40 * len(content) + 100_000
    if isinstance(outcome, str):
        assert "here.wav" in outcome
    else:
        assert 0 < outcome[0].nbytes <= 2 * len(content)
        assert 0 < outcome[1] <= 1 << 20


@FAST
@given(content=damaged())
def test_fuzz(content: bytes) -> None:
    assert_survives(content)


@pytest.mark.slow
@LONG
@given(content=damaged())
def test_fuzz_long(content: bytes) -> None:
    assert_survives(content)


def digits(speakers: tuple[str, ...] = ("ann", "bob")) -> dict[str, bytes]:
    return {
        f"recordings/{digit}_{speaker}_{index}.wav": wav(np.array([digit, k, index], np.int16))
        for digit in range(10)
        for k, speaker in enumerate(speakers)
        for index in (0, 4, 5, 10, 49)
    }


def test_fsdd_splits_by_index_or_by_speaker() -> None:
    train, train_labels, test, test_labels = fsdd([("x", digits())])
    assert (len(train), len(test), train.rate) == (60, 40, 8000)
    for part, labels in ((train, train_labels), (test, test_labels)):
        recordings = part.values.reshape(-1, 3)
        assert np.array_equal(recordings[:, 0], labels)
        assert recordings.tolist() == sorted(recordings.tolist())
    assert set(train.values.reshape(-1, 3)[:, 2]) == {5, 10, 49}

    train, train_labels, test, _ = fsdd([("x", digits())], "bob")
    assert (len(train), len(test), len(train_labels)) == (50, 50, 50)
    assert set(train.values.reshape(-1, 3)[:, 1]) == {0}
    assert set(test.values.reshape(-1, 3)[:, 1]) == {1}
    with pytest.raises(DataError, match=r"fsdd:eve: no such speaker; one of ann, bob"):
        fsdd([("x", digits())], "eve")
    with pytest.raises(DataError, match=r"x: 'recordings/seven.wav' is not named like"):
        fsdd([("x", {"recordings/seven.wav": wav()})])
    with pytest.raises(DataError, match=r"x, recordings/7_bob_3.wav: .*truncated"):
        fsdd([("x", digits() | {"recordings/7_bob_3.wav": wav()[:-1]})])


def unpack(folder: Path, members: dict[str, bytes]) -> Path:
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_fsdd_loads_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = CATALOG["fsdd"].files[0]
    assert isinstance(archive, Archive)
    small = replace(CATALOG["fsdd"], files=(replace(archive, n_members=100, content=None),))
    monkeypatch.setitem(CATALOG, "fsdd", small)
    unpack(tmp_path / "fsdd", digits() | {"metadata.py": b"", "recordings/.hidden": b""})
    assert data.load("fsdd", tmp_path).name == "fsdd"
    dataset = data.load("fsdd:ann", tmp_path)
    assert (dataset.name, len(dataset.test_inputs), dataset.shape) == ("fsdd:ann", 50, ())
    assert "ann" in dataset.note
    with pytest.raises(DataError, match="'mnist:ann' is unknown"):
        data.load("mnist:ann", tmp_path)


@pytest.mark.skipif(not os.environ.get("BITSPIKE_DATA"), reason="BITSPIKE_DATA names no folder of data sets")
def test_real_fsdd() -> None:
    if not all(check.path for check in data.verify("fsdd")):
        pytest.skip("fsdd is not in BITSPIKE_DATA")
    assert all(check.ok and "SHA-256" in check.message for check in data.verify("fsdd"))
    dataset = data.load("fsdd", download=False)
    assert np.bincount(dataset.train_labels).tolist() == [270] * 10
    assert np.bincount(dataset.test_labels).tolist() == [30] * 10
    lengths = np.concatenate([np.diff(dataset.train_inputs.offsets), np.diff(dataset.test_inputs.offsets)])
    assert 0.14 < lengths.min() / 8000 < 0.15
    assert 2.28 < lengths.max() / 8000 < 2.29
    apart = data.load("fsdd:theo", download=False)
    assert np.bincount(apart.test_labels).tolist() == [50] * 10
    assert len(apart.train_inputs) == 2500


def letters(up: bool) -> dict[str, bytes]:
    names = [
        f"ti_alpha/{side}/{speaker}/0{letter}{speaker}{take}.wav"
        for speaker in ("f1", "m8")
        for letter in "abz"
        for side, take in (("train", "set0"), ("train", "set9"), ("test", "s1t0"), ("test", "s8t1"))
    ]
    if up:
        names = [f"ti_alpha/{name[9:].upper()}" for name in names]
    return {name: sphere(np.array([ord(name.lower().split("/")[3][1])], "<i2").tobytes()) for name in names}


@pytest.mark.parametrize("up", [False, True])
def test_ti46_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, up: bool) -> None:
    archive = CATALOG["ti46-alpha"].files[0]
    assert isinstance(archive, Archive)
    small = replace(CATALOG["ti46-alpha"], files=(replace(archive, n_members=24),))
    monkeypatch.setitem(CATALOG, "ti46-alpha", small)
    unpack(tmp_path / "ti46", letters(up) | {"ti_alpha/readme.txt": b""})
    dataset = data.load("ti46-alpha", tmp_path)
    assert (len(dataset.train_inputs), len(dataset.test_inputs), dataset.train_inputs.rate) == (
        12,
        12,
        12_500,
    )
    assert dataset.n_classes == 26
    for inputs, labels in (
        (dataset.train_inputs, dataset.train_labels),
        (dataset.test_inputs, dataset.test_labels),
    ):
        assert np.array_equal(inputs.values - ord("a"), labels)


def test_ti46_refuses_and_says_which_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BITSPIKE_DATA", raising=False)
    with pytest.raises(DataError, match=r"(?s)ti_alpha/\) is not there.*ti46.*LDC93S9"):
        data.load("ti46-alpha", tmp_path, download=False)
    for name in (
        "ti_alpha/train/f1/00f1set0.wav",  # a digit
        "ti_alpha/train/f2/0af1set0.wav",  # another speaker's folder
        "ti_alpha/train/f9/0af9set0.wav",
        "ti_alpha/train/f1/0af1set0.wav.wav",
    ):
        with pytest.raises(DataError, match="is not named like"):
            ti46_alpha([("x", {name: sphere(LITTLE)})])
    with pytest.raises(DataError, match=r"x, ti_alpha/test/f1/0bf1s1t0.wav: .*shorten"):
        ti46_alpha(
            [
                (
                    "x",
                    {
                        "ti_alpha/test/f1/0bf1s1t0.wav": sphere(
                            LITTLE, sample_coding="pcm,embedded-shorten-v1.09"
                        )
                    },
                )
            ]
        )
