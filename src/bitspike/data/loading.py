"""`load` a data set by name, or from a folder of IDX files; `get` and `verify` its files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bitspike.data import files
from bitspike.data.aedat2 import mnist_dvs
from bitspike.data.catalog import CATALOG, PARTS, Archive, Entry, File, entry
from bitspike.data.dataset import Dataset, as_images, as_labels
from bitspike.data.events import nmnist
from bitspike.data.fsdd import fsdd
from bitspike.data.idx import idx_sha256, read_idx
from bitspike.data.recordings import Audio, Events
from bitspike.data.ti46 import ti46_alpha
from bitspike.errors import DataError


def names() -> tuple[str, ...]:
    """The data sets known by name; `idx:FOLDER` and `events:NAME` are understood besides."""
    return tuple(CATALOG)


def load(name: str, data_dir: str | Path | None = None, download: bool = True) -> Dataset:
    """A data set by name, `idx:FOLDER` with the user's own IDX files, or `fsdd:SPEAKER` to test on that speaker.

    IDX files of images have three dimensions, four in colour `(n, height, width, channels)`, or two: rows of features.
    `events:NAME` (any of these that holds grey images) is what the `EventCamera` records of them.

    Files are looked for in `data_dir`, then in the folder that the environment variable BITSPIKE_DATA names,
    then in the cache; only then, and if `download`, are they downloaded. What is found is checked against
    the catalogue's SHA-256. Anything missing or wrong raises `DataError`.
    """
    if name.startswith("events:"):
        return _filmed(name, load(name[7:], data_dir, download))
    if name.startswith("idx:"):
        return _own(name, Path(name[4:]).expanduser())
    known = entry(name)
    if not known.files:
        return _computed(name)
    paths = [files.fetch(known, file, data_dir, download) for file in known.files]
    hashes: dict[str, str] = {}
    contents = _contents(known, paths, hashes)
    if known.kind == "nmnist":
        return Dataset(name, *nmnist(contents), known.classes, hashes, known.note)
    if known.kind == "mnist-dvs":
        return Dataset(name, *mnist_dvs(contents), known.classes, hashes, known.note)
    if known.kind == "fsdd":
        speaker = name.partition(":")[2]
        note = f"all recordings of {speaker} are the test part" if speaker else known.note
        return Dataset(name, *fsdd(contents, speaker), known.classes, hashes, note)
    if known.kind == "ti46":
        return Dataset(name, *ti46_alpha(contents), known.classes, hashes, known.note)
    parts = {part: _checked(part, array, where) for part, (where, array) in zip(PARTS, contents, strict=True)}
    for part in ("train_inputs", "test_inputs"):
        parts[part] = files.upright(known, parts[part])
    return _dataset(name, parts, known.classes, hashes, known.note)


def get(name: str, data_dir: str | Path | None = None) -> dict[str, Path]:
    """Make sure that a data set's files are there, downloading what is not; where each one is, by name."""
    known = entry(name)
    return {file.name: files.fetch(known, file, data_dir, download=True) for file in known.files}


def verify(name: str, data_dir: str | Path | None = None) -> list[files.Check]:
    """Look for a data set's files, without download, and compare their content with the catalogue."""
    known = entry(name)
    return [files.check(known, file, data_dir) for file in known.files]


