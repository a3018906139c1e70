"""Writes the test vectors of the model file into a folder (default: this one): always the same bytes.

Each NAME.bitspike comes with NAME.safetensors: `images` uint8 and the decisions that any reader must give
for them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import safetensors.numpy

from bitspike.coding import time_table
from bitspike.deploy.format import Contents, write
from bitspike.ops.packed.network import PackedLayer, PackedNetwork
from bitspike.ops.packed.reference import decide, decide_pixels


def numbers(n: int, seed: int) -> np.ndarray:
    """The upper 16 bits of a linear congruential generator, so that no library's generator has a say."""
    state, values = seed, []
    for _ in range(n):
        state = (1664525 * state + 1013904223) % 2**32
        values.append(state >> 16)
    return np.array(values)


def binary(n_in: int, n_out: int, low: int, high: int, seed: int) -> PackedLayer:
    draws = numbers(n_in * n_out + n_out, seed)
    thresholds = low + draws[n_in * n_out :] % (2 * (high - low) + 1) / 2
    return PackedLayer.binary((draws[: n_in * n_out] % 2 == 1).reshape(n_in, n_out), thresholds)


def real(n_in: int, n_out: int, threshold: float, seed: int) -> PackedLayer:
    weights = (numbers(n_in * n_out, seed) % 257 - 100).reshape(n_in, n_out) / 64
    return PackedLayer.real(weights, np.full(n_out, threshold))


def images(n: int, n_in: int, seed: int) -> np.ndarray:
    draws = numbers(2 * n * n_in, seed)
    values = (
        np.where(draws[: n * n_in] % 3 == 0, 0, draws[n * n_in :] % 256).astype(np.uint8).reshape(n, n_in)
    )
    values[0], values[1] = 0, 255
    return values


def main(folder: Path) -> None:
    digits = tuple(str(i) for i in range(10))
    models = {
        "tiny": Contents(
            PackedNetwork((binary(4, 9, 0, 1, 1), binary(9, 2, 0, 1, 2)), 4),
            "first_spike", (2, 2), ("no", "yes"),
        ),
        "digits": Contents(
            PackedNetwork((binary(64, 70, 2, 9, 3), binary(70, 10, 3, 6, 4)), 16),
            "first_spike", (8, 8), digits, 1.75, "vector",
        ),
        "mixed": Contents(
            PackedNetwork((real(35, 20, 4.0, 5), binary(20, 17, 0, 3, 6), real(17, 3, 2.5, 7)), 256, delay=1),
            "first_spike", (5, 7), ("red", "grün", "blau"), 0.5,
        ),
        "pixel": Contents(
            PackedNetwork((binary(64, 33, -300, 900, 8), binary(33, 10, 0, 0, 9)), 1),
            "pixel", (64,), digits, 4.0,
        ),
    }  # fmt: skip
    for seed, (name, contents) in enumerate(models.items(), start=100):
        write(contents, folder / f"{name}.bitspike")
        x = images(12, contents.network.n_in, seed)
        if contents.coding == "pixel":
            decisions = decide_pixels(contents.network, x)
        else:
            decisions = decide(contents.network, time_table(contents.network.n_steps)[x])
        (folder / f"{name}.safetensors").write_bytes(safetensors.numpy.save({"images": x, **vars(decisions)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
