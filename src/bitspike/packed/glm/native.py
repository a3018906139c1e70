"""The native engine of networks of circuits: same numbers as reference.py, spike by spike."""

from __future__ import annotations

import numpy as np

from bitspike.coding.spike_list import SpikeList
from bitspike.ops.native import kernels
from bitspike.packed.base import Engine
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.glm.layers import Connection, GLMStack
from bitspike.packed.glm.reference import decisions, fan_out
from bitspike.packed.weights import Reals
from bitspike.packed.window import run_native


class GLMEngine(Engine):
    """A network prepared for the native kernels of one instruction set (default: the machine's best)."""

    def __init__(self, network: GLMStack, isa: str | None = None) -> None:
        module, self.isa = kernels(isa)
        self._network = network
        topology, feedback = network.topology, network.feedback
        groups = np.array([(group.n, group.values) for group in topology.groups], np.int32)
        fans = np.array([fan_out(network, group) for group in range(len(groups))], np.int64)
        own_table = np.zeros((0, 0), np.float32) if feedback is None else np.ascontiguousarray(feedback[0])
        self._engine = module.GLMEngine(
            network.n_steps, groups, fans, np.ascontiguousarray(network.table), own_table, network.decision_by,
            network.draws_output, network.runs, network.draw_seed, self.isa,
        )  # fmt: skip
        for index, bias in enumerate(network.biases):
            own = None if feedback is None else np.ascontiguousarray(feedback[1][index])
            self._engine.set_group(index + 1, np.ascontiguousarray(bias), own)
        for (source, target), connection in zip(topology.connections, network.connections, strict=True):
            self._add(source, target, connection)

    def _add(self, source: int, target: int, connection: Connection) -> None:
        weights = connection.dense()
        if source == target:
            group = self._network.topology.groups[target]
            weights = weights * group.others().astype(weights.dtype)[:, None]
        if isinstance(connection.weights, Reals):
            self._engine.add_weights(source, target, np.ascontiguousarray(weights))
            return
        assert connection.scale is not None
        scale = np.ascontiguousarray(connection.scale)
        self._engine.add_signs(source, target, np.ascontiguousarray(weights), scale)

    def decide(self, inputs: Array | SpikeList, threads: int | None = None) -> Decisions:
        """The decisions of `reference.decide`."""
        network, n = self._network, len(inputs)
        scores = np.empty((n, network.n_classes), np.float32)
        n_spikes, n_synops = np.empty(n, np.int64), np.empty(n, np.int64)
        run_native(network, self._engine, inputs, threads, scores, None, n_spikes, n_synops)
        return decisions(scores, network.n_steps, n_spikes, n_synops)

    def label(self, inputs: Array | SpikeList, threads: int | None = None) -> Array:
        """The labels of `decide` alone, int64 `(n,)`."""
        scores = np.empty((len(inputs), self._network.n_classes), np.float32)
        run_native(self._network, self._engine, inputs, threads, scores)
        labels: Array = scores.argmax(axis=1)
        return labels

    def scores(self, inputs: Array | SpikeList, threads: int | None = None) -> Array:
        """The scores of `reference.scores`: float32 `(n, n_steps, classes)`."""
        result = np.empty((len(inputs), self._network.n_steps, self._network.n_classes), np.float32)
        run_native(self._network, self._engine, inputs, threads, None, result)
        return result
