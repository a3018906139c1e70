"""Where a data set's files are: a given folder, BITSPIKE_DATA, the cache, and at last a download."""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitspike.data.archives import digest, file_digest, read_members
from bitspike.data.catalog import Archive, Entry, File
from bitspike.data.idx import idx_sha256, read_idx
from bitspike.errors import DataError

TIMEOUT = 30.0  # s, without a byte from the server


@dataclass(frozen=True)
class Check:
    """One file of a data set: where it was found (None: nowhere), whether its content is right, in words."""

    file: str
    path: Path | None
    ok: bool
    message: str


def cache() -> Path:
    """The folder of downloads: `bitspike` in the user's cache folder."""
    import pooch

    return Path(pooch.os_cache("bitspike"))


def locate(entry: Entry, file: File | Archive, data_dir: str | Path | None) -> Path | None:
    """The first of `ROOT/folder/NAME` and `ROOT/NAME` over the given roots, then the cache.

    A file may end in .gz. Of an archive that was unpacked it is the folder that holds its folders.
    """
    for folder in _folders(entry, data_dir):
        for name in (file.name, file.served):
            if (folder / name).is_file():
                return folder / name
        if isinstance(file, Archive) and all((folder / top).is_dir() for top in file.unpacked):
            return folder
    return None


def _folders(entry: Entry, data_dir: str | Path | None) -> Iterator[Path]:
    for root, given_by in ((data_dir, "data_dir"), (os.environ.get("BITSPIKE_DATA"), "BITSPIKE_DATA")):
        if not root:
            continue
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise DataError(f"{given_by} is {root}, no folder; name one that holds {entry.folder}/")
        yield folder / entry.folder
        yield folder
    yield cache() / entry.folder


def read(entry: Entry, file: File | Archive, path: Path) -> tuple[Any, str]:
    """A file's array, or an archive's members by name, and the content's SHA-256; other content raises `DataError`."""
    if isinstance(file, Archive):
        if path.is_file():
            _compare(entry, path, file.sha256, file_digest(path))
        members = read_members(file, path)
        _compare(entry, path, file.content, sha256 := digest(members))
        return members, sha256
    array = read_idx(path, limit=file.n_bytes)
    n_bytes = 4 + 4 * array.ndim + array.nbytes
    if n_bytes != file.n_bytes:
        raise DataError(f"{path}: {n_bytes} bytes of content; {file.name} of {entry.name} has {file.n_bytes}")
    _compare(entry, path, file.sha256, sha256 := idx_sha256(array))
    return array, sha256


def _compare(entry: Entry, path: Path, expected: str | None, found: str) -> None:
    if expected not in (None, found):
        raise DataError(
            f"{path}: its content is not that of {entry.name} (SHA-256 {found[:12]}…, expected "
            f"{str(expected)[:12]}…); remove it and fetch it again"
        )


def fetch(entry: Entry, file: File | Archive, data_dir: str | Path | None, download: bool) -> Path:
    """Where the file is; downloaded into the cache if it is nowhere. Absent for good raises `DataError`."""
    path = locate(entry, file, data_dir)
    if path is not None:
        return path
    failures = []
    if download and entry.mirrors:
        for attempt in range(2):
            time.sleep(attempt)
            for mirror in entry.mirrors:
                try:
                    return _download(entry, file, f"{mirror}{file.served}")
                except (OSError, ValueError) as error:
                    failures.append(f"{mirror}: {type(error).__name__}, {error}"[:200])
    root = data_dir or os.environ.get("BITSPIKE_DATA")
    place = Path(root).expanduser() / entry.folder if root else Path("FOLDER") / entry.folder
    or_else = f" (or {file.served})" if isinstance(file, File) else f" (or {' and '.join(file.unpacked)}/)"
    lines = [
        f"{entry.name}: {file.name}{or_else} is not there. Looked in:",
        *(f"  {folder}" for folder in _folders(entry, data_dir)),
        f"Put it into {place}"
        + ("" if root else " and give data_dir=FOLDER or BITSPIKE_DATA=FOLDER")
        + "; get it from:",
        *(f"  {mirror}{file.served}" for mirror in entry.mirrors),
        *([] if entry.mirrors else [f"  {entry.source}"]),
        *(["Downloading failed:"] if failures else []),
        *(f"  {failure}" for failure in dict.fromkeys(failures)),
    ]
    raise DataError("\n".join(lines))


class _Bounded(io.FileIO):
    """A file that refuses to grow beyond what is expected, whatever the server sends."""

    def __init__(self, path: Path, limit: int) -> None:
        super().__init__(path, "wb")
        self.limit = limit

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self.limit:
            raise DataError(f"more than {self.limit} bytes came")
        return super().write(data) or 0


def _download(entry: Entry, file: File | Archive, url: str) -> Path:
    import pooch

    folder = cache() / entry.folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
        path = Path(temporary) / file.served
        with _Bounded(path, file.n_bytes + (1 << 16)) as output:
            pooch.HTTPDownloader(timeout=TIMEOUT)(url, output, None)
            os.fsync(output.fileno())
        read(entry, file, path)
        return path.replace(folder / path.name)


def check(entry: Entry, file: File | Archive, data_dir: str | Path | None) -> Check:
    """Look for a file, without download, and compare its content with the catalogue."""
    path = locate(entry, file, data_dir)
    if path is None:
        return Check(file.name, None, False, "not there")
    try:
        read(entry, file, path)
    except DataError as error:
        return Check(file.name, path, False, str(error))
    known, counted = file.sha256 if path.is_file() else None, "size as published"
    if isinstance(file, Archive):
        known, counted = known or file.content, f"{file.n_members} files as published"
    return Check(file.name, path, True, "SHA-256 as published" if known else counted)


def upright(entry: Entry, images: NDArray[Any]) -> NDArray[Any]:
    """Images as one looks at them: EMNIST's are stored with rows and columns exchanged."""
    return np.ascontiguousarray(images.swapaxes(1, 2)) if entry.transposed else images