def _contents(known: Entry, paths: list[Path], hashes: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Places and contents, read one after the other; each leaves its SHA-256 in `hashes`."""
    listed: tuple[File | Archive, ...] = known.files
    for file, path in zip(listed, paths, strict=True):
        content, hashes[file.name] = files.read(known, file, path)
        yield str(path), content


def _computed(name: str) -> Dataset:
    if name == "digits":
        from bitspike.data.digits import digits

        return digits()
    from bitspike.data import synthetic

    return synthetic.moons() if name == "moons" else synthetic.regression()


def _filmed(name: str, still: Dataset) -> Dataset:
    """The data set's images as the event camera records them, test recordings numbered after those of training."""
    from bitspike.data.event_camera import EventCamera

    images, camera = still.train_inputs, EventCamera()
    if isinstance(images, (Events, Audio)) or not still.classes:
        raise DataError(f"{name}: {still.name} has no images to film; events:mnist has")
    if images.ndim == 4:
        raise DataError(f"{name}: {still.name} is in colour and the event camera sees grey; film grey images")
    filmed = {"train": camera.record(images), "test": camera.record(still.test_inputs, first=len(images))}
    found = {
        f"{part}_events": hashlib.sha256(events.values.data).hexdigest() for part, events in filmed.items()
    }
    return replace(
        still,
        name=name,
        train_inputs=filmed["train"],
        test_inputs=filmed["test"],
        hashes=still.hashes | found,
        note=f"simulated events; {still.note}" if still.note else "simulated events",
        plane=None,
    )


def _checked(part: str, array: NDArray[Any], where: str) -> NDArray[Any]:
    return as_images(array, where) if part.endswith("inputs") else as_labels(array, where)


def _own(name: str, folder: Path) -> Dataset:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; idx:FOLDER names one with IDX files of images and labels")
    parts: dict[str, NDArray[Any]] = {}
    hashes = {}
    for part in PARTS:
        path = _pick(folder, part)
        array = read_idx(path)
        parts[part] = _checked(part, array, str(path))
        hashes[path.name.removesuffix(".gz")] = idx_sha256(array)
    labels = parts["train_labels"]
    classes = _mapping(folder) or tuple(
        str(label) for label in range(min(int(labels.max()), len(labels)) + 1)
    )
    return _dataset(name, parts, classes, hashes)


def _dataset(
    name: str,
    parts: dict[str, NDArray[Any]],
    classes: tuple[str, ...],
    hashes: dict[str, str],
    note: str = "",
) -> Dataset:
    train_inputs, train_labels, test_inputs, test_labels = (parts[part] for part in PARTS)
    return Dataset(name, train_inputs, train_labels, test_inputs, test_labels, classes, hashes, note)


def _pick(folder: Path, part: str) -> Path:
    """The one file of the folder whose name says this part; a plain file goes before its .gz."""
    side, kind = part.replace("inputs", "images").split("_")
    sides = ("train",) if side == "train" else ("test", "t10k")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), reverse=True):  # X.gz, then X
        name = path.name.lower()
        is_idx = "idx" in name or "ubyte" in name
        if path.is_file() and is_idx and kind in name and any(word in name for word in sides):
            found[path.name.removesuffix(".gz")] = path
    if len(found) != 1:
        seen = f"{sorted(found)} all look like it" if found else "there is none"
        raise DataError(
            f"{folder}: needs one IDX file of {side} {kind}, named like {sides[-1]}-{kind}-idx"
            f"{3 if kind == 'images' else 1}-ubyte or .gz; {seen}"
        )
    return found.popitem()[1]


def _mapping(folder: Path) -> tuple[str, ...] | None:
    """Class names from `mapping.txt`: lines `label name`; all-numeric names are character codes."""
    path = folder / "mapping.txt"
    if not path.is_file():
        return None
    try:
        lines = path.read_text("utf-8").split("\n")
        pairs = [line.strip().split(maxsplit=1) for line in lines if line.strip()]
        by_label = {int(label): text for label, text in pairs}
        if all(text.isdecimal() for text in by_label.values()):
            by_label = {label: chr(int(text)) for label, text in by_label.items()}
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: needs lines of a label and a name, like '10 A' ({error})") from error
    if len(by_label) != len(pairs) or sorted(by_label) != list(range(len(by_label))):
        raise DataError(
            f"{path}: labels must be 0, 1, 2, … without gap or repetition, found {sorted(by_label)[:8]}…"
        )
    return tuple(by_label[label] for label in range(len(by_label)))
