"""Which implementation runs: chosen once, by name, never switched silently."""

from __future__ import annotations

import importlib.util
from typing import Literal

import torch

from bitspike.errors import BackendError

Backend = Literal["native", "reference"]


def native_available() -> bool:
    """True if the native module was built."""
    return importlib.util.find_spec("bitspike._native") is not None


def resolve(backend: str, device: torch.device | str = "cpu") -> Backend:
    """`auto`: native on the CPU if it was built, else the reference. A named back end runs or raises `BackendError`."""
    on_cpu = torch.device(device).type == "cpu"
    if backend == "auto":
        return "native" if on_cpu and native_available() else "reference"
    if backend == "reference":
        return "reference"
    if backend != "native":
        raise BackendError(f"backend {backend!r} is unknown; use auto, native or reference")
    if not on_cpu:
        raise BackendError(
            f"the native back end runs on the CPU, not on {device}; use backend=auto or reference"
        )
    if not native_available():
        raise BackendError(
            "the native module was not built; reinstall with a C++ compiler, or use backend=reference"
        )
    return "native"
