"""Pictures to classify, from PNG, NPY or IDX files, checked before they are believed."""

from __future__ import annotations

import io
import math
import os
import re
import struct
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bitspike.data.idx import read_idx
from bitspike.errors import DataError, UsageError

Images = NDArray[np.uint8]
PNG, NPY, GZIP = b"\x89PNG\r\n\x1a\n", b"\x93NUMPY", b"\x1f\x8b"
PNG_LIMIT = 16 << 20  # bytes of a file


def read_inputs(path: str | Path, shape: tuple[int, ...]) -> Images:
    """Images uint8 `(n, *shape)` from one file, whose first bytes tell the format; `shape` is that of a model's input.

    `shape` is (height, width), (height, width, channels), or (features,), which is read as (1, features).

    PNG: one image. For one channel colours become grey (ITU-R 601), for three (RGB) grey is repeated; transparent parts
    become black either way, and other numbers of channels are refused. NPY or IDX (gzip or not): `shape`, `(n, *shape)`
    or `(n, values of an image)` of uint8; NPY also of floats in [0, 1], which become round(255 x). A single channel may
    be left out of an array or be there. Everything else, another size or number of channels, NaN or damage raises
    `DataError`.
    """
    path, shape = Path(path), tuple(shape)
    if not 1 <= len(shape) <= 3 or min(shape) < 1:
        raise UsageError(
            f"shape {shape} is not that of an image; give (height, width) or (height, width, channels)"
        )
    if len(shape) == 1:
        return read_inputs(path, (1, *shape)).reshape(-1, *shape)
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    if start == PNG:
        return _png(path, shape)
    if start.startswith(NPY):
        return _fit(_npy(path), shape, path)
    if start.startswith((GZIP, b"\0\0")):
        return _fit(read_idx(path), shape, path)
    raise DataError(f"{path}: neither PNG nor NPY nor IDX; convert it to one of them")


def _png(path: Path, shape: tuple[int, ...]) -> Images:
    from PIL import Image

    channels = math.prod(shape[2:])
    if channels not in (1, 3):
        raise DataError(
            f"{path}: a PNG is read as 1 or 3 channels, grey or RGB, but the model takes {channels}; give an NPY "
            f"array (n, {', '.join(map(str, shape))})"
        )
    size = path.stat().st_size
    if size > PNG_LIMIT:
        raise DataError(
            f"{path}: a PNG of {size} bytes, the limit is {PNG_LIMIT}; resize it to {shape[0]} x {shape[1]}"
        )
    content = io.BytesIO(path.read_bytes())  # from memory, where a chunk's false length cannot ask for more
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(content, formats=["PNG"]) as image:
                height, width = image.height, image.width
                if (height, width) == shape[:2]:  # nothing is decompressed before the size is right
                    image.verify()  # the checksums; it needs the file opened anew
                    content.seek(0)
                    with Image.open(content, formats=["PNG"]) as verified:
                        return _intensities(verified, "L" if channels == 1 else "RGB").reshape(1, *shape)
    except Exception as error:  # Pillow meets damage with many kinds of exception
        raise DataError(f"{path}: a damaged PNG ({error}); save it again") from error
    raise DataError(f"{path}: {height} x {width} pixels, the model takes {shape[0]} x {shape[1]}; resize it")


def _intensities(image: Any, mode: Literal["L", "RGB"]) -> Images:
    """A picture as grey `(h, w)` or RGB `(h, w, 3)`; of 16 bits the upper eight."""
    from PIL import Image

    if image.mode in ("I", "I;16", "I;16B"):
        grey = (np.asarray(image, np.int64) >> 8).astype(np.uint8)
        return grey if mode == "L" else np.stack([grey] * 3, axis=2)
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.array(image.convert(mode))


