"""Data sets of many files: the members of a zip or tar archive, or of the same unpacked, read in memory."""

from __future__ import annotations

import hashlib
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from gzip import BadGzipFile, GzipFile
from pathlib import Path, PurePosixPath
from typing import IO, Any

from bitspike.data.catalog import Archive
from bitspike.errors import DataError

_DAMAGE = (  # ValueError, LookupError, RuntimeError: what the standard library meets in damaged headers
    tarfile.TarError, zipfile.BadZipFile, BadGzipFile, zlib.error, EOFError,
    ValueError, LookupError, RuntimeError, OverflowError,
)  # fmt: skip


def read_members(archive: Archive, path: Path) -> dict[str, bytes]:
    """The content of the archive's data files by name (below any leading folders), sorted by name; nothing is unpacked.

    `path` is a file (zip, tar or tar.gz, told by content) or the folder that holds the unpacked folders. Hidden files
    and those that `archive.members` does not match are passed over. `DataError`: anything damaged, members outside the
    archive's own folder, links, repeated names, more than `archive.n_bytes` together, not `archive.n_members` files.
    """
    members: dict[str, bytes] = {}
    left = archive.n_bytes
    try:
        for name, content in _contents(archive, path):
            left -= len(content)
            if left < 0:
                raise DataError(_beyond(archive, path))
            if name in members:
                raise DataError(f"{path}: {name} is in it twice")
            members[name] = content
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(f"{path}: damaged archive ({type(error).__name__}: {error}); get it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(members) != archive.n_members:
        raise DataError(f"{path}: {len(members)} files of data; {archive.name} has {archive.n_members}")
    return dict(sorted(members.items()))


def digest(members: dict[str, bytes]) -> str:
    """SHA-256 of what `sha256sum` prints for the members in the order of their names: packed or not, the same."""
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(members.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file; an unreadable one raises `DataError`."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _contents(archive: Archive, path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        return _from_folder(archive, path)
    with path.open("rb") as file:
        start = file.read(4)
    return (
        _from_zip(archive, path) if start[:2] == b"PK" else _from_tar(archive, path, start[:2] == b"\x1f\x8b")
    )


def _from_folder(archive: Archive, path: Path) -> Iterator[tuple[str, bytes]]:
    for top in archive.unpacked:
        for file in (path / top).rglob("*"):
            name = _data(archive, file.relative_to(path).as_posix())
            if name and file.is_file():
                with file.open("rb") as opened:
                    yield name, opened.read(archive.n_bytes + 1)


def _from_zip(archive: Archive, path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as opened:
        infos = opened.infolist()
        for info in infos:
            _check_name(path, info.orig_filename)
            if stat.S_ISLNK(info.external_attr >> 16):
                raise DataError(f"{path}: {info.filename!r} is a link; data archives hold plain files")
        chosen = [(name, info) for info in infos if (name := _data(archive, info.filename))]
        if sum(info.file_size for _, info in chosen) > archive.n_bytes:
            raise DataError(_beyond(archive, path))
        for name, info in chosen:
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
                raise DataError(f"{path}: {name} is encrypted or packed by a method other than deflate")
            with opened.open(info) as member:
                content = member.read(info.file_size)  # this many at most, whatever the data unpacks to
            if len(content) != info.file_size:
                raise DataError(f"{path}: {name} is cut off")
            yield name, content


def _from_tar(archive: Archive, path: Path, packed: bool) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as file:
        stream: Any = GzipFile(fileobj=file) if packed else file
        limit = 2 * archive.n_bytes + (archive.n_members << 11) + (1 << 20)  # with headers and padding
        bounded: Any = _Bounded(stream, limit, _beyond(archive, path))
        with tarfile.open(fileobj=bounded, mode="r|") as opened:
            for info in opened:
                _check_name(path, info.name)
                if not (info.isreg() or info.isdir()) or info.issparse():
                    raise DataError(
                        f"{path}: {info.name!r} is a link or device; data archives hold plain files"
                    )
                name = _data(archive, info.name)
                if name and (member := opened.extractfile(info)):  # None: a folder
                    yield name, member.read(archive.n_bytes + 1)


class _Bounded:
    """A stream of which no more than `limit` bytes are read."""

    def __init__(self, stream: IO[bytes], limit: int, beyond: str) -> None:
        self.stream, self.limit, self.beyond = stream, limit, beyond

    def read(self, size: int) -> bytes:
        content = self.stream.read(size)
        self.limit -= len(content)
        if self.limit < 0:
            raise DataError(self.beyond)
        return content


def _check_name(path: Path, name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if not parts[0] or ".." in parts or ":" in parts[0] or "\0" in name:
        raise DataError(f"{path}: {name!r} leads outside the archive's own folder; do not trust this file")


def _data(archive: Archive, name: str) -> str | None:
    """The member's name below any leading folders, if it is data."""
    if any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts):
        return None
    match = re.fullmatch(rf"(?:.*/)?({archive.members})", name)
    return match[1] if match else None


def _beyond(archive: Archive, path: Path) -> str:
    return f"{path}: more than {archive.n_bytes} bytes of content; {archive.name} has no more"
