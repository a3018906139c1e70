"""Work in a child process under limits of memory and time, and a line that says how far it is."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

GB = 1 << 30


def in_child(work: Callable[[], int], log: Path, seconds: int, more_memory: int = 2 * GB) -> int:
    """The exit code of `work` in a child, minus the signal's number if one ended it; what it printed goes to `log`.

    `seconds` of the processor, and twenty times as many of the clock, for a machine may be busy. `more_memory`: bytes
    of address space above what this process has now.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 99
    try:
        limit(more_memory)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20 * seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        with (
            open(log, "w", encoding="utf-8", errors="surrogateescape") as stream,
            contextlib.redirect_stdout(stream),
            contextlib.redirect_stderr(stream),
        ):
            code = work()
    except BaseException as error:  # whatever it is, the parent must hear of it
        with open(log, "a", encoding="utf-8") as stream:
            stream.write(f"escaped: {type(error).__name__}: {error}\n")
    finally:
        os._exit(code)


def limit(more_memory: int) -> None:
    """From here on this process gets no more than so many bytes of address space, and writes no core."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more_memory, used + more_memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Tally:
    """Counts of outcomes, faults kept in words, a progress line."""

    def __init__(self, name: str, planned: int) -> None:
        self.name, self.planned, self.done, self.faults = name, planned, 0, list[str]()
        self.counts = dict[str, int]()
        self._began = self._shown = time.monotonic()

    def add(self, outcome: str, fault: str | None = None) -> None:
        """One more of `outcome`; `fault` says what was wrong with it."""
        self.done += 1
        self.counts[outcome] = self.counts.get(outcome, 0) + 1
        if fault is not None:
            self.faults.append(fault)
            print(f"\nFAULT {self.name}: {fault}", flush=True)
        if time.monotonic() - self._shown > 10:
            self.show()

    def show(self, end: str = "\r") -> None:
        """How far it is; with `end` a newline, how it ended."""
        self._shown = time.monotonic()
        parts = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(self.counts.items()))
        seconds = self._shown - self._began
        print(f"{self.name}: {self.done:,} of {self.planned:,} ({parts}), {len(self.faults)} faults, {seconds:.0f} s",
              end=end, flush=True)  # fmt: skip


def finish(tallies: list[Tally]) -> None:
    """Exit with 1 where anything was wrong."""
    faults = sum(len(tally.faults) for tally in tallies)
    print(f"{sum(tally.done for tally in tallies):,} tried, {faults} faults")
    sys.exit(faults > 0)
