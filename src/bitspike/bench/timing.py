"""Fair timing: rivals take turns, so that a machine that speeds up or slows down treats all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


def alternate(
    rivals: dict[str, Callable[[], object]], seconds: float, turn: float = 0.05, at_least: int = 3
) -> dict[str, float]:
    """Median seconds of one call of each rival.

    In its turn a rival is called once uncounted, to bring its own data back into the caches, then again and again for
    `turn` seconds, whose mean is one sample. Turns go round until every rival had `seconds`, `at_least` of them each.
    A call that takes longer than 10 `turn` is not called uncounted again: caches do not matter to it.
    """
    times: dict[str, list[float]] = {name: [] for name in rivals}
    spent = dict.fromkeys(rivals, 0.0)
    while any(spent[name] < seconds or len(times[name]) < at_least for name in rivals):
        for name, call in rivals.items():
            if spent[name] >= seconds and len(times[name]) >= at_least:
                continue
            if not times[name] or times[name][-1] <= 10 * turn:
                call()
            calls, begin, elapsed = 0, time.perf_counter(), 0.0
            while elapsed < min(turn, seconds) or not calls:
                call()
                calls, elapsed = calls + 1, time.perf_counter() - begin
            times[name].append(elapsed / calls)
            spent[name] += elapsed
    return {name: statistics.median(t) for name, t in times.items()}


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Torch, and with it the native kernels, on `count` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
