"""Many threads make the first call on a fresh model of every kind, round after round: `make endurance`.

    python tests/endurance/first_calls.py [ROUNDS] [KIND...]

Threads change places as often as Python can, and freed memory is overwritten where the C library can do it. Prints the
rounds of every kind in which a thread got another answer than one alone; ends with 0 if there are none.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bitspike.deploy.model import Model
from bitspike.packed.file import decode, encode
from test_packed import CASES, all_as_alone, first_calls

THREADS = 6
M_PERTURB = -6  # of glibc's mallopt


def wrong_rounds(kind: str, rounds: int) -> int:
    """Rounds with a wrong answer among `rounds`, each with a model of its own."""
    data, inputs, alone = encode(CASES[kind].contents), CASES[kind].inputs(10), Model(CASES[kind].contents)
    wrong = 0
    for _ in range(rounds):
        found = first_calls(Model(decode(data)), inputs, THREADS)
        wrong += not all_as_alone(found, THREADS, alone, inputs)
    return wrong


def main(arguments: list[str]) -> int:
    rounds = int(arguments[0]) if arguments else 1000
    getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)(M_PERTURB, 90)
    sys.setswitchinterval(1e-6)
    total = 0
    for kind in arguments[1:] or CASES:
        wrong = wrong_rounds(kind, rounds)
        print(f"{kind}: {wrong} of {rounds} rounds with {THREADS} threads gave wrong answers", flush=True)
        total += wrong
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
