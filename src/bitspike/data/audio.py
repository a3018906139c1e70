"""Sound files of any kind that is read, by their first bytes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from bitspike.data.recordings import Audio
from bitspike.data.sphere import read_sphere
from bitspike.data.wav import read_wav
from bitspike.errors import DataError


def read_sound(content: bytes, where: str) -> tuple[NDArray[np.int16], int]:
    """int16 samples and samples per second of a WAV or NIST SPHERE file's bytes; `DataError` names `where`."""
    if content[:4] == b"RIFF":
        return read_wav(content, where)
    if content[:7] == b"NIST_1A":
        return read_sphere(content, where)
    raise DataError(
        f"{where}: starts with {content[:8].hex(' ')!r}, neither WAV (RIFF) nor NIST SPHERE (NIST_1A); convert it"
    )


def join_sounds(files: Iterable[tuple[str, bytes]], rate: int) -> Audio:
    """Sound files, given as name and bytes, as one `Audio`; another sampling rate than `rate` raises `DataError`."""
    recordings = []
    for where, content in files:
        samples, its_rate = read_sound(content, where)
        if its_rate != rate:
            raise DataError(f"{where}: {its_rate} samples per second, {rate} are expected; resample it")
        recordings.append(samples)
    return Audio.join(recordings, rate)
