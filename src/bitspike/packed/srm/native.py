"""The native engine of BiSNN: same numbers as reference.py, event by event on packed bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bitspike.errors import DataError
from bitspike.ops.native import kernels, thread_count
from bitspike.ops.operators import Dense
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.lif.reference import check_inputs
from bitspike.packed.srm.network import SRMPacked, SRMPackedLayer, decisions, plus_minus

if TYPE_CHECKING:
    from bitspike.coding import SpikeList


class SRMEngine:
    """A network prepared for the native kernels of one instruction set (default: the machine's best)."""

    def __init__(self, network: SRMPacked, isa: str | None = None) -> None:
        module, self.isa = kernels(isa)
        self._network = network
        n = network.neuron
        self._engine = module.SRMEngine(network.n_steps, network.burn_in, n.alpha, n.beta, n.gamma, self.isa)
        for layer in network.layers:
            self._add(layer)
        offset = plus_minus(network.readout_bias, network.n_readouts)
        signs = np.ascontiguousarray(network.readout)
        self._engine.set_readout(signs, network.n_readouts, offset, float(network.readout_scale))

    def _add(self, layer: SRMPackedLayer) -> None:
        op, scale = layer.operator, float(layer.scale)
        fan_out, bias = op.fan_out().astype(np.int32), np.ascontiguousarray(layer.biases())
        if isinstance(op, Dense):
            if layer.signs is not None:
                self._engine.add_signs(np.ascontiguousarray(layer.signs), fan_out, op.n_out, bias, scale)
                return
            weights, geometry = layer.dense().reshape(1, 1, *op.weight_shape), (1, 1, op.n_in, 1, 0)
        else:
            weights, geometry = layer.dense(), (op.height, op.width, op.channels, op.size, op.padding)
        self._engine.add_rows(np.ascontiguousarray(weights), fan_out, geometry, bias, scale, layer.pool)

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
        check_inputs(self._network, inputs)
        n_threads, coding = thread_count(threads, len(inputs)), self._network.coding
        if isinstance(inputs, np.ndarray):
            images, limits = np.ascontiguousarray(inputs), np.ascontiguousarray(coding.limits())
            self._engine.run_drawn(images, limits, n_threads, *results)
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
