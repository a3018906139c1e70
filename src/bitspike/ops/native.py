"""The native module: is it there, for which instruction sets, on how many threads. Importing this needs no torch."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from bitspike.errors import BackendError, DataError


def instruction_sets() -> list[str]:
    """What the native engine can use on this machine, best last; empty where it was not built."""
    module = _module()
    return list(module.instruction_sets()) if module is not None else []


def default_threads() -> int:
    """Torch's number of threads where torch is loaded, else OMP_NUM_THREADS, else the processors at hand."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(wanted) if wanted.isdecimal() and int(wanted) > 0 else processors()


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def kernels(isa: str | None) -> tuple[Any, str]:
    """The native module and an instruction set of this machine, None for its best; `BackendError` without either."""
    module = _module()
    if module is None:
        raise BackendError(
            "the native engine was not built; reinstall bitspike with a C++ compiler or use the reference"
        )
    there = instruction_sets()
    if isa is not None and isa not in there:
        raise BackendError(f"instruction set {isa!r} is not available here; this machine has {there}")
    return module, isa or there[-1]


def thread_count(threads: int | None, n: int) -> int:
    """How many threads decide `n` inputs: as many as asked for; by default one for few inputs, else all."""
    if threads is None:
        return default_threads() if n > 100 else 1
    if threads < 1:
        raise DataError(f"threads is {threads}; at least 1 is needed")
    return threads


def _module() -> Any:
    try:
        return importlib.import_module("bitspike._native")
    except ImportError:
        return None
