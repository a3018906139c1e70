"""IDX, the file format of MNIST: read (gzip or not) without trusting the header, and written.

Layout: bytes 00 00, a type byte, a byte ndim, ndim sizes (int32), then the values in C order; all big-endian.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitspike.errors import DataError
from bitspike.files import write_atomically

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_DIMENSIONS = 8
DEFLATE_RATIO = 1032  # no deflate stream expands further, so a gzip file bounds the size its header may claim


def read_idx(path: str | Path, limit: int = 2**31) -> NDArray[Any]:
    """The array of an IDX file, native byte order; its first bytes, not its name, tell whether it is gzip.

    Refused with `DataError`: a file that is missing, truncated, longer than its header says, of unknown type,
    with sizes below 1, of more than `limit` bytes, or with NaN or infinity. Nothing is allocated before the
    sizes are plausible.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            size = os.fstat(raw.fileno()).st_size
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not zipped:
                return _read(raw, path, limit, at_most=size, exact=True)
            with gzip.GzipFile(fileobj=raw) as stream:
                return _read(stream, path, limit, at_most=size * DEFLATE_RATIO, exact=False)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check the path") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip data ({error}); fetch the file again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read(stream: io.BufferedIOBase, path: Path, limit: int, at_most: int, exact: bool) -> NDArray[Any]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(f"{path}: starts with {magic.hex(' ')!r}, not with an IDX header (00 00 type ndim)")
    kind, ndim = magic[2], magic[3]
    if kind not in TYPES:
        raise DataError(f"{path}: IDX type 0x{kind:02x} is unknown; one of {[f'0x{t:02x}' for t in TYPES]}")
    if not 1 <= ndim <= MAX_DIMENSIONS:
        raise DataError(f"{path}: header says {ndim} dimensions; 1 to {MAX_DIMENSIONS} are read")
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise DataError(f"{path}: ends inside its header; fetch the file again")
    shape = struct.unpack(f">{ndim}i", sizes)
    if min(shape) < 1:
        raise DataError(f"{path}: header says shape {shape}; every size must be at least 1")
    dtype = np.dtype(TYPES[kind])
    n_bytes = math.prod(shape) * dtype.itemsize
    total = 4 + 4 * ndim + n_bytes
    if total > at_most:
        raise DataError(
            f"{path}: header says shape {shape}, {total} bytes in all, but at most {at_most} are there; it "
            "is truncated or its header is wrong, fetch it again"
        )
    if exact and total < at_most:
        raise DataError(
            f"{path}: {at_most - total} bytes follow the {total} that its header {shape} announces"
        )
    if n_bytes > limit:
        raise DataError(f"{path}: header says shape {shape}, {n_bytes} bytes; the limit is {limit}")
    values = np.empty(n_bytes, np.uint8)
    view, filled = values.data, 0
    while filled < n_bytes:
        got = stream.readinto(view[filled : filled + (1 << 20)])
        if not got:
            raise DataError(f"{path}: ends after {filled} of {n_bytes} values' bytes; fetch the file again")
        filled += got
    if stream.read(1):  # reaching the end also checks the CRC of gzip
        raise DataError(f"{path}: more bytes follow the {total} that its header {shape} announces")
    array = values.view(dtype).reshape(shape)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{path}: holds NaN or infinity")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _header(array: NDArray[Any]) -> tuple[bytes, np.dtype[Any]]:
    codes = {np.dtype(name).newbyteorder("="): code for code, name in TYPES.items()}
    code = codes.get(array.dtype.newbyteorder("="))
    if code is None:
        raise DataError(f"IDX holds {[str(d) for d in codes]}, not {array.dtype}; convert the array first")
    if not 1 <= array.ndim <= MAX_DIMENSIONS or array.size == 0 or max(array.shape) >= 2**31:
        raise DataError(
            f"shape {array.shape} does not fit IDX: 1 to {MAX_DIMENSIONS} sizes, each 1 to 2^31 - 1"
        )
    return struct.pack(f">BBBB{array.ndim}i", 0, 0, code, array.ndim, *array.shape), np.dtype(TYPES[code])


def write_idx(path: str | Path, array: NDArray[Any]) -> None:
    """Write an array as IDX, gzip if the name ends in `.gz`, whole or not at all; equal arrays give equal bytes.

    A full disk or a read-only folder raises `BitspikeError`.
    """
    path = Path(path)
    header, dtype = _header(array)
    content = header + array.astype(dtype).tobytes()
    if path.suffix == ".gz":
        content = gzip.compress(content, 9, mtime=0)
    write_atomically(path, content)


def idx_sha256(array: NDArray[Any]) -> str:
    """SHA-256 of the uncompressed IDX file that holds this array: of the content, however it was packed."""
    header, dtype = _header(array)
    digest = hashlib.sha256(header)
    digest.update(np.ascontiguousarray(array, dtype).data)
    return digest.hexdigest()
