"""Inference of what knows its doubts: packed BiSNN, and committees beside one model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from bitspike.bench.subjects import images, packed_after, trained
from bitspike.bench.timing import Call, Clock, alternate, does, torch_threads
from bitspike.deploy.model import Model
from bitspike.packed.committee import CommitteePacked
from bitspike.packed.contents import Contents
from bitspike.recipes.bisnn import real_bisnn_mnist, st_bisnn_mnist
from bitspike.recipes.first_spike_race import bs4nn_mnist


def bisnn_inference(
    seconds: float = 2.0,
    n_batches: int = 20,
    n: int = 500,
    threads: tuple[int, ...] = (1, 2),
    clock: Clock = time.perf_counter,
) -> list[dict[str, Any]]:
    """Packed BiSNN 784-256-256, 41 steps, one-bit and real, and the same decisions in plain PyTorch."""
    source, data = images()
    pixels = np.resize(data.test_inputs, (n, 28, 28))
    models = {
        name: packed_after(experiment, data, n_batches)[0]
        for name, experiment in {"one-bit": st_bisnn_mnist, "real": real_bisnn_mnist}.items()
    }
    plain = trained(st_bisnn_mnist, data, n_batches).network
    plain.backend = "reference"
    coded = torch.from_numpy(pixels).flatten(1)
    rows = []
    for count in threads:
        calls = {
            f"packed {name} ({model.backend})": does(n, partial(model.decide, pixels, count))
            for name, model in models.items()
        }
        # All inputs at once: in the few at a time of `decide`, which spares memory, plain PyTorch is slower.
        calls["plain PyTorch, one-bit"] = does(n, torch.no_grad()(partial(plain._decide, coded, None)))
        rows += _rows(calls, count, seconds, source, clock)
    return rows


def committees(
    seconds: float = 2.0,
    n_batches: int = 300,
    sizes: tuple[int, ...] = (3, 10),
    n: int = 2048,
    threads: tuple[int, ...] = (1, 2),
    clock: Clock = time.perf_counter,
) -> list[dict[str, Any]]:
    """Packed one-bit 784-600-10 of first spikes: labels of one, decisions of one, of committees."""
    source, data = images()
    pixels = np.resize(data.test_inputs, (n, 28, 28))
    members = [
        packed_after(replace(bs4nn_mnist, seed=seed), data, n_batches)[0] for seed in range(max(sizes))
    ]
    together = {size: _committee(members[:size]) for size in sizes}
    rows = []
    for count in threads:
        calls = {
            "one model": does(n, partial(members[0].decide, pixels, count)),
            "one model, labels alone": does(n, partial(members[0].predict, pixels, count)),
        }
        for size, committee in together.items():
            calls[f"committee of {size}"] = does(n, partial(committee.decide, pixels, count))
        rows += _rows(calls, count, seconds, source, clock)
    return rows


def _committee(members: Sequence[Model]) -> Model:
    first = members[0].contents
    packed = CommitteePacked(tuple(member.contents for member in members))
    return Model(Contents(packed, first.input_shape, first.classes))


def _rows(
    calls: dict[str, Call], threads: int, seconds: float, source: str, clock: Clock
) -> list[dict[str, Any]]:
    with torch_threads(threads):
        times = alternate(calls, seconds, clock)
    first = next(iter(times.values()))
    return [
        {
            "system": name,
            "threads": threads,
            "us per image": round(t * 1e6, 2),
            "images per second": round(1 / t),
            "relative": round(t / first, 2),
            "data": source,
        }
        for name, t in times.items()
    ]
