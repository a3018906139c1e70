"""Random packed networks for the tests, and an exact comparison of decisions."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np

from bitspike.packed.decisions import Decisions
from bitspike.packed.first_spike.layers import FirstSpikePackedLayer
from bitspike.packed.first_spike.network import FirstSpikePacked
from bitspike.packed.heaviside import HeavisidePacked


def random_network(
    rng: np.random.Generator,
    widths: tuple[int, ...],
    kinds: str,
    n_steps: int = 16,
    delay: int = 0,
    level: float = 0.5,
) -> FirstSpikePacked:
    """`kinds` has a letter per layer, b or r; thresholds lie about `level` standard deviations up."""
    layers = []
    for kind, n_in, n_out in zip(kinds, widths[:-1], widths[1:], strict=True):
        thresholds = (rng.normal(level, 0.3, n_out) * np.sqrt(n_in)).astype(np.float32)
        if kind == "b":
            layers.append(FirstSpikePackedLayer.binary(rng.random((n_in, n_out)) < 0.5, thresholds))
        else:
            layers.append(
                FirstSpikePackedLayer.real(np.round(rng.normal(0, 1, (n_in, n_out)) * 256) / 256, thresholds)
            )
    return FirstSpikePacked(tuple(layers), n_steps, delay)


def random_heaviside(
    rng: np.random.Generator, widths: tuple[int, ...], binarise: bool = False
) -> HeavisidePacked:
    """Hidden thresholds lie about the middle of what a unit sees, those of the last layer are 0."""
    layers = []
    for index, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        scale = np.sqrt(n_in) * (100 if index == 0 else 0.5)
        last = index == len(widths) - 2
        thresholds = np.zeros(n_out) if last else rng.normal(0, scale, n_out)
        layers.append(FirstSpikePackedLayer.binary(rng.random((n_in, n_out)) < 0.5, thresholds))
    return HeavisidePacked(tuple(layers), binarise)


def random_times(rng: np.random.Generator, n: int, network: FirstSpikePacked) -> np.ndarray[Any, Any]:
    """Dense, sparse, all-black and all-at-once inputs."""
    times = rng.integers(0, network.n_steps + 1, (n, network.n_in)).astype(np.int16)
    times[n // 3 :][rng.random(times[n // 3 :].shape) < 0.8] = network.n_steps
    times[0], times[-1] = network.n_steps, 0
    return times


def random_images(rng: np.random.Generator, n: int, n_in: int) -> np.ndarray[Any, Any]:
    """Dense, sparse, all-black and all-white images."""
    images = rng.integers(0, 256, (n, n_in)).astype(np.uint8)
    images[n // 3 :][rng.random(images[n // 3 :].shape) < 0.8] = 0
    images[0], images[-1] = 0, 255
    return images


def assert_equal(a: Decisions, b: Decisions) -> None:
    for field in dataclasses.fields(Decisions):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name), err_msg=field.name)
