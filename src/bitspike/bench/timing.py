"""Fair timing: rivals take turns, so that a machine that speeds up or slows down treats all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch

Clock = Callable[[], float]  # seconds, from any start
Call = Callable[[], int]  # does some work and returns how much, in the benchmark's unit: images, time steps


def alternate(
    rivals: Mapping[str, Call],
    seconds: float,
    clock: Clock = time.perf_counter,
    turn: float = 0.05,
    at_least: int = 3,
) -> dict[str, float]:
    """Median seconds per unit of work of each rival.

    In its turn a rival is called once uncounted, to bring its own data back into the caches, then again and again for
    `turn` seconds; these by the work that the calls report are one sample. Turns go round until every rival had
    `seconds`, `at_least` of them each. A call that takes longer than 10 `turn` is not called uncounted again: caches do
    not matter to it.
    """
    samples: dict[str, list[float]] = {name: [] for name in rivals}
    spent = dict.fromkeys(rivals, 0.0)
    one_call = dict.fromkeys(rivals, 0.0)
    while any(spent[name] < seconds or len(samples[name]) < at_least for name in rivals):
        for name, call in rivals.items():
            if spent[name] >= seconds and len(samples[name]) >= at_least:
                continue
            if one_call[name] <= 10 * turn:
                call()
            calls, work, elapsed, begin = 0, 0, 0.0, clock()
            while elapsed < min(turn, seconds) or not calls:
                work += call()
                calls, elapsed = calls + 1, clock() - begin
            samples[name].append(elapsed / work)
            one_call[name] = elapsed / calls
            spent[name] += elapsed
    return {name: statistics.median(taken) for name, taken in samples.items()}


def does(units: int, call: Callable[[], object]) -> Call:
    """A call that always does so many units of work."""

    def run() -> int:
        call()
        return units

    return run


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Torch, and with it the native kernels, on `count` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
