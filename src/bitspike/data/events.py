"""N-MNIST: address events of five bytes, in files of one recording each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitspike.data.dataset import Labels
from bitspike.data.recordings import EVENT, Events
from bitspike.errors import DataError

SENSOR = (34, 34)


def read_nmnist(path: str | Path) -> NDArray[Any]:
    """The events of one file `NNNNN.bin`, dtype `EVENT`; what `decode_nmnist` refuses raises `DataError`."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    return decode_nmnist(content, str(path))


def decode_nmnist(content: bytes, where: str) -> NDArray[Any]:
    """Events of five bytes: x, y, then 1 bit polarity (1: ON) and 23 bits time in microseconds, big-endian.

    Refused with `DataError`: no event, a length that is no multiple of 5, addresses outside 34 x 34, and a time before
    that of the event before. 23 bits last 8.3 s and recordings 0.34 s, so a time that wraps around is damage as well.
    """
    if not content or len(content) % 5:
        raise DataError(f"{where}: {len(content)} bytes; a recording has 5 per event, and at least one event")
    raw = np.frombuffer(content, np.uint8).reshape(-1, 5)
    times = (raw[:, 2] & 127).astype(np.int32) << 16 | raw[:, 3].astype(np.int32) << 8 | raw[:, 4]
    outside = (raw[:, 0] >= SENSOR[1]) | (raw[:, 1] >= SENSOR[0])
    if outside.any():
        k = int(outside.argmax())
        raise DataError(
            f"{where}: event {k} is at x = {raw[k, 0]}, y = {raw[k, 1]}; the sensor has 0..{SENSOR[0] - 1}"
        )
    back = times[1:] < times[:-1]
    if back.any():
        k = int(back.argmax()) + 1
        raise DataError(
            f"{where}: event {k} is at {times[k]} us, the one before at {times[k - 1]}; time goes back"
        )
    events = np.empty(len(raw), EVENT)
    events["t"], events["x"], events["y"], events["p"] = times, raw[:, 0], raw[:, 1], raw[:, 2] >> 7
    return events


def encode_nmnist(events: NDArray[Any]) -> bytes:
    """The bytes that `decode_nmnist` reads as these events, dtype `EVENT`."""
    if events.size and (events["t"].min() < 0 or events["t"].max() >= 1 << 23):
        raise DataError("times must lie in 0..8388607 us, which is what 23 bits hold")
    raw = np.empty((len(events), 5), np.uint8)
    raw[:, 0], raw[:, 1] = events["x"], events["y"]
    raw[:, 2] = events["t"] >> 16 | events["p"].astype(np.int32) << 7
    raw[:, 3], raw[:, 4] = events["t"] >> 8 & 255, events["t"] & 255
    decode_nmnist(content := raw.tobytes(), "events to write")
    return content


def nmnist(contents: Iterable[tuple[str, dict[str, bytes]]]) -> tuple[Events, Labels, Events, Labels]:
    """Training and test recordings with labels from archives' members `Train/<label>/<number>.bin` and `Test/...`.

    Recordings are in the order of their numbers, the order of the MNIST images. `contents` are pairs of a place, named
    in errors, and members, which are taken out of their dictionaries one by one. Raises `DataError` as `decode_nmnist`
    does, and for names of another form, labels other than 0..9 and a number that occurs twice in one part.
    """
    found: dict[str, dict[int, tuple[str, str, dict[str, bytes]]]] = {"Train": {}, "Test": {}}
    for where, members in contents:
        for name in members:
            match = re.fullmatch(r"(Train|Test)/([0-9])/([0-9]{1,9})\.bin", name)
            if not match:
                raise DataError(f"{where}: {name!r} is not named like Train/7/00042.bin, with a label 0..9")
            side, number = found[match[1]], int(match[3])
            if number in side:
                raise DataError(f"{where}: {name} and {side[number][1]} have one number")
            side[number] = (where, name, members)
    (train, train_labels), (test, test_labels) = (_part(side) for side in found.values())
    return train, train_labels, test, test_labels


def _part(side: dict[int, tuple[str, str, dict[str, bytes]]]) -> tuple[Events, Labels]:
    ordered = [side[number] for number in sorted(side)]
    labels = np.array([int(name.split("/")[1]) for _, name, _ in ordered], np.int64)
    lengths = [len(members[name]) // 5 for _, name, members in ordered]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = np.empty(offsets[-1], EVENT)
    for (where, name, members), start in zip(ordered, offsets, strict=False):
        events = decode_nmnist(members.pop(name), f"{where}, {name}")
        values[start : start + len(events)] = events
    return Events(values, offsets, SENSOR), labels
