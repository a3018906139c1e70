"""Inference: packed networks of first spikes and of spike trains against a PyTorch MLP of the same shape."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from bitspike.bench import rivals_trains
from bitspike.bench.subjects import images, mlp, packed_after
from bitspike.bench.timing import Call, Clock, alternate, does, torch_threads
from bitspike.recipes.first_spike_race import bs4nn_mnist
from bitspike.recipes.hm2bp import hm2bp_mnist, hm2bp_mnist_binary

Rival = tuple[torch.dtype, Callable[[Any], object]]  # what it takes images as, and what decides


def inference(
    seconds: float = 2.0,
    n_batches: int = 1500,
    batches: tuple[int, ...] = (1024, 1),
    threads: tuple[int, ...] = (1, 2),
    clock: Clock = time.perf_counter,
) -> list[dict[str, Any]]:
    """Packed 784-600-10 network against the MLP, batch 1024 and 1, on one thread and two."""
    source, data = images()
    model, accuracy = packed_after(replace(bs4nn_mnist, seed=1), data, n_batches)
    ours = {f"packed one-bit ({model.backend})": model.predict}
    rivals: dict[str, Rival] = {
        f"PyTorch MLP {name}": (kind, mlp(784, 600, 10).eval().to(kind))
        for name, kind in {"float32": torch.float32, "bfloat16": torch.bfloat16}.items()
    }
    rows = []
    for count in threads:
        for batch in batches:
            n = min(max(2048, len(data.test_inputs)) // batch, 200) * batch
            raw = np.resize(data.test_inputs, (n, 28, 28))
            times = _taking_turns(ours, rivals, raw, batch, count, seconds / 4, clock)
            packed = next(iter(times.values()))
            rows += [
                {
                    "system": name,
                    "threads": count,
                    "batch": batch,
                    "us per image": round(t * 1e6, 3),
                    "packed is faster by": round(t / packed, 2),
                    "data": f"{source}; packed accuracy {accuracy:.4f} after {n_batches} steps",
                }
                for name, t in times.items()
            ]
    return rows


def trains(
    seconds: float = 2.0,
    n_batches: int = 300,
    batches: tuple[int, ...] = (1000, 1),
    threads: tuple[int, ...] = (1, 2),
    clock: Clock = time.perf_counter,
) -> list[dict[str, Any]]:
    """Packed spike trains, 784-800-10, 100 steps, against the MLP and the libraries' forward pass, batch 1000 and 1."""
    source, data = images()
    models = {
        name: packed_after(experiment, data, n_batches)
        for name, experiment in {"one-bit": hm2bp_mnist_binary, "real": hm2bp_mnist}.items()
    }
    right = ", ".join(f"{name} {accuracy:.3f}" for name, (_, accuracy) in models.items())
    ours = {f"packed {name} ({model.backend})": model.predict for name, (model, _) in models.items()}
    rivals: dict[str, Rival] = {"PyTorch MLP float32": (torch.float32, mlp(784, 800, 10).eval())}
    for library in rivals_trains.NAMES:
        network = rivals_trains.network(library, rivals_trains.dense(800), hm2bp_mnist.coding.n_steps)
        if network is not None:
            rivals[f"{library}, forward"] = torch.float32, partial(network.eval(), constant=True)
    rows = []
    for count in threads:
        for batch in batches:
            n = max(1, min(20, 1000 // batch)) * batch
            raw = np.resize(data.test_inputs, (n, 28, 28))
            times = _taking_turns(ours, rivals, raw, batch, count, seconds / 4, clock)
            one_bit, real, *_ = times.values()
            rows += [
                {
                    "system": name,
                    "threads": count,
                    "batch": batch,
                    "us per image": round(t * 1e6, 2),
                    "one-bit is faster by": round(t / one_bit, 2),
                    "real is faster by": round(t / real, 2),
                    "data": f"{source}; packed accuracy {right} after {n_batches} batches",
                }
                for name, t in times.items()
            ]
    return rows


def _taking_turns(
    packed: Mapping[str, Callable[..., object]],
    rivals: Mapping[str, Rival],
    raw: np.ndarray,
    batch: int,
    threads: int,
    seconds: float,
    clock: Clock,
) -> dict[str, float]:
    """Seconds per image of packed models, which take pixels, and of rivals, which take floats, batch after batch.

    A call goes through all images: a repeated batch would be learned by the branch predictor.
    """
    floats = torch.from_numpy(raw).flatten(1).float() / 255
    parts = [slice(start, start + batch) for start in range(0, len(raw), batch)]
    calls = {
        name: _through([raw[part] for part in parts], partial(predict, threads=threads))
        for name, predict in packed.items()
    }
    for name, (kind, decide) in rivals.items():
        calls[name] = _through([floats[part].to(kind) for part in parts], decide)
    with torch_threads(threads), torch.inference_mode():
        return alternate(calls, seconds, clock)


def _through(parts: list[Any], decide: Callable[[Any], object]) -> Call:
    def run() -> None:
        for part in parts:
            decide(part)

    return does(sum(map(len, parts)), run)
