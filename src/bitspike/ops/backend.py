"""Which implementation runs, and where: chosen once, by name, never switched silently."""

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


def resolve_device(name: str) -> str:
    """Where to compute: `auto` takes cuda if there is a GPU, else cpu. One that is named is there or `BackendError`."""
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if n_gpus else "cpu"
    if name == "cpu":
        return name
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise BackendError(f"device {name!r} is unknown; use cpu, cuda, cuda:N or auto")
    if not n_gpus:
        why = (
            "PyTorch finds no GPU" if torch.version.cuda is not None else "this PyTorch is built without CUDA"
        )
        raise BackendError(
            f"device is {name}, but {why}; use device=cpu or auto, or install PyTorch for CUDA"
        )
    if number and int(number) >= n_gpus:
        raise BackendError(f"device is {name}, but GPUs are numbered up to {n_gpus - 1}; choose one of these")
    return name
