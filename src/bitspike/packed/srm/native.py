"""The native engine of BiSNN: same numbers as reference.py, event by event on packed bits."""

from __future__ import annotations

import numpy as np

from bitspike.coding.spike_list import SpikeList
from bitspike.ops.native import kernels
from bitspike.ops.operators import Dense
from bitspike.packed.base import Engine
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.srm.layers import SRMPackedLayer, SRMStack
from bitspike.packed.srm.reference import decisions
from bitspike.packed.weights import Signs
from bitspike.packed.window import run_native


class SRMEngine(Engine):
    """A network prepared for the native kernels of one instruction set (default: the machine's best)."""

    def __init__(self, network: SRMStack, isa: str | None = None) -> None:
        module, self.isa = kernels(isa)
        self._network = network
        n = network.neuron
        self._engine = module.SRMEngine(network.n_steps, network.burn_in, n.alpha, n.beta, n.gamma, self.isa)
        for layer in network.layers:
            self._add(layer)
        signs = np.ascontiguousarray(network.readout.bits)
        offset, scale = network.readout_bias.dense(), float(network.readout_scale)
        self._engine.set_readout(signs, network.n_readouts, offset, scale)

    def _add(self, layer: SRMPackedLayer) -> None:
        op, weights, scale = layer.operator, layer.weights, float(layer.scale)
        fan_out, bias = op.fan_out().astype(np.int32), np.ascontiguousarray(layer.biases())
        if isinstance(op, Dense) and isinstance(weights, Signs):
            self._engine.add_signs(np.ascontiguousarray(weights.bits), fan_out, op.n_out, bias, scale)
            return
        geometry = op.geometry()
        filters = weights.dense().reshape(geometry[3], geometry[3], geometry[2], -1)
        self._engine.add_rows(np.ascontiguousarray(filters), fan_out, geometry, bias, scale, layer.pool)

    def decide(self, inputs: Array | SpikeList, threads: int | None = None) -> Decisions:
        """The decisions of `reference.decide`."""
        network, n = self._network, len(inputs)
        probabilities = np.empty((n, network.n_readouts), np.float32)
        n_spikes, n_synops = np.empty(n, np.int64), np.empty(n, np.int64)
        self._run(inputs, threads, probabilities, None, n_spikes, n_synops)
        return decisions(probabilities, network.n_steps, network.n_classes, n_spikes, n_synops)

    def over_time(self, inputs: Array | SpikeList, threads: int | None = None) -> Array:
        """The probabilities of `reference.over_time`."""
        network = self._network
        shape = (len(inputs), network.n_steps - network.burn_in, network.n_readouts)
        result = np.empty(shape, np.float32)
        self._run(inputs, threads, None, result)
        return result

    def _run(self, inputs: Array | SpikeList, threads: int | None, *results: Array | None) -> None:
        run_native(self._network, self._engine, inputs, threads, *results)
