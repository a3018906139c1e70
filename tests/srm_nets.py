"""Random packed BiSNN networks for the tests."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from bitspike.ops.operators import Conv, Dense
from bitspike.ops.srm.neuron import SRMNeuron
from bitspike.packed.srm.network import SRMPacked, from_weights

Shape = list[tuple[Dense | Conv, int]]  # operator, pool


def dense(*widths: int) -> Shape:
    return [(Dense(n_in, n_out), 1) for n_in, n_out in itertools.pairwise(widths)]


def maps(height: int, width: int, channels: int) -> Shape:
    """A padded convolution pooled with a rest at the border, one without pooling, a dense layer."""
    first = Conv(height, width, channels, 13, 3, 1)
    second = Conv(first.out_height // 2, first.out_width // 2, 13, 18, 2)
    return [(first, 2), (second, 1), (Dense(second.n_out, 21), 1)]


def random_srm(
    rng: np.random.Generator,
    shape: Shape,
    n_classes: int,
    binary: bool,
    coding: Any = None,
    n_steps: int = 30,
    biased: bool = True,
    burn_in: int = 4,
    neuron: SRMNeuron | None = None,
) -> SRMPacked:
    """One readout for one or two classes, else one per class."""
    layers = []
    for op, pool in shape:
        weight, bias = rng.normal(0, 1, op.weight_shape), rng.normal(0, 1, op.weight_shape[-1])
        if binary:
            weight, bias = np.where(weight >= 0, 1.0, -1.0), np.where(bias >= 0, 1.0, -1.0)
        layers.append((op, pool, weight, bias if biased else None))
    op, pool = shape[-1]
    n_out = (
        op.n_out if isinstance(op, Dense) else op.out_height // pool * (op.out_width // pool) * op.n_filters
    )
    n_readouts = 1 if n_classes <= 2 else n_classes
    readout, readout_bias = (rng.choice([-1, 1], size) for size in ((n_out, n_readouts), (n_readouts,)))
    return from_weights(
        layers, neuron or SRMNeuron(), readout, readout_bias, burn_in, binary, coding, n_steps, n_classes
    )
