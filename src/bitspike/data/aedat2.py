"""AEDAT 2.0, jAER's files of address events, as the DVS128 camera writes them; and MNIST-DVS, a data set of such files.

Layout: a line `#!AER-DAT2.0`, more lines that begin with `#`, then events: address and time stamp in microseconds, 32
bits each, big-endian. Address of a DVS128: bit 0 polarity, bits 1..7 x, bits 8..14 y, bit 15 an event of a plug.

Conventions are those of jAER's DVS128 class, which the authors of BiSNN also follow: polarity 0 is ON, x is counted
from the other side (127 - bits), y from the bottom. (A description of the format by iniVation calls polarity 1 ON; jAER
and iniVation's own dv-processing decode as is done here.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitspike.data.dataset import Labels
from bitspike.data.recordings import EVENT, Events, append
from bitspike.errors import DataError

VERSION = b"#!AER-DAT2.0"
SENSOR = (128, 128)
DISORDER_US = 10_000  # a stamp that is earlier by less than this is sorted in
CROP = (48, 74)  # of MNIST-DVS, x and y: the digit's surroundings
CROPPED = (CROP[1] - CROP[0],) * 2
DURATION_US = 2_000_000
_NAME = re.compile(r"grabbed_data([0-9])/scale4/mnist_([0-9])_scale04_([0-9]{4})\.aedat")


def read_aedat(path: str | Path) -> NDArray[Any]:
    """The events of one file, dtype `EVENT`; what `decode_aedat` refuses raises `DataError`."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    return decode_aedat(content, str(path))


def decode_aedat(content: bytes, where: str) -> NDArray[Any]:
    """Events of a DVS128's AEDAT 2.0 file, dtype `EVENT`, sorted by time, the first at 0; plug events are left out.

    Stamps that wrap around after 32 bits go on. Refused with `DataError`, which names `where`: another version, no
    event, a cut-off event, addresses beyond 15 bits (another camera), time that goes back by 10 ms or more (a little
    is old hardware, and sorted), a recording of more than 2^31 us.
    """
    body = content[_header(content, where) :]
    if not body or len(body) % 8:
        raise DataError(
            f"{where}: {len(body)} bytes after the header; 8 per event, at least one event. The file is cut off, fetch "
            "it again"
        )
    address, stamp = np.frombuffer(body, ">u4").reshape(-1, 2).T.astype(np.uint32)
    if (address >> 16).any():
        k = int((address >> 16 != 0).argmax())
        raise DataError(
            f"{where}: event {k} has the address {address[k]:#x}, beyond the 15 bits of a DVS128; recordings of that "
            "camera are read"
        )
    elapsed = np.diff(stamp, prepend=stamp[:1]).view(np.int32).astype(np.int64)  # modulo 2^32, and the sign
    if elapsed.min() <= -DISORDER_US:
        k = int((elapsed <= -DISORDER_US).argmax())
        raise DataError(
            f"{where}: event {k} is {-elapsed[k]} us before the one before; the file is damaged or two recordings in "
            "one, cut it there"
        )
    time = np.cumsum(elapsed)
    pixels = np.flatnonzero(address >> 15 == 0)
    pixels = pixels[np.argsort(time[pixels], kind="stable")]
    if not len(pixels):
        raise DataError(f"{where}: {len(address)} events of the plug, none of a pixel")
    time, address = time[pixels] - time[pixels[0]], address[pixels]
    if time[-1] > np.iinfo(np.int32).max:
        raise DataError(
            f"{where}: lasts {time[-1] / 1e6:.0f} s; at most 2147 s are read, cut it into recordings"
        )
    events = np.empty(len(time), EVENT)
    events["t"], events["p"] = time, address & 1 == 0
    events["x"], events["y"] = 127 - (address >> 1 & 127).astype(np.int16), address >> 8 & 127
    return events


def encode_aedat(events: NDArray[Any]) -> bytes:
    """A file that `decode_aedat` reads as these events, dtype `EVENT`, if the first is at 0."""
    outside = (events["x"] < 0) | (events["x"] > 127) | (events["y"] < 0) | (events["y"] > 127)
    if outside.any():
        k = int(outside.argmax())
        raise DataError(
            f"events to write: event {k} is at x = {events['x'][k]}, y = {events['y'][k]}; 0..127 is DVS128"
        )
    raw = np.empty((len(events), 2), ">u4")
    raw[:, 0] = events["y"].astype(np.int32) << 8 | (127 - events["x"].astype(np.int32)) << 1 | ~events["p"]
    raw[:, 1] = events["t"]
    decode_aedat(content := VERSION + b"\r\n" + raw.tobytes(), "events to write")
    return content


def _header(content: bytes, where: str) -> int:
    """Where events start."""
    first = content.split(b"\n", 1)[0].rstrip(b"\r")[:40]
    if first != VERSION:
        kind = first if first.startswith(b"#!AER-DAT") else content[:12]
        raise DataError(
            f"{where}: starts with {kind!r}, not with {VERSION.decode()}; save it as AEDAT 2.0 (jAER and DV do)"
        )
    at = 0
    while content[at : at + 1] == b"#":
        end = content.find(b"\n", at)
        if end < 0:
            raise DataError(f"{where}: ends inside its header; the file is cut off, fetch it again")
        at = end + 1
    return at


def cropped(events: NDArray[Any]) -> NDArray[Any]:
    """The part of a recording of MNIST-DVS that is used: pixels 48..73 on both axes, 2 s from the first event there.

    Addresses are counted from 0, times from that event (BiSNN specification, section 8).
    """
    low, high = CROP
    x, y = events["x"], events["y"]
    inside = events[(x >= low) & (x < high) & (y >= low) & (y < high)]
    inside["t"] -= inside["t"][:1].sum()
    inside["x"] -= low
    inside["y"] -= low
    return inside[inside["t"] < DURATION_US]


def mnist_dvs(contents: Iterable[tuple[str, dict[str, bytes]]]) -> tuple[Events, Labels, Events, Labels]:
    """Training (numbers 1 to 900 of every digit) and test recordings (901 to 1000), `cropped`, with labels.

    `contents` are pairs of a place, named in errors, and members `grabbed_data7/scale4/mnist_7_scale04_0001.aedat`,
    gone through one by one. Recordings are in the order of places, then names. Raises `DataError` as `decode_aedat`
    does, and for names of another form.
    """
    values = [np.empty(0, EVENT), np.empty(0, EVENT)]
    lengths: list[list[int]] = [[], []]
    labels: list[list[int]] = [[], []]
    for where, members in contents:
        for name in sorted(members):
            match = _NAME.fullmatch(name)
            if not match or match[1] != match[2] or not 1 <= int(match[3]) <= 1000:
                raise DataError(
                    f"{where}: {name!r} is not named like grabbed_data7/scale4/mnist_7_scale04_0001.aedat"
                )
            side = int(match[3]) > 900
            events = cropped(decode_aedat(members.pop(name), f"{where}, {name}"))
            append(values[side], events)
            lengths[side].append(len(events))
            labels[side].append(int(match[1]))
    train, test = (
        Events(part, np.concatenate([[0], np.cumsum(n)]).astype(np.int64), CROPPED)
        for part, n in zip(values, lengths, strict=True)
    )
    return train, np.array(labels[0], np.int64), test, np.array(labels[1], np.int64)
