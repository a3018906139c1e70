"""Neurons of the spike response model, each layer with a fixed random readout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from bitspike.contracts import NetworkSettings
from bitspike.errors import UsageError
from bitspike.ops.operators import LAYER, Conv, Dense, Pool
from bitspike.ops.srm.neuron import SRMNeuron
from bitspike.ranges import Range, count
from bitspike.settings.lif import LIF


@dataclass(frozen=True)
class SRM(NetworkSettings):
    """Layers of the spike response model, each with a fixed random readout; times in steps (`ops.srm.neuron`).

    Layers: "256" dense, "16C5" convolution (16 filters of 5 x 5; "16C5p2" with zero padding 2), "P2" pooling, 2 x 2, of
    the potentials of the convolution before it. The last layer's readout decides, so there is no output layer.
    """

    ranges: ClassVar[Mapping[str, Range]] = {"burn_in": count()}

    hidden: tuple[str, ...] = ("256", "256")
    """layers, from the input on, such as 16C5 P2 256"""
    tau_mem: float = 10.0
    """time constant of the membrane, in steps"""
    tau_syn: float = 6.0
    """time constant of the synapse, in steps"""
    tau_ref: float = 2.0
    """time constant of the refractoriness, in steps"""
    bias: bool = False
    """train biases, of the same kind as the weights"""
    burn_in: int = 10
    """steps at the start of the window in which nothing is learned and nothing counts for the decision"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.hidden:
            raise UsageError("network.hidden is empty; at least one layer is needed")
        for before, layer in zip(("", *self.hidden), self.hidden, strict=False):
            if not LAYER.fullmatch(layer):
                raise UsageError(f'network.hidden has {layer!r}; write "256", "16C5", "16C5p2" or "P2"')
            if layer[0] == "P" and "C" not in before:
                raise UsageError(
                    f"network.hidden: {layer!r} must follow a convolution, whose potentials it pools"
                )
        self.neuron()

    @property
    def weighted(self) -> tuple[str, ...]:
        """Names of the layers that have weights: all but pools; the readouts are fixed."""
        return tuple(layer for layer in self.hidden if layer[0] != "P")

    def neuron(self) -> SRMNeuron:
        """The constants that all layers share."""
        return SRMNeuron(self.tau_mem, self.tau_syn, self.tau_ref)

    def operators(self, input_shape: tuple[int, ...]) -> tuple[tuple[Dense | Conv, int], ...]:
        """Every layer's operator and its pooling window (1: none), from (n,) or (height, width, channels) on."""
        found = list[tuple[Dense | Conv, int]]()
        plain = LIF(self.hidden, (1.0,) * (len(self.hidden) + 1))
        for op in plain.operators(input_shape, 1)[:-1]:
            if isinstance(op, Pool):
                found[-1] = (found[-1][0], op.size)
            else:
                found.append((op, 1))
        return tuple(found)
