"""Inference: the packed one-bit network against a PyTorch MLP of the same shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from bitspike.bench import rivals_trains
from bitspike.bench.subjects import images, mlp, trained
from bitspike.bench.timing import alternate, torch_threads
from bitspike.contracts import Batch, encode_images
from bitspike.data import Split
from bitspike.deploy.load import AnyModel
from bitspike.deploy.pack import pack
from bitspike.experiment import Experiment
from bitspike.recipes.first_spike_race import bs4nn_mnist
from bitspike.recipes.hm2bp import hm2bp_mnist, hm2bp_mnist_binary


def inference(seconds: float = 2.0, n_batches: int = 1500) -> list[dict[str, Any]]:
    """Packed 784-600-10 network against the MLP, batch 1024 and 1, on one thread and two."""
    source, data = images()
    packed, accuracy = packed_after(replace(bs4nn_mnist, seed=1), data, n_batches)
    pixels = np.resize(data.test_inputs, (max(2048, len(data.test_inputs)), 28, 28))
    floats = torch.from_numpy(pixels).flatten(1).float() / 255
    rival, half = mlp(784, 600, 10).eval(), mlp(784, 600, 10).eval().bfloat16()
    rows = []
    for threads in (1, 2):
        for batch in (1024, 1):
            # Every call goes through different images: a repeated batch would be learned by the branch predictor.
            parts = [slice(k, k + batch) for k in range(0, min(len(pixels), 200 * batch) - batch + 1, batch)]
            raw, x = [pixels[part] for part in parts], [floats[part] for part in parts]
            rivals: dict[str, Callable[[], object]] = {
                f"packed one-bit ({packed.backend})": _over(raw, partial(packed.predict, threads=threads)),
                "PyTorch MLP float32": _over(x, rival),
                "PyTorch MLP bfloat16": _over([part.bfloat16() for part in x], half),
            }
            with torch_threads(threads), torch.inference_mode():
                times = alternate(rivals, seconds / 4)
            rows += [
                {
                    "system": name,
                    "threads": threads,
                    "batch": batch,
                    "us per image": round(t / batch / len(parts) * 1e6, 3),
                    "packed is faster by": round(t / next(iter(times.values())), 2),
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
) -> list[dict[str, Any]]:
    """Packed spike trains, 784-800-10, 100 steps, against the MLP and the libraries' forward pass, batch 1000 and 1."""
    source, data = images()
    ours = {
        name: packed_after(experiment, data, n_batches)
        for name, experiment in {"one-bit": hm2bp_mnist_binary, "real": hm2bp_mnist}.items()
    }
    right = ", ".join(f"{name} {accuracy:.3f}" for name, (_, accuracy) in ours.items())
    rivals: dict[str, Callable[[Any], object]] = {"PyTorch MLP float32": mlp(784, 800, 10).eval()}
    for library in rivals_trains.NAMES:
        network = rivals_trains.network(library, rivals_trains.dense(800), hm2bp_mnist.coding.n_steps)
        if network is not None:
            rivals[f"{library}, forward"] = partial(network.eval(), constant=True)
    rows = []
    for count in threads:
        for batch in batches:
            n_parts = max(1, min(20, 1000 // batch))
            pixels = np.resize(data.test_inputs, (n_parts * batch, 28, 28))
            floats = torch.from_numpy(pixels).flatten(1).float() / 255
            parts = [slice(k, k + batch) for k in range(0, len(pixels), batch)]
            raw, x = [pixels[part] for part in parts], [floats[part] for part in parts]
            calls = {
                f"packed {name} ({model.backend})": _over(raw, partial(model.predict, threads=count))
                for name, (model, _) in ours.items()
            }
            calls |= {name: _over(x, rival) for name, rival in rivals.items()}
            with torch_threads(count), torch.inference_mode():
                times = alternate(calls, seconds / 4)
            one_bit, real, *_ = times.values()
            rows += [
                {
                    "system": name,
                    "threads": count,
                    "batch": batch,
                    "us per image": round(t / batch / len(parts) * 1e6, 2),
                    "one-bit is faster by": round(t / one_bit, 2),
                    "real is faster by": round(t / real, 2),
                    "data": f"{source}; packed accuracy {right} after {n_batches} batches",
                }
                for name, t in times.items()
            ]
    return rows


def packed_after(experiment: Experiment, data: Split, n_batches: int) -> tuple[AnyModel, float]:
    """The network after `n_batches`, calibrated and packed, and its accuracy on the test images."""
    model, _ = trained(experiment, data, n_batches)
    validation = Batch(
        encode_images(experiment.coding, torch.from_numpy(data.validation_inputs).flatten(1)),
        torch.from_numpy(data.validation_labels),
    )
    experiment.rule.calibrate(model, validation, experiment.training.max_silent)
    packed = pack(model, experiment, [str(k) for k in range(10)], data.test_inputs.shape[1:])
    return packed, float((packed.predict(data.test_inputs) == data.test_labels).mean())


def _over(parts: Sequence[Any], call: Callable[[Any], object]) -> Callable[[], object]:
    def run() -> None:
        for part in parts:
            call(part)

    return run
