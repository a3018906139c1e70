"""Neurons of the spike response model, each layer with a fixed random readout."""

from __future__ import annotations

from dataclasses import dataclass

from bitspike.contracts import NetworkSettings
from bitspike.errors import UsageError
from bitspike.ops.operators import LAYER, Conv, Dense, Pool
from bitspike.ops.srm.neuron import SRMNeuron


@dataclass(frozen=True)
class SRM(NetworkSettings):
    """Layers of the spike response model, each with a fixed random readout; times in steps (`ops.srm.neuron`).

    `hidden`: as in `LIF`; "P2" pools the potentials of the convolution before it. The last layer's readout decides, so
    there is no output layer. `bias`: one-bit (or real) biases, trained. `burn_in`: steps before learning and deciding.
    """

    hidden: tuple[str, ...] = ("256", "256")
    tau_mem: float = 10.0
    tau_syn: float = 6.0
    tau_ref: float = 2.0
    bias: bool = False
    burn_in: int = 10

    def __post_init__(self) -> None:
        if not self.hidden:
            raise UsageError("network.hidden is empty; at least one layer is needed")
        for before, layer in zip(("", *self.hidden), self.hidden, strict=False):
            if not LAYER.fullmatch(layer):
                raise UsageError(f'network.hidden has {layer!r}; write "256", "16C5", "16C5p2" or "P2"')
            if layer[0] == "P" and "C" not in before:
                raise UsageError(
                    f"network.hidden: {layer!r} must follow a convolution, whose potentials it pools"
                )
        if self.burn_in < 0:
            raise UsageError(f"network.burn_in is {self.burn_in}; steps, 0 or more")
        self.neuron()

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
