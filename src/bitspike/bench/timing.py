"""Fair timing: rivals take turns, so that a machine that speeds up or slows down treats all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


def alternate(rivals: dict[str, Callable[[], object]], seconds: float, at_least: int = 3) -> dict[str, float]:
    """Median seconds of one call of each rival: one call of each in turn, until every rival had `seconds`.

    One call of each goes before and is not counted. At least `at_least` rounds are made.
    """
    for call in rivals.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in rivals}
    while any(len(t) < at_least or sum(t) < seconds for t in times.values()):
        for name, call in rivals.items():
            if len(times[name]) >= at_least and sum(times[name]) >= seconds:
                continue
            begin = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - begin)
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
