"""Inference: the packed one-bit network against a PyTorch MLP of the same shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from bitspike.bench.subjects import images, mlp, trained
from bitspike.bench.timing import alternate, torch_threads
from bitspike.contracts import Batch, encode_images
from bitspike.deploy.pack import pack
from bitspike.recipes.first_spike_race import bs4nn_mnist


def inference(seconds: float = 2.0, n_batches: int = 1500) -> list[dict[str, Any]]:
    """Packed 784-600-10 network against the MLP, batch 1024 and 1, on one thread and two."""
    source, data = images()
    experiment = replace(bs4nn_mnist, seed=1)
    model, _ = trained(experiment, data, n_batches)
    validation = Batch(
        encode_images(experiment.coding, torch.from_numpy(data.validation_inputs).flatten(1)),
        torch.from_numpy(data.validation_labels),
    )
    experiment.rule.calibrate(model, validation, experiment.training.max_silent)
    packed = pack(model, experiment, [str(k) for k in range(10)], data.test_inputs.shape[1:])
    pixels = np.resize(data.test_inputs, (max(2048, len(data.test_inputs)), 28, 28))
    accuracy = float((packed.predict(data.test_inputs) == data.test_labels).mean())
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


def _over(parts: Sequence[Any], call: Callable[[Any], object]) -> Callable[[], object]:
    def run() -> None:
        for part in parts:
            call(part)

    return run
