"""Writes the test vectors of the model file into a folder (default: this one): always the same bytes.

Each NAME.bitspike comes with NAME.safetensors: `images` uint8, or `steps`, `channels` and `offsets` of coded
recordings, and the decisions that any reader must give for them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import safetensors.numpy

from bitspike.coding import Direct, EventBins, Latency, Poisson, SpikeList
from bitspike.ops.glm.topology import Group, Topology
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.operators import Conv, Dense, Operator, Pool
from bitspike.ops.srm.neuron import SRMNeuron
from bitspike.packed.committee import CommitteePacked
from bitspike.packed.contents import Contents
from bitspike.packed.file import write
from bitspike.packed.first_spike.layers import FirstSpikePackedLayer
from bitspike.packed.first_spike.network import FirstSpikePacked
from bitspike.packed.glm.layers import Connection
from bitspike.packed.glm.network import GLMPacked
from bitspike.packed.heaviside import HeavisidePacked
from bitspike.packed.lif.network import LIFPacked, from_weights
from bitspike.packed.srm import network as srm
from bitspike.packed.weights import Reals, Signs


def numbers(n: int, seed: int) -> np.ndarray:
    """The upper 16 bits of a linear congruential generator, so that no library's generator has a say."""
    state, values = seed, []
    for _ in range(n):
        state = (1664525 * state + 1013904223) % 2**32
        values.append(state >> 16)
    return np.array(values)


def binary(n_in: int, n_out: int, low: int, high: int, seed: int) -> FirstSpikePackedLayer:
    draws = numbers(n_in * n_out + n_out, seed)
    thresholds = low + draws[n_in * n_out :] % (2 * (high - low) + 1) / 2
    return FirstSpikePackedLayer.binary((draws[: n_in * n_out] % 2 == 1).reshape(n_in, n_out), thresholds)


def real(n_in: int, n_out: int, threshold: float, seed: int) -> FirstSpikePackedLayer:
    weights = (numbers(n_in * n_out, seed) % 257 - 100).reshape(n_in, n_out) / 64
    return FirstSpikePackedLayer.real(weights, np.full(n_out, threshold))


def images(n: int, n_in: int, seed: int) -> np.ndarray:
    draws = numbers(2 * n * n_in, seed)
    values = (
        np.where(draws[: n * n_in] % 3 == 0, 0, draws[n * n_in :] % 256).astype(np.uint8).reshape(n, n_in)
    )
    values[0], values[1] = 0, 255
    return values


def lif_network(
    operators: list[Operator], neurons: list[Neuron], binary: bool, coding: object, n_steps: int, seed: int
) -> LIFPacked:
    weights: list[np.ndarray | None] = []
    for index, op in enumerate(operators):
        shape = op.weight_shape
        drawn = None if shape is None else numbers(int(np.prod(shape)), seed + index).reshape(shape)
        weights.append(
            None if drawn is None else (drawn % 2 * 2.0 - 1 if binary else (drawn % 257 - 90) / 64)
        )
    return from_weights(operators, neurons, weights, binary, coding, n_steps)


def spike_lists(n: int, n_steps: int, n_channels: int, seed: int) -> SpikeList:
    """Recording k has about k in 40 of all spikes."""
    draws = numbers(n * n_steps * n_channels, seed).reshape(n, n_steps, n_channels) % 40
    spikes = draws < np.arange(n)[:, None, None]
    rows, steps, channels = np.nonzero(spikes)
    offsets = np.searchsorted(rows, np.arange(n + 1))
    return SpikeList(
        steps.astype(np.int16), channels.astype(np.int32), offsets.astype(np.int64), n_steps, n_channels
    )


def lif_models(digits: tuple[str, ...]) -> dict[str, Contents]:
    conv = [Conv(8, 8, 1, 5, 3, 1), Pool(8, 8, 5, 2), Dense(80, 20), Dense(20, 10)]
    fast = (8.0, 2.0)
    return {
        "trains": Contents(
            lif_network(
                conv, [Neuron(2.5, *fast), Neuron(0.6, *fast), Neuron(3.0, *fast), Neuron(4.0, *fast, lateral=0.5)],
                True, Direct(24, 0.75), 24, 20,
            ),
            (8, 8), digits, 1.75, "vector",
        ),
        "poisson": Contents(
            lif_network(
                [Dense(24, 70), Dense(70, 3)], [Neuron(4.0, refractory=1), Neuron(9.0, lateral=1.0, epsilon=0.125)],
                False, Poisson(50, 0.25, signed=True), 50, 30,
            ),
            (3, 4), ("red", "grün", "blau"), 0.5,
        ),
        "saccade": Contents(
            lif_network(
                [Dense(24, 9), Dense(9, 2)], [Neuron(1.5, 16.0, 4.0, 0), Neuron(1.0, 16.0, 4.0)],
                True, EventBins(30, 1000, height=3, width=4), 30, 40,
            ),
            (2, 3, 4), ("no", "yes"), 1.0,
        ),
    }  # fmt: skip


