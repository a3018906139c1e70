"""Where to compute: what is named is there, or the sentence says the mend."""

from __future__ import annotations

import pytest
import torch

from bitspike.errors import BackendError
from bitspike.ops.backend import resolve_device


def gpus(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 0)
    assert (resolve_device("cpu"), resolve_device("auto")) == ("cpu", "cpu")
    for name in ("cuda", "cuda:0"):
        with pytest.raises(BackendError, match=f"device is {name}, but .*use device=cpu or auto"):
            resolve_device(name)


def test_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 2)
    assert [resolve_device(name) for name in ("cpu", "auto", "cuda", "cuda:1")] == [
        "cpu",
        "cuda",
        "cuda",
        "cuda:1",
    ]
    with pytest.raises(BackendError, match="numbered up to 1"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:", "cuda:x", "cpu:0", ""])
def test_an_unknown_device(name: str) -> None:
    with pytest.raises(BackendError, match=r"use cpu, cuda, cuda:N or auto|use device=cpu"):
        resolve_device(name)


@pytest.mark.gpu
def test_a_gpu_that_is_there() -> None:
    assert torch.ones(1, device=resolve_device("auto")).is_cuda
