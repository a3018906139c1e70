import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from bitspike.data.idx import write_idx
from bitspike.data.images import read_inputs
from bitspike.errors import DataError, UsageError

SHAPE = (4, 6)
COLOUR = (*SHAPE, 3)
PICTURE = np.arange(24, dtype=np.uint8).reshape(SHAPE) * 10
PAINTING = np.random.default_rng(5).integers(0, 256, COLOUR, np.uint8)
FAST = settings(max_examples=200)
LONG = settings(FAST, max_examples=20_000)


def png(image: Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", **options)
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def read(tmp_path: Path, content: bytes, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    path = tmp_path / "x"
    path.write_bytes(content)
    return read_inputs(path, shape)


def test_png_grey(tmp_path: Path) -> None:
    images = read(tmp_path, png(Image.fromarray(PICTURE)))
    assert images.dtype == np.uint8
    assert np.array_equal(images, PICTURE[None])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_png_of_other_modes(tmp_path: Path, mode: str) -> None:
    images = read(tmp_path, png(Image.fromarray(PICTURE).convert(mode)))
    assert np.array_equal(images, PICTURE[None])


def test_png_one_bit_and_sixteen_bit(tmp_path: Path) -> None:
    assert np.array_equal(read(tmp_path, png(Image.fromarray(PICTURE > 99))), (PICTURE > 99)[None] * 255)
    deep = PICTURE.astype(np.uint16) * 256 + 77
    assert np.array_equal(read(tmp_path, png(Image.fromarray(deep))), PICTURE[None])


def test_png_transparent_parts_are_black(tmp_path: Path) -> None:
    image = Image.fromarray(np.full(SHAPE, 255, np.uint8)).convert("RGBA")
    image.putpixel((1, 2), (255, 255, 255, 0))
    images = read(tmp_path, png(image))
    assert images[0, 2, 1] == 0
    assert images.sum() == 255 * 23
    palette = Image.fromarray(PICTURE).convert("P")
    images = read(tmp_path, png(palette, transparency=int(palette.getpixel((5, 3)))))  # type: ignore[call-overload]
    assert images[0, 3, 5] == 0


def test_png_in_colour(tmp_path: Path) -> None:
    image = Image.fromarray(PAINTING)
    assert np.array_equal(read(tmp_path, png(image), COLOUR), PAINTING[None])
    for shape in (SHAPE, (*SHAPE, 1)):  # one channel: grey
        assert np.array_equal(
            read(tmp_path, png(image), shape), np.array(image.convert("L")).reshape(1, *shape)
        )
    image.putalpha(Image.fromarray(np.uint8(PICTURE > 99) * 255))
    assert np.array_equal(read(tmp_path, png(image), COLOUR)[0], PAINTING * (PICTURE > 99)[:, :, None])
    palette = Image.fromarray(PAINTING).quantize(4)
    assert np.array_equal(read(tmp_path, png(palette), COLOUR)[0], np.array(palette.convert("RGB")))
    dark = int(palette.getpixel((5, 3)))  # type: ignore[call-overload]
    assert read(tmp_path, png(palette, transparency=dark), COLOUR)[0, 3, 5].tolist() == [0, 0, 0]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA"])
def test_png_of_grey_has_three_equal_channels(tmp_path: Path, mode: str) -> None:
    images = read(tmp_path, png(Image.fromarray(PICTURE).convert(mode)), COLOUR)
    assert np.array_equal(images, np.stack([PICTURE] * 3, axis=2)[None])


def test_png_of_sixteen_bits_in_colour(tmp_path: Path) -> None:
    deep = Image.fromarray(PICTURE.astype(np.uint16) * 256 + 77)
    assert np.array_equal(read(tmp_path, png(deep), COLOUR)[0], np.stack([PICTURE] * 3, axis=2))


def test_shape_of_features_reads_rows(tmp_path: Path) -> None:
    rows = np.arange(10, dtype=np.uint8).reshape(2, 5)
    assert np.array_equal(read(tmp_path, npy(rows), (5,)), rows)
    assert np.array_equal(read(tmp_path, png(Image.fromarray(rows[:1])), (5,)), rows[:1])
    with pytest.raises(DataError, match=r"\(n, 1, 6\)"):
        read(tmp_path, npy(rows), (6,))
    for shape in ((), (0, 3), (2, 3, 4, 5)):
        with pytest.raises(UsageError, match="not that of an image"):
            read(tmp_path, npy(rows), shape)


@pytest.mark.parametrize("shape", [COLOUR, (2, *COLOUR), (2, 72), (1, 72)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_in_colour(tmp_path: Path, shape: tuple[int, ...], order: Any) -> None:
    values = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    images = read(tmp_path, npy(np.asarray(values, order=order)), COLOUR)
    assert np.array_equal(images, values.reshape(-1, *COLOUR))
    assert images.flags.c_contiguous
    assert np.array_equal(read(tmp_path, npy(np.asarray(values / 255, order=order)), COLOUR), images)
    write_idx(tmp_path / "i", values)
    assert np.array_equal(read_inputs(tmp_path / "i", COLOUR), images)


def test_a_single_channel_may_be_left_out(tmp_path: Path) -> None:
    for size in (SHAPE, (3, *SHAPE), (*SHAPE, 1), (3, *SHAPE, 1), (3, 24)):
        values = np.random.default_rng(2).integers(0, 256, size, np.uint8)
        for shape in (SHAPE, (*SHAPE, 1)):
            assert np.array_equal(read(tmp_path, npy(values), shape), values.reshape(-1, *shape))


@pytest.mark.parametrize(
    ("size", "shape", "words"),
    [
        (COLOUR, SHAPE, "average the channels"),
        ((2, *COLOUR), (*SHAPE, 1), "average the channels"),
        ((2, 3, *SHAPE), SHAPE, "average the channels"),
        ((3, *SHAPE), COLOUR, r"takes \(n, 4, 6, 3\); move the channels to the end"),
        ((2, 3, *SHAPE), COLOUR, "move the channels to the end"),
        (SHAPE, COLOUR, "repeat the grey channel"),
        ((5, *SHAPE), COLOUR, "repeat the grey channel"),
        ((2, *SHAPE, 4), COLOUR, "need 3 channels"),
        ((2, 4, 7, 3), COLOUR, r"takes \(n, 4, 6, 3\)$"),
    ],
)
def test_another_number_of_channels_is_refused_with_the_mend(
    tmp_path: Path, size: tuple[int, ...], shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        read(tmp_path, npy(np.zeros(size, np.uint8)), shape)


def test_png_has_no_other_number_of_channels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"takes 4; give an NPY array \(n, 4, 6, 4\)"):
        read(tmp_path, png(Image.fromarray(PAINTING)), (*SHAPE, 4))
    with pytest.raises(DataError, match="4 x 6 pixels, the model takes 4 x 7; resize"):
        read(tmp_path, png(Image.fromarray(PAINTING)), (4, 7, 3))


@pytest.mark.parametrize("shape", [SHAPE, (3, *SHAPE), (3, 24), (1, 24)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(tmp_path: Path, shape: tuple[int, ...], order: Any) -> None:
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    images = read(tmp_path, npy(np.asarray(values, order=order)))
    assert np.array_equal(images, values.reshape(-1, *SHAPE))
    assert images.flags.c_contiguous
    for kind in ("<f2", ">f4", "<f8"):
        floats = np.asarray((values / 255).astype(kind), order=order)
        assert np.array_equal(read(tmp_path, npy(floats)), images)


def test_npy_versions(tmp_path: Path) -> None:
    out = io.BytesIO()
    for version in ((1, 0), (2, 0), (3, 0)):
        out.seek(0)
        np.lib.format.write_array(out, PICTURE, version=version)
        assert np.array_equal(read(tmp_path, out.getvalue()), PICTURE[None])


@pytest.mark.parametrize("name", ["x", "x.gz"])
def test_idx(tmp_path: Path, name: str) -> None:
    write_idx(tmp_path / name, np.stack([PICTURE, PICTURE]))
    assert np.array_equal(read_inputs(tmp_path / name, SHAPE), np.stack([PICTURE, PICTURE]))
    write_idx(tmp_path / name, PICTURE.astype(np.int32))
    with pytest.raises(DataError, match="int32"):
        read_inputs(tmp_path / name, SHAPE)


def header(text: str) -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode("latin1")


def claim(shape: str, descr: str = "'|u1'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "neither PNG"),
        (b"GIF89a..", "neither PNG"),
        (npy(np.zeros((4, 5), np.uint8)), "model takes"),
        (npy(np.zeros((2, 3, *SHAPE), np.uint8)), "model takes"),
        (npy(np.zeros((0, *SHAPE), np.uint8)), "shape"),
        (npy(np.zeros(SHAPE, np.int64)), "uint8"),
        (npy(np.zeros(SHAPE, np.complex64)), "uint8"),
        (npy(np.full(SHAPE, np.nan)), "image 0 holds NaN"),
        (npy(np.stack([np.zeros(SHAPE), np.full(SHAPE, 1.01)])), "image 1 holds"),
        (npy(np.full(SHAPE, -1e-9)), "outside"),
        (npy(np.full(SHAPE, np.inf)), "outside"),
        (npy(PICTURE)[:-1], "cut off"),
        (npy(PICTURE) + b"x", "cut off or its header"),
        (npy(PICTURE)[:40], "cut off"),
        (b"\x93NUMPY", "version"),
        (b"\x93NUMPY\4\0" + bytes(30), "version"),
        (b"\x93NUMPY\2\0\xff\xff\xff\xff" + bytes(30), "too long"),
        (header("") + bytes(24), "header"),
        (header("junk") + bytes(24), "not a plain array"),
        (header(claim("(4, 6)", "'|O'")) + bytes(24), "not a plain array"),
        (header(claim("(4, 6)", "[('a', '|u1')]")) + bytes(24), "not a plain array"),
        (header(claim("(4, -6)")) + bytes(24), "shape"),
        (header(claim("(" + "1, " * 20 + ")")) + b"a", "shape"),
        (header(claim("(99999999999999, 4, 6)")) + bytes(24), "header says"),
        (header(claim("(" + "9" * 5000 + ", 4, 6)")) + bytes(24), "header says"),
        (png(Image.fromarray(PICTURE.T.copy())), "6 x 4 pixels"),
        (png(Image.fromarray(PICTURE))[:-20], "damaged PNG"),
        (png(Image.fromarray(PICTURE))[:30], "damaged PNG"),
        (b"\x89PNG\r\n\x1a\n", "damaged PNG"),
        (b"\0\0\x08\2", "inside its header"),
    ],
)
def test_refuses(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read(tmp_path, content)
    assert str(tmp_path / "x") in str(caught.value)


def test_refuses_pickled_objects_and_absent_files(tmp_path: Path) -> None:
    np.save(tmp_path / "o.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(DataError, match="not a plain array"):
        read_inputs(tmp_path / "o.npy", SHAPE)
    with pytest.raises(DataError, match="cannot be read"):
        read_inputs(tmp_path / "absent.png", SHAPE)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@pytest.mark.parametrize("side", [7000, 10_000, 30_000, 2**31 - 1])
def test_png_bombs_cost_no_memory(tmp_path: Path, side: int) -> None:
    pixels = zlib.compress(bytes(10_000_000))
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    with pytest.raises(DataError, match=r"pixels|damaged"):
        bounded(tmp_path, content + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100_000_000)))  # a bomb in a comment
    small = png(Image.fromarray(PICTURE))
    with pytest.raises(DataError, match="damaged"):
        bounded(tmp_path, small[:33] + text + small[33:])


def test_png_that_is_too_long_or_lies_about_a_chunk(tmp_path: Path) -> None:
    good = png(Image.fromarray(PICTURE))
    with pytest.raises(DataError, match="damaged"):
        bounded(tmp_path, good[:33] + b"\x7f\xff\xff\xff" + good[37:])
    with pytest.raises(DataError, match="limit"):
        bounded(tmp_path, good + bytes(16 << 20))


def bounded(tmp_path: Path, content: bytes, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Read, holding little memory."""
    Image.preinit()
    tracemalloc.start()
    try:
        return read(tmp_path, content, shape)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3_000_000


def mutated(valid: bytes) -> st.SearchStrategy[bytes]:
    """Damaged files: bytes replaced, cut, inserted or appended."""
    edit = st.tuples(st.integers(0, len(valid)), st.integers(0, 4), st.binary(max_size=4))

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        content = valid
        for start, length, new in edits:
            content = content[:start] + new + content[start + length :]
        return content

    return st.lists(edit, min_size=1, max_size=4).map(apply)


CLAIMS = st.builds(
    lambda shape, descr, body: header(claim(str(shape), repr(descr))) + body,
    st.lists(st.integers(-2, 6) | st.integers(0, 2**70), max_size=4).map(tuple),
    st.sampled_from(["|u1", "<f4", "<f8", ">f2", "|O", "<i8"]),
    st.binary(max_size=200),
)
ARRAYS = hnp.arrays(
    st.sampled_from(["u1", "<f4", "<f8", ">f2"]),
    st.sampled_from([SHAPE, (2, *SHAPE), (1, 24), COLOUR, (2, *COLOUR), (1, 72)]),
)
CHUNKS = st.builds(
    lambda ihdr, chunks: b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + b"".join(chunk(*c) for c in chunks),
    st.builds(
        lambda *fields: struct.pack(">IIBBBBB", *fields),
        st.sampled_from([6, 6, 0, 2**31]), st.sampled_from([4, 4, 1, 2**20]),
        st.sampled_from([1, 2, 4, 8, 16, 3]), st.integers(0, 7),
        st.integers(0, 1), st.integers(0, 1), st.integers(0, 2),
    ),
    st.lists(
        st.tuples(
            st.sampled_from(b"IDAT PLTE tRNS gAMA tEXt zTXt iTXt iCCP fdAT acTL fcTL".split()),
            st.binary(max_size=40) | st.binary(max_size=100).map(zlib.compress),
        ),
        max_size=5,
    ),
)  # fmt: skip
PNGS = mutated(png(Image.fromarray(PICTURE))) | mutated(png(Image.fromarray(PICTURE).convert("P"))) | CHUNKS
PNGS |= mutated(png(Image.fromarray(PAINTING)))
NPYS = mutated(npy(PICTURE)) | mutated(npy(PICTURE / 255.0)) | CLAIMS | ARRAYS.map(npy)
NPYS |= mutated(npy(PAINTING))


def assert_survives(tmp_path: Path, content: bytes, shape: tuple[int, ...]) -> None:
    """Reading gives images of the right shape or a DataError that names the file."""
    outcome: np.ndarray | str
    try:
        outcome = bounded(tmp_path, content, shape)
    except DataError as error:
        outcome = str(error)
    if isinstance(outcome, str):
        assert str(tmp_path / "x") in outcome
    else:
        assert outcome.dtype == np.uint8
        assert outcome.shape[1:] == shape
        assert len(outcome) > 0


@FAST
@given(content=PNGS, shape=st.sampled_from([SHAPE, COLOUR]))
def test_fuzz_png(tmp_path: Path, content: bytes, shape: tuple[int, ...]) -> None:
    assert_survives(tmp_path, content, shape)


@FAST
@given(content=NPYS, shape=st.sampled_from([SHAPE, COLOUR]))
def test_fuzz_npy(tmp_path: Path, content: bytes, shape: tuple[int, ...]) -> None:
    assert_survives(tmp_path, content, shape)


@pytest.mark.slow
@LONG
@given(content=PNGS, shape=st.sampled_from([SHAPE, COLOUR]))
def test_fuzz_png_long(tmp_path: Path, content: bytes, shape: tuple[int, ...]) -> None:
    assert_survives(tmp_path, content, shape)


@pytest.mark.slow
@LONG
@given(content=NPYS, shape=st.sampled_from([SHAPE, COLOUR]))
def test_fuzz_npy_long(tmp_path: Path, content: bytes, shape: tuple[int, ...]) -> None:
    assert_survives(tmp_path, content, shape)
