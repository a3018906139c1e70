"""Files that are written whole or not at all, and read as what a stranger may have made; needs no torch."""

from __future__ import annotations

import json
import math
import os
import secrets
import stat
from pathlib import Path
from typing import Any

from bitspike.errors import BitspikeError, DataError

MAX_TEXT = 1 << 26  # bytes of a JSON file
MAX_DEPTH = 64  # of lists and objects within each other
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
for _flag in ("O_NOFOLLOW", "O_BINARY"):  # each exists on some systems only
    _NEW |= vars(os).get(_flag, 0)
_AT_ONCE: int = vars(os).get("O_NONBLOCK", 0)
_BLOCK = 1 << 24  # bytes read at a time, so that memory goes with the file's true size


def write_atomically(path: Path | str, data: bytes) -> None:
    """Write beside `path`, fsync, rename over it, fsync the folder; on failure `path` is as it was.

    The temporary name is drawn at random and must be new, so that no link of that name is followed. The file's mode is
    0o644 less the umask. A full disk or a read-only folder raises `BitspikeError`.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}.tmp")
    created = False
    try:
        descriptor = os.open(temporary, _NEW, 0o644)
        created = True
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        created = False
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if created:
            _remove(temporary)


def clear_left_over(folder: Path, names: str) -> None:
    """Remove what killed writers of files of these `names` (a pattern as of `glob`) left in a folder.

    Only for the one process that writes them.
    """
    for temporary in folder.glob(f".{names}.{'[0-9a-f]' * 16}.tmp"):
        _remove(temporary)


def cannot_write(path: Path | str, error: OSError) -> BitspikeError:
    """The error to raise when a file cannot be written."""
    reason = error.strerror or str(error)
    return BitspikeError(
        f"{path}: cannot write ({reason}); what was saved before is untouched. Make room or allow writing, then try "
        "again (a run: resume it)"
    )


def read_bytes(path: Path | str, most: int) -> bytes:
    """All of a regular file of at most `most` bytes; anything else, a pipe or a device too, raises `DataError`."""
    blocks, size = list[bytes](), 0
    try:
        # Opening a pipe without a writer would wait for one.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _AT_ONCE)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise DataError(f"{path}: not a file of bytes on a disk; give a regular file")
            while block := file.read(_BLOCK):
                size += len(block)
                if size > most:
                    raise DataError(f"{path}: more than {most:,} bytes; such a file has at most so many")
                blocks.append(block)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else None
        raise DataError(f"{path}: cannot be read: {reason or error}") from error
    return b"".join(blocks)


def parse_json(text: str | bytes) -> Any:
    """The value of JSON text; `ValueError` where it is none, has numbers that are not finite, or is too deep."""
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError(f"more than {MAX_DEPTH} lists and objects within each other") from None
    level = [value]
    for _ in range(MAX_DEPTH):
        lists = [list(one.values()) if isinstance(one, dict) else one for one in level]
        level = [inner for one in lists if isinstance(one, list) for inner in one]
    if any(isinstance(one, dict | list) for one in level):
        raise ValueError(f"more than {MAX_DEPTH} lists and objects within each other")
    return value


def read_json(path: Path | str, mend: str) -> Any:
    """What a JSON file holds; one that is missing, damaged or too large raises `DataError`, which ends with `mend`."""
    try:
        return parse_json(read_bytes(path, MAX_TEXT))
    except DataError as error:
        raise DataError(f"{error}; {mend}") from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}; {mend}") from error


def read_json_lines(path: Path | str, mend: str) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; a last one that was cut off is left out, other damage is a `DataError`."""
    try:
        lines = read_bytes(path, MAX_TEXT).splitlines()
    except DataError as error:
        raise DataError(f"{error}; {mend}") from error
    found = list[dict[str, Any]]()
    for number, line in enumerate(lines, start=1):
        try:
            value = parse_json(line)
        except ValueError as error:
            if number == len(lines):  # cut off when the run was interrupted
                break
            raise DataError(f"{path}, line {number} is not JSON ({error}); {mend}") from error
        if not isinstance(value, dict):
            raise DataError(f"{path}, line {number} is not a JSON object; {mend}")
        found.append(value)
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number:.40} is larger than any float")
    return value


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened, and renaming needs no fsync of it
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # the folder cannot be written to; the first error says so
        return
