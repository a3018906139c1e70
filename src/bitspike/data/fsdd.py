"""The Free Spoken Digit Dataset: 3,000 WAV files `recordings/<digit>_<speaker>_<index>.wav`, 8 kHz."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from bitspike.data.audio import join_sounds
from bitspike.data.dataset import Labels
from bitspike.data.recordings import Audio
from bitspike.errors import DataError

RATE = 8000
N_TEST = 5  # recordings of each digit and speaker, by the authors' split


def fsdd(
    contents: Iterable[tuple[str, dict[str, bytes]]], speaker: str = ""
) -> tuple[Audio, Labels, Audio, Labels]:
    """Training and test recordings with labels, in the order of digit, speaker and index.

    Without `speaker` the authors' split: index 0 to 4 is test, the rest training. With it, all recordings of that
    speaker are test and the others' training. `contents` are pairs of a place, named in errors, and members by name,
    which are taken out of their dictionaries one by one. Raises `DataError` for damaged files, other names and an
    unknown speaker.
    """
    found = []
    for where, members in contents:
        for name in members:
            match = re.fullmatch(r"recordings/([0-9])_([a-z]+)_([0-9]{1,4})\.wav", name)
            if not match:
                raise DataError(f"{where}: {name!r} is not named like recordings/7_theo_42.wav")
            found.append((int(match[1]), match[2], int(match[3]), where, name, members))
    speakers = sorted({one[1] for one in found})
    if speaker and speaker not in speakers:
        raise DataError(f"fsdd:{speaker}: no such speaker; one of {', '.join(speakers)}")
    found.sort(key=lambda one: one[:3])
    is_test = [one[1] == speaker if speaker else one[2] < N_TEST for one in found]
    parts: list[Audio | Labels] = []
    for side in (False, True):
        chosen = [one for one, test in zip(found, is_test, strict=True) if test is side]
        parts.append(join_sounds(((f"{w}, {n}", m.pop(n)) for *_, w, n, m in chosen), RATE))
        parts.append(np.array([one[0] for one in chosen], np.int64))
    return tuple(parts)  # type: ignore[return-value]