def srm_network(n_classes: int, binary: bool, seed: int) -> srm.SRMPacked:
    """A padded convolution with max-pooling, a dense layer; biases on both."""
    layers = []
    shape: list[tuple[Dense | Conv, int]] = [(Conv(8, 8, 1, 6, 3, 1), 2), (Dense(96, 20), 1)]
    for index, (op, pool) in enumerate(shape):
        drawn = numbers(int(np.prod(op.weight_shape)) + op.weight_shape[-1], seed + index)
        values = drawn % 2 * 2.0 - 1 if binary else (drawn % 257 - 90) / 64
        weight, bias = np.split(values, [int(np.prod(op.weight_shape))])
        layers.append((op, pool, weight.reshape(op.weight_shape), bias))
    signs = numbers(21 * n_classes, seed + 9).reshape(21, n_classes) % 2 * 2 - 1
    return srm.from_weights(
        layers, SRMNeuron(9.0, 5.0, 2.5), signs[:20], signs[20], 4, binary, Poisson(20, 0.5), 20, n_classes
    )


def glm_network(
    topology: Topology, binary: bool, masked: bool, own: bool, coding: object, runs: int, seed: int
) -> GLMPacked:
    """Two filters of binary fractions, so that no library's exponential has a say."""
    table = np.array([[1, 0.5, 0.25, 0.125], [0, 1, 1, 0.5]], np.float32)
    connections = []
    for index, (source, target) in enumerate(topology.connections):
        shape = (topology.groups[source].rows, len(table), topology.groups[target].rows)
        drawn = numbers(int(np.prod(shape)), seed + index).reshape(shape)
        there = Signs.of(numbers(shape[0] * shape[2], seed + 50 + index).reshape(shape[0], -1) % 4 > 0)
        weights = (
            Signs.of(drawn % 2 == 1) if binary else Reals(((drawn % 257 - 128) / 128).astype(np.float32))
        )
        scale = ((1 + numbers(shape[2], seed + 90) % 7) / 16).astype(np.float32) if binary else None
        connections.append(Connection(weights, scale, there if masked else None))
    learned = topology.groups[1:]
    biases = tuple(((numbers(one.rows, seed + 70) % 65 - 48) / 32).astype(np.float32) for one in learned)
    feedback = table[:1] / 2, tuple(np.full((1, one.rows), -1.5, np.float32) for one in learned)
    decision = "count" if own else "probability"
    return GLMPacked(
        topology, tuple(connections), table, biases, feedback if own else None, decision, runs, 7, 14, coding
    )


def glm_models() -> dict[str, Contents]:
    skip = Topology((Group(12), Group(9, 2), Group(3)), ((0, 1), (0, 2), (1, 2)))
    every = ((0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2))
    all_hear = Topology((Group(24), Group(7, 3), Group(2, 2)), every)
    return {
        "circuits": Contents(
            glm_network(skip, True, False, False, Latency(14), 1, 70), (3, 4), ("red", "grün", "blau"), 0.5
        ),
        "chances": Contents(
            glm_network(all_hear, False, True, True, EventBins(14, 1000, height=3, width=4), 3, 80),
            (2, 3, 4), ("no", "yes"),
        ),
    }  # fmt: skip


def joint_models(one: dict[str, Contents], digits: tuple[str, ...]) -> dict[str, Contents]:
    bisnn = Contents(srm_network(10, True, 50), (8, 8), digits, 0.75, "vector", ((0.01, 0.9), (0.1, 0.5)))
    real = Contents(srm_network(10, False, 60), (8, 8), digits)
    members = one["digits"], one["trains"], bisnn, real
    committee = Contents(CommitteePacked(members, "potential"), (8, 8), digits, 1.5, "vector", ((0.1, 0.5),))
    return {"bisnn": bisnn, "committee": committee}


def write_vector(folder: Path, name: str, contents: Contents, seed: int) -> None:
    write(contents, folder / f"{name}.bitspike")
    network = contents.network
    if network.takes == "images":
        x = images(12, int(np.prod(contents.input_shape)), seed)
        given = {"images": x}
        x = network.inputs(x, contents.input_shape)
    else:
        x = spike_lists(12, network.n_steps, network.n_in, seed)
        given = {"steps": x.steps, "channels": x.channels, "offsets": x.offsets}
    (folder / f"{name}.safetensors").write_bytes(safetensors.numpy.save({**given, **vars(network.decide(x))}))


def main(folder: Path) -> None:
    digits = tuple(str(i) for i in range(10))
    models = {
        "tiny": Contents(
            FirstSpikePacked((binary(4, 9, 0, 1, 1), binary(9, 2, 0, 1, 2)), 4),
            (2, 2), ("no", "yes"),
        ),
        "digits": Contents(
            FirstSpikePacked((binary(64, 70, 2, 9, 3), binary(70, 10, 3, 6, 4)), 16),
            (8, 8), digits, 1.75, "vector",
        ),
        "mixed": Contents(
            FirstSpikePacked((real(35, 20, 4.0, 5), binary(20, 17, 0, 3, 6), real(17, 3, 2.5, 7)), 256, delay=1),
            (5, 7), ("red", "grün", "blau"), 0.5,
        ),
        "pixel": Contents(
            HeavisidePacked((binary(64, 33, -300, 900, 8), binary(33, 10, 0, 0, 9))), (64,), digits, 4.0,
        ),
    }  # fmt: skip
    trains = lif_models(digits)
    joint = joint_models(models | trains, digits)
    for start, group in ((100, models), (200, trains), (300, joint), (400, glm_models())):
        for seed, (name, contents) in enumerate(group.items(), start):
            write_vector(folder, name, contents, seed)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
