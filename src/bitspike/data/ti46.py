"""TI46, spoken letters (LDC93S9): SPHERE files `ti_alpha/<train|test>/<speaker>/<word><speaker><session><take>.wav`.

Word `0a` to `0z`; speakers f1..f8 and m1..m8, in the folder's name and in the file's; session `se` (training) or `s1`
to `s8` (test); take `t0` to `t9` (training), `t0` and `t1` (test). 12.5 kHz. Names are compared without regard to case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from bitspike.data.audio import join_sounds
from bitspike.data.dataset import Labels
from bitspike.data.recordings import Audio
from bitspike.errors import DataError

RATE = 12_500
_NAME = re.compile(r"ti_alpha/(train|test)/([fm][1-8])/0([a-z])([fm][1-8])(?:se|s[1-8])t[0-9]\.wav")


def ti46_alpha(contents: Iterable[tuple[str, dict[str, bytes]]]) -> tuple[Audio, Labels, Audio, Labels]:
    """Training and test recordings with labels 0 (A) to 25 (Z), sorted by name; the test part holds both takes.

    `contents` are pairs of a place, named in errors, and members by name, which are taken out of their dictionaries one
    by one. Raises `DataError` for damaged files, compressed ones (see `read_sphere`) and names of another form.
    """
    sides: dict[str, list[tuple[str, int, str, dict[str, bytes]]]] = {"train": [], "test": []}
    for where, members in contents:
        for name in sorted(members):
            match = _NAME.fullmatch(name.lower())
            if not match or match[2] != match[4]:
                raise DataError(f"{where}: {name!r} is not named like ti_alpha/train/f1/0af1set0.wav")
            sides[match[1]].append((f"{where}, {name}", ord(match[3]) - ord("a"), name, members))
    (train, train_labels), (test, test_labels) = (
        (
            join_sounds(((w, m.pop(n)) for w, _, n, m in side), RATE),
            np.array([c for _, c, _, _ in side], np.int64),
        )
        for side in sides.values()
    )
    return train, train_labels, test, test_labels
