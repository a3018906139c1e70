"""Files that are either the old version or the new one, whatever happens in between."""

from __future__ import annotations

import os
from pathlib import Path

from bitspike.errors import BitspikeError


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside `path`, fsync, rename over it, fsync the folder; on failure `path` is as it was.

    A full disk or a read-only folder raises `BitspikeError`.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        _remove(temporary)


def cannot_write(path: Path, error: OSError) -> BitspikeError:
    """The error to raise when a file of a run cannot be written."""
    reason = error.strerror or str(error)
    return BitspikeError(
        f"{path}: cannot write ({reason}); what was saved before is untouched. Make room or allow writing, "
        "then resume"
    )


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