def _npy(path: Path) -> NDArray[Any]:
    """The array of an NPY file, read with the header's claims held against the file's size first."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        version = file.read(8)[6:]
        width = 2 if version[:1] == b"\1" else 4
        field = file.read(width)
        if version not in (b"\1\0", b"\2\0", b"\3\0") or len(field) < width:
            raise DataError(f"{path}: NPY version {version.hex('.')} is unknown or the header is cut off")
        length = struct.unpack("<H" if width == 2 else "<I", field)[0]
        header = file.read(length) if length <= 10_000 else b""
        if len(header) < max(length, 1):
            raise DataError(
                f"{path}: NPY header of {length} bytes is cut off or too long; save the array again"
            )
        dtype, shape, order = _npy_header(header, path)
        expected = math.prod(shape) * dtype.itemsize
        if expected != size - file.tell():
            raise DataError(
                f"{path}: header says {dtype} {shape}, {expected} bytes, but {size - file.tell()} follow; "
                "the file is cut off or its header is wrong, save the array again"
            )
        return np.frombuffer(file.read(expected), dtype).reshape(shape, order=order)


def _npy_header(header: bytes, path: Path) -> tuple[np.dtype[Any], tuple[int, ...], Any]:
    text = header.decode("latin1")
    found = [
        re.search(rf"'{key}':\s*{value}", text)
        for key, value in (
            ("descr", "'([^']{1,8})'"),
            ("shape", r"\(([\d,\s]*)\)"),
            ("fortran_order", "(True|False)"),
        )
    ]
    name, sizes, fortran = (match.group(1) if match else "" for match in found)
    if name not in ("|u1", "<f2", "<f4", "<f8", ">f2", ">f4", ">f8"):
        raise DataError(
            f"{path}: not a plain array of uint8 (0 to 255) or floats in [0, 1]; save it as one of them"
        )
    shape = tuple(int(n[:18]) for n in re.findall(r"\d+", sizes))
    if not fortran or not 1 <= len(shape) <= 8 or min(shape) < 1:
        raise DataError(
            f"{path}: NPY header says shape ({sizes[:80]}); give (n, h, w) or (n, h, w, channels)"
        )
    return np.dtype(name), shape, "F" if fortran == "True" else "C"


def _fit(array: NDArray[Any], shape: tuple[int, ...], path: Path) -> Images:
    """An array as images `(n, *shape)` of uint8."""
    one_channel = math.prod(shape[2:]) == 1
    alike = (shape, shape[:2], (*shape[:2], 1)) if one_channel else (shape,)
    is_rows = array.ndim == 2 and array.shape[1] == math.prod(shape)
    if array.shape not in alike and array.shape[1:] not in alike and not is_rows:
        raise DataError(
            f"{path}: an array of shape {array.shape}; the model takes (n, {', '.join(map(str, shape))})"
            + _mend(array.shape, shape)
        )
    array = array.reshape(-1, *shape)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind != "f":
        raise DataError(f"{path}: {array.dtype} values; save them as uint8 (0 to 255) or as floats in [0, 1]")
    good = (array >= 0) & (array <= 1)  # False for NaN
    if not good.all():
        index = int(np.argmax(~good.reshape(len(array), -1).all(axis=1)))
        raise DataError(
            f"{path}: image {index} holds NaN or values outside [0, 1]; scale the floats to [0, 1]"
        )
    return np.rint(array.astype(np.float64) * 255).astype(np.uint8)


def _mend(given: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """What to do about an array of this shape where only the channels differ; empty elsewhere."""
    size, channels = shape[:2], math.prod(shape[2:])
    in_colour = given[-3:-1] == size or (len(given) == 4 and given[-2:] == size)
    if channels == 1 and in_colour:
        return "; average the channels into one grey channel"
    if channels > 1 and given[-3:] == (channels, *size):
        return "; move the channels to the end"
    if channels > 1 and len(given) < 4 and given[-2:] == size:
        return "; repeat the grey channel along a last axis"
    return f"; its images need {channels} channels" if in_colour else ""
