"""Inference of a binary network without time (BNN): one matrix product per layer, exact in float32."""

from __future__ import annotations

import numpy as np

from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.first_spike.network import FirstSpikePacked


class PixelEngine:
    """U_j = sum_i b_ij x_i on pixel values 0..255 in layer 1 and on 0 or 1 above; a hidden unit is 1 where
    U > theta.

    Every sum is an integer below 2^24, so float32 holds it exactly in any order of additions. The decision
    is the largest U - theta of the last layer, ties to the lowest index. With `binarise` a pixel counts as
    255 from 128 up, else 0. Time is one step: `decision_time` is 1, every input and hidden unit that is not
    0 is a spike.
    """

    def __init__(self, network: FirstSpikePacked, binarise: bool = False) -> None:
        self.layers, self.binarise, self.n_classes = network.layers, binarise, network.n_classes
        self._dense = [layer.dense() for layer in network.layers]

    def run_images(self, images: Array) -> Decisions:
        """Decide from uint8 images `(n, n_in)`."""
        n = len(images)
        signal = np.where(images >= 128, 255, 0) if self.binarise else images
        signal = signal.astype(np.float32)
        n_spikes, n_synops = np.zeros(n, np.int64), np.zeros(n, np.int64)
        for layer, weights in zip(self.layers, self._dense, strict=True):
            spikes = np.count_nonzero(signal, axis=1)
            n_spikes += spikes
            n_synops += spikes * layer.n_out
            margin = signal @ weights - layer.thresholds
            signal = (margin > 0).astype(np.float32)
        return Decisions(
            labels=margin.argmax(axis=1),
            decision_time=np.ones(n, np.int64),
            silent=np.zeros(n, np.bool_),
            tied=margin == margin.max(axis=1, keepdims=True),
            potentials=margin,
            n_spikes=n_spikes,
            n_synops=n_synops,
        )
