"""The native engine of spike trains: same decisions as reference.py, event by event on packed bits."""

from __future__ import annotations

import numpy as np

from bitspike.coding.spike_list import SpikeList
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.native import kernels
from bitspike.ops.operators import Dense
from bitspike.packed.base import DecidingEngine
from bitspike.packed.decisions import Array
from bitspike.packed.lif.layers import LIFPackedLayer, LIFStack
from bitspike.packed.weights import Signs
from bitspike.packed.window import run_native


class LIFEngine(DecidingEngine):
    """A network prepared for the native kernels of one instruction set (default: the machine's best)."""

    def __init__(self, network: LIFStack, isa: str | None = None) -> None:
        module, self.isa = kernels(isa)
        self._network, self.n_classes = network, network.n_classes
        self._engine = module.TrainEngine(network.n_steps, self.isa)
        for layer in network.layers:
            self._add(layer)

    def _add(self, layer: LIFPackedLayer) -> None:
        op, n, weights = layer.operator, layer.neuron, layer.weights
        constants = (
            *n.constants, n.threshold, least_current(n, self._network.n_steps),
        )  # fmt: skip
        fan_out, geometry = op.fan_out().astype(np.int32), op.geometry()
        if weights is None:
            self._engine.add_pool(fan_out, geometry, constants)
        elif isinstance(op, Dense) and isinstance(weights, Signs):
            self._engine.add_signs(np.ascontiguousarray(weights.bits), fan_out, op.n_out, constants)
        else:
            filters = weights.dense().reshape(geometry[3], geometry[3], geometry[2], -1)
            self._engine.add_rows(np.ascontiguousarray(filters), fan_out, geometry, constants)

    def _run(self, inputs: Array | SpikeList, threads: int | None, *results: Array) -> None:
        run_native(self._network, self._engine, inputs, threads, *results)


def least_current(neuron: Neuron, n_steps: int) -> float:
    """A constant current below this can never make the neuron fire within the window; a bit lower than needed."""
    beta_m, beta_s = float(np.float32(neuron.beta_m)), float(np.float32(neuron.beta_s))
    v = x = 0.0
    for _ in range(n_steps - 1):
        x = x * beta_s + 1
        v = v * beta_m + x / neuron.tau_s
    slack = 1.01 + 1e-6 * n_steps  # float32 rounds at every step
    return (neuron.threshold - neuron.epsilon) / (v * slack)
