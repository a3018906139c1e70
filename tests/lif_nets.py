"""Random packed networks of spike trains for the tests, and inputs for them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from bitspike.coding import Direct, Poisson, SpikeList
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.operators import Conv, Dense, Operator, Pool
from bitspike.packed.lif.network import LIFPacked, from_weights


def dense(*widths: int) -> list[Operator]:
    return [Dense(n_in, n_out) for n_in, n_out in itertools.pairwise(widths)]


def maps(height: int, width: int, channels: int, classes: int = 10) -> list[Operator]:
    """A small convolutional network: padded convolution, pool with a rest at the border, convolution, dense."""
    first = Conv(height, width, channels, 15, 3, 1)
    pool = Pool(first.out_height, first.out_width, 15, 2)
    second = Conv(pool.out_height, pool.out_width, 15, 20, 2)
    return [first, pool, second, Dense(second.n_out, 37), Dense(37, classes)]


def random_trains(
    rng: np.random.Generator,
    operators: list[Operator],
    binary: bool,
    coding: Any = None,
    n_steps: int = 40,
    level: float = 0.4,
    lateral: float = 0.0,
    refractory: int = 2,
    epsilon: float = 0.0,
) -> LIFPacked:
    """Thresholds lie about `level` times the current of one step of a tenth of the inputs."""
    neurons, weights = [], []
    for index, op in enumerate(operators):
        shape = op.weight_shape
        rows = op.size**2 if shape is None else int(np.prod(shape[:-1]))
        weight = None if shape is None else rng.normal(0.1, 1, shape)
        weights.append(weight if weight is None or not binary else np.where(weight > 0, 1.0, -1.0))
        is_last = index == len(operators) - 1
        threshold = level * (1.0 if shape is None else float(np.sqrt(rows))) * rng.uniform(0.8, 1.2) + epsilon
        neurons.append(Neuron(threshold, 20.0, 5.0, refractory, lateral if is_last else 0.0, epsilon))
    return from_weights(operators, neurons, weights, binary, coding, n_steps)


def random_spikes(rng: np.random.Generator, n: int, n_steps: int, n_channels: int) -> SpikeList:
    """Dense, sparse, empty and full recordings; spikes of a recording in no order."""
    share = np.where(np.arange(n) < n // 3, 0.4, 0.05)
    spikes = rng.random((n, n_steps, n_channels)) < share[:, None, None]
    spikes[0], spikes[-1] = False, True
    parts = []
    for recording in spikes:
        steps, channels = np.nonzero(recording)
        order = rng.permutation(len(steps))
        parts.append(
            SpikeList(
                steps[order].astype(np.int16), channels[order].astype(np.int32),
                np.array([0, len(steps)]), n_steps, n_channels,
            )
        )  # fmt: skip
    return SpikeList.concatenate(parts)


def random_inputs(rng: np.random.Generator, n: int, network: LIFPacked) -> Any:
    """Inputs of the kind that the network's coding takes."""
    if not isinstance(network.coding, Direct | Poisson):
        return random_spikes(rng, n, network.n_steps, network.n_in)
    signed = isinstance(network.coding, Poisson) and network.coding.signed
    images = rng.integers(0, 256, (n, network.n_in // (2 if signed else 1))).astype(np.uint8)
    images[n // 3 :][rng.random(images[n // 3 :].shape) < 0.7] = 0
    images[0], images[-1] = 0, 255
    return images
