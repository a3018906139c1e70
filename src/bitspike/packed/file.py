"""The file `model.bitspike`: a safetensors file, described byte by byte in docs/format.md."""

from __future__ import annotations

from pathlib import Path

from bitspike.errors import DataError, FormatError
from bitspike.files import read_bytes, write_atomically
from bitspike.packed.base import Known
from bitspike.packed.contents import Contents
from bitspike.packed.kinds import KNOWN

MAX_FILE = 1 << 31


def encode(contents: Contents) -> bytes:
    """The bytes of the model file; equal contents give equal bytes."""
    return contents.to_bytes()


def decode(data: bytes, known: Known = KNOWN) -> Contents:
    """Read the bytes of a model file; whatever breaks the format raises `FormatError` and says what."""
    return Contents.from_bytes(data, known)


def write(contents: Contents, path: Path | str) -> int:
    """Write a model file, whole or not at all (`files.write_atomically`); returns its size in bytes."""
    data = encode(contents)
    write_atomically(path, data)
    return len(data)


def read(path: Path | str, known: Known = KNOWN) -> Contents:
    """Read a model file; a missing or damaged one raises `FormatError` naming the file."""
    try:
        data = read_bytes(path, MAX_FILE)
    except DataError as error:
        raise FormatError(str(error)) from error
    try:
        return decode(data, known)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
