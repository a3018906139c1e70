"""The native engine: same decisions as reference.py, on packed bits."""

from __future__ import annotations

import numpy as np

from bitspike.errors import DataError
from bitspike.ops.native import kernels, thread_count
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.first_spike.network import FirstSpikePacked


class FirstSpikeEngine:
    """A network prepared for the native kernels of one instruction set (default: the machine's best)."""

    def __init__(self, network: FirstSpikePacked, isa: str | None = None) -> None:
        module, self.isa = kernels(isa)
        self._n_classes, self._n_in, self._n_steps = network.n_classes, network.n_in, network.n_steps
        engine = module.PackedEngine(network.n_steps, network.delay, self.isa)
        for index, layer in enumerate(network.layers):
            if layer.signs is not None:
                signs = np.ascontiguousarray(layer.signs)
                fires_at = layer.fires_at(layer.n_in).astype(np.int32)
                engine.add_binary(signs, fires_at, layer.thresholds, index == len(network.layers) - 1)
            else:
                engine.add_real(np.ascontiguousarray(layer.weights), layer.thresholds)
        self._engine = engine
        self._table: Array | None = None

    def run(self, times: Array, threads: int | None = None) -> Decisions:
        """Decide from spike times int16 `(n, n_in)`, 0..n_steps (n_steps: never)."""
        decisions = Decisions.empty(len(times), self._n_classes)
        self._times(times, threads, *vars(decisions).values())
        return decisions

    def run_images(self, images: Array, table: Array, threads: int | None = None) -> Decisions:
        """Decide from uint8 `(n, n_in)`; `table` int16 `(256,)` is the step of each value, never rising
        with it.
        """
        decisions = Decisions.empty(len(images), self._n_classes)
        self._images(images, table, threads, *vars(decisions).values())
        return decisions

    def label_images(self, images: Array, table: Array, threads: int | None = None) -> Array:
        """The labels of `run_images` alone, int64 `(n,)`: faster, for nothing else is counted."""
        labels = np.empty(len(images), np.int64)
        self._images(images, table, threads, labels)
        return labels

    def _times(self, times: Array, threads: int | None, *results: Array) -> None:
        if times.ndim != 2 or times.shape[1] != self._n_in or times.dtype != np.int16:
            raise DataError(f"spike times are {times.dtype} {times.shape}; expected int16 (n, {self._n_in})")
        bad = self._engine.run_times(np.ascontiguousarray(times), thread_count(threads, len(times)), *results)
        if bad >= 0:
            raise DataError(
                f"sample {bad} has a spike time outside 0..{self._n_steps} ({self._n_steps} means never)"
            )

    def _images(self, images: Array, table: Array, threads: int | None, *results: Array) -> None:
        if images.ndim != 2 or images.shape[1] != self._n_in or images.dtype != np.uint8:
            raise DataError(f"images are {images.dtype} {images.shape}; expected uint8 (n, {self._n_in})")
        if table is not self._table:
            try:
                self._engine.set_levels(np.ascontiguousarray(table))
            except (ValueError, TypeError) as error:
                raise DataError(f"table of steps: {error}") from error
            self._table = table
        if not images.flags.c_contiguous:
            images = np.ascontiguousarray(images)
        self._engine.run_images(images, thread_count(threads, len(images)), *results)
