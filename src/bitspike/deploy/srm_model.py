"""Inference of a packed BiSNN network, with numpy alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitspike.deploy.train_model import SpikeModel
from bitspike.packed.average import logarithm, softmax
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.srm import file as srm_format
from bitspike.packed.srm import reference
from bitspike.packed.srm.native import SRMEngine


class SRMModel(SpikeModel):
    """A packed BiSNN network, ready to decide. Inputs are those of `TrainModel`; results have the first axis n.

    Potentials are ln p, so that probabilities are softmax(ln p / temperature). A regression has no classes: `predict`
    gives its values, float32 `(n,)`, as do the potentials.
    """

    engine = SRMEngine

    def decide(self, x: Any, threads: int | None = None) -> Decisions:
        """The decisions with all that can be known about them."""
        inputs = self.inputs(x)
        if self._native is not None:
            decided: Decisions = self._native.decide(inputs, threads)
            return decided
        return reference.decide(self.network, inputs)

    def over_time(self, x: Any, threads: int | None = None) -> Array:
        """Probabilities had the answer been demanded after step burn_in + k, float32 `(n, n_steps - burn_in, classes)`.

        The temperature is applied as in `predict_proba`; a regression has one column, its value.
        """
        inputs = self.inputs(x)
        native, n_classes = self._native, self.network.n_classes
        p: Array = native.over_time(inputs, threads) if native else reference.over_time(self.network, inputs)
        if n_classes == 1:
            return p
        if p.shape[2] == 1:
            p = np.concatenate([np.float32(1) - p, p], axis=2)
        return softmax(logarithm(p), self.temperature).astype(np.float32)

    def footprint(self) -> dict[str, int]:
        """Synapses stored (biases and readout included), their bits, and the true size of the model file in bytes."""
        network = self.network
        layers = [(layer.n_synapses, 1 if layer.kind == "binary" else 32) for layer in network.layers]
        layers.append(((network.n_out + 1) * network.n_readouts, 1))
        return {
            "synapses": sum(count for count, _ in layers),
            "synapse_bits": sum(count * bits for count, bits in layers),
            "thresholds": 0,
            "file_bytes": len(srm_format.encode(self.contents)),
        }
