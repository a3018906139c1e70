"""Files that are either the old version or the new one, whatever happens in between. Importing this needs no torch."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from bitspike.errors import BitspikeError

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
for _flag in ("O_NOFOLLOW", "O_BINARY"):  # each exists on some systems only
    _NEW |= vars(os).get(_flag, 0)


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


def cannot_write(path: Path | str, error: OSError) -> BitspikeError:
    """The error to raise when a file cannot be written."""
    reason = error.strerror or str(error)
    return BitspikeError(
        f"{path}: cannot write ({reason}); what was saved before is untouched. Make room or allow writing, then try "
        "again (a run: resume it)"
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
