"""Leaky integrate-and-fire neurons that exchange spike trains."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bitspike.contracts import NetworkSettings
from bitspike.errors import UsageError
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.operators import LAYER, Conv, Dense, Operator, Pool


@dataclass(frozen=True)
class LIF(NetworkSettings):
    """Leaky integrate-and-fire neurons that exchange spike trains; times in steps (`ops.lif.neuron.Neuron`).

    Layers: "800" dense, "15C5" convolution (15 filters of 5 x 5; "15C5p2" with zero padding 2), "P2" spiking pooling of
    2 x 2.
    """

    hidden: tuple[str, ...] = ("800",)
    """hidden layers, from the input on, such as 15C5 P2 300"""
    thresholds: tuple[float, ...] = (40.0, 8.0)
    """potential at which a neuron fires; one per layer, pools and the output included"""
    tau_m: float = 16.0
    """time constant of the membrane, in steps"""
    tau_s: float = 2.0
    """time constant of the synapse, in steps"""
    refractory: int = 0
    """steps for which a neuron that fired is held at 0"""
    lateral: float = 0.0
    """inhibition: the current that a spike of an output neuron takes from every other output"""
    epsilon: float = 0.0
    """a neuron fires where its potential exceeds threshold - epsilon"""

    def __post_init__(self) -> None:
        super().__post_init__()
        for layer in self.hidden:
            if not LAYER.fullmatch(layer):
                raise UsageError(f'network.hidden has {layer!r}; write "800", "15C5", "15C5p2" or "P2"')
        if len(self.thresholds) != len(self.hidden) + 1:
            raise UsageError(
                f"network.thresholds has {len(self.thresholds)} numbers; {len(self.hidden)} hidden layers and the "
                f"output need {len(self.hidden) + 1}"
            )
        self.neurons()

    @property
    def weighted(self) -> tuple[str, ...]:
        """Names of the layers that have weights: all but pools."""
        return (*(layer for layer in self.hidden if layer[0] != "P"), "output")

    def neurons(self) -> tuple[Neuron, ...]:
        """The constants of every layer; only the output's neurons inhibit each other."""
        last = len(self.hidden)
        return tuple(
            Neuron(
                threshold, self.tau_m, self.tau_s, self.refractory, self.lateral if index == last else 0.0, self.epsilon
            )
            for index, threshold in enumerate(self.thresholds)
        )  # fmt: skip

    def operators(self, input_shape: tuple[int, ...], n_classes: int) -> tuple[Operator, ...]:
        """What joins the layers, from inputs of `input_shape`, (n,) or (height, width, channels), to the classes."""
        shape, found = input_shape, list[Operator]()
        for layer in self.hidden:
            match = LAYER.fullmatch(layer)
            assert match is not None
            width, filters, size, padding, window = (int(g) if g else 0 for g in match.groups())
            if width:
                found.append(Dense(math.prod(shape), width))
                shape = (width,)
                continue
            if len(shape) != 3:
                raise UsageError(
                    f"network.hidden: {layer!r} needs maps, but its input has shape {shape}; "
                    "convolution and pooling go before the dense layers, on images or events"
                )
            map_layer = Pool(*shape, window) if window else Conv(*shape, filters, size, padding)
            found.append(map_layer)
            shape = (map_layer.out_height, map_layer.out_width, filters or shape[2])
        return (*found, Dense(math.prod(shape), n_classes))
