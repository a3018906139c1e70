"""The native engine: same decisions as reference.py, on packed bits."""

from __future__ import annotations

import numpy as np

from bitspike.coding.first_spike import time_table
from bitspike.errors import DataError
from bitspike.ops.native import kernels, thread_count
from bitspike.packed.base import DecidingEngine
from bitspike.packed.decisions import Array
from bitspike.packed.first_spike.layers import FirstSpikeStack
from bitspike.packed.weights import Signs

_UINT8, _INT16 = np.dtype(np.uint8), np.dtype(np.int16)  # types take longer to compare with


class FirstSpikeEngine(DecidingEngine):
    """A network prepared for the native kernels of one instruction set (default: the machine's best).

    Inputs `(n, n_in)`: uint8 images, or spike times int16 in 0..n_steps (n_steps: never).
    """

    def __init__(self, network: FirstSpikeStack, isa: str | None = None) -> None:
        module, self.isa = kernels(isa)
        self.n_classes, self._n_in, self._n_steps = network.n_classes, network.n_in, network.n_steps
        engine = module.PackedEngine(network.n_steps, network.delay, self.isa)
        for index, layer in enumerate(network.layers):
            weights = layer.weights
            if isinstance(weights, Signs):
                fires_at, last = layer.fires_at(layer.n_in).astype(np.int32), index == len(network.layers) - 1
                engine.add_binary(np.ascontiguousarray(weights.bits), fires_at, layer.thresholds, last)
            else:
                engine.add_real(np.ascontiguousarray(weights.values), layer.thresholds)
        engine.set_levels(np.ascontiguousarray(time_table(network.n_steps)))
        self._images, self._times = engine.run_images, engine.run_times

    def _run(self, inputs: Array, threads: int | None, *results: Array) -> None:
        kind = inputs.dtype
        run = self._images if kind == _UINT8 else self._times if kind == _INT16 else None
        if run is None or inputs.ndim != 2 or inputs.shape[1] != self._n_in:
            raise DataError(
                f"inputs are {kind} {inputs.shape}; expected images uint8 or spike times int16, (n, {self._n_in})"
            )
        if not inputs.flags.c_contiguous:
            inputs = np.ascontiguousarray(inputs)
        bad = run(inputs, thread_count(threads, len(inputs)), *results)
        if bad >= 0:
            raise DataError(
                f"sample {bad} has a spike time outside 0..{self._n_steps} ({self._n_steps} means never)"
            )
