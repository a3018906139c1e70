"""The native engine of spike trains: same decisions as reference.py, event by event on packed bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bitspike.errors import DataError
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.native import kernels, thread_count
from bitspike.ops.operators import Dense
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.lif.network import Constant, LIFPacked, LIFPackedLayer
from bitspike.packed.lif.reference import check_inputs

if TYPE_CHECKING:
    from bitspike.coding import SpikeList


class LIFEngine:
    """A network prepared for the native kernels of one instruction set (default: the machine's best)."""

    def __init__(self, network: LIFPacked, isa: str | None = None) -> None:
        module, self.isa = kernels(isa)
        self._network = network
        self._engine = module.TrainEngine(network.n_steps, self.isa)
        for layer in network.layers:
            self._add(layer)

    def _add(self, layer: LIFPackedLayer) -> None:
        op, n = layer.operator, layer.neuron
        f = np.float32
        limit = float(f(n.threshold) - f(n.epsilon))
        constants = (
            n.beta_m, n.beta_s, 1 / n.tau_s, limit, n.refractory, n.lateral, n.threshold,
            least_current(n, self._network.n_steps),
        )  # fmt: skip
        fan_out = op.fan_out().astype(np.int32)
        if isinstance(op, Dense) and layer.signs is not None:
            self._engine.add_signs(np.ascontiguousarray(layer.signs), fan_out, op.n_out, constants)
            return
        weights = layer.dense()
        if isinstance(op, Dense):
            geometry = (1, 1, op.n_in, 1, 0)
            weights = None if weights is None else weights.reshape(1, 1, *op.weight_shape)
        else:
            geometry = (op.height, op.width, op.channels, op.size, getattr(op, "padding", 0))
        if weights is None:
            self._engine.add_pool(fan_out, geometry, constants)
        else:
            self._engine.add_rows(np.ascontiguousarray(weights), fan_out, geometry, constants)

    def decide(self, inputs: Array | SpikeList, threads: int | None = None) -> Decisions:
        """The decisions of `reference.decide`."""
        decisions = Decisions.empty(len(inputs), self._network.n_classes)
        self._run(inputs, threads, *vars(decisions).values())
        return decisions

    def label(self, inputs: Array | SpikeList, threads: int | None = None) -> Array:
        """The labels of `decide` alone, int64 `(n,)`."""
        labels = np.empty(len(inputs), np.int64)
        self._run(inputs, threads, labels)
        return labels

    def _run(self, inputs: Array | SpikeList, threads: int | None, *results: Array) -> None:
        check_inputs(self._network, inputs)
        n_threads, coding = thread_count(threads, len(inputs)), self._network.coding
        if isinstance(inputs, np.ndarray):
            images = np.ascontiguousarray(inputs)
            if isinstance(coding, Constant):
                self._engine.run_constant(images, coding.current_per_level, n_threads, *results)
            else:
                self._engine.run_drawn(images, np.ascontiguousarray(coding.limits()), n_threads, *results)
            return
        bad = self._engine.run_lists(
            np.ascontiguousarray(inputs.steps, np.int16),
            np.ascontiguousarray(inputs.channels, np.int32),
            np.ascontiguousarray(inputs.offsets, np.int64),
            n_threads,
            *results,
        )
        if bad >= 0:
            raise DataError(f"recording {bad}: a channel has two spikes in one step")


def least_current(neuron: Neuron, n_steps: int) -> float:
    """A constant current below this can never make the neuron fire within the window; a bit lower than needed."""
    beta_m, beta_s = float(np.float32(neuron.beta_m)), float(np.float32(neuron.beta_s))
    v = x = 0.0
    for _ in range(n_steps - 1):
        x = x * beta_s + 1
        v = v * beta_m + x / neuron.tau_s
    slack = 1.01 + 1e-6 * n_steps  # float32 rounds at every step
    return (neuron.threshold - neuron.epsilon) / (v * slack)
