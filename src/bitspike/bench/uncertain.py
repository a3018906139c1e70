"""Inference of what knows its doubts: packed BiSNN, and committees beside one model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from bitspike.bench.inference import packed_after
from bitspike.bench.subjects import images, trained
from bitspike.bench.timing import alternate, torch_threads
from bitspike.packed.committee import CommitteeModel
from bitspike.recipes.bisnn import real_bisnn_mnist, st_bisnn_mnist
from bitspike.recipes.first_spike_race import bs4nn_mnist


def bisnn_inference(
    seconds: float = 2.0, n_batches: int = 20, n: int = 500, threads: tuple[int, ...] = (1, 2)
) -> list[dict[str, Any]]:
    """Packed BiSNN 784-256-256, 41 steps, one-bit and real, and the same decisions in plain PyTorch."""
    source, data = images()
    pixels = np.resize(data.test_inputs, (n, 28, 28))
    models = {
        name: packed_after(experiment, data, n_batches)[0]
        for name, experiment in {"one-bit": st_bisnn_mnist, "real": real_bisnn_mnist}.items()
    }
    plain: Any = trained(st_bisnn_mnist, data, n_batches)[0]
    plain.backend = "reference"
    coded = torch.from_numpy(pixels).flatten(1)
    rows = []
    for count in threads:
        calls: dict[str, Callable[[], object]] = {
            f"packed {name} ({model.backend})": partial(model.decide, pixels, count)
            for name, model in models.items()
        }
        calls["plain PyTorch, one-bit"] = partial(plain.decide, coded)
        with torch_threads(count):
            times = alternate(calls, seconds)
        rows += _rows(times, count, n, source)
    return rows


def committees(
    seconds: float = 2.0,
    n_batches: int = 300,
    sizes: tuple[int, ...] = (3, 10),
    n: int = 2048,
    threads: tuple[int, ...] = (1, 2),
) -> list[dict[str, Any]]:
    """Packed one-bit 784-600-10 of first spikes: labels of one, decisions of one, of committees."""
    source, data = images()
    pixels = np.resize(data.test_inputs, (n, 28, 28))
    members = [
        packed_after(replace(bs4nn_mnist, seed=seed), data, n_batches)[0] for seed in range(max(sizes))
    ]
    rows = []
    for count in threads:
        calls: dict[str, Callable[[], object]] = {
            "one model": partial(members[0].decide, pixels, count),
            "one model, labels alone": partial(members[0].predict, pixels, count),
        }
        for size in sizes:
            calls[f"committee of {size}"] = partial(CommitteeModel(members[:size]).decide, pixels, count)
        with torch_threads(count):
            times = alternate(calls, seconds)
        rows += _rows(times, count, n, source)
    return rows


def _rows(times: dict[str, float], threads: int, n: int, source: str) -> list[dict[str, Any]]:
    first = next(iter(times.values()))
    return [
        {
            "system": name,
            "threads": threads,
            "us per image": round(t / n * 1e6, 2),
            "images per second": round(n / t),
            "relative": round(t / first, 2),
            "data": source,
        }
        for name, t in times.items()
    ]
