"""Settings that several rules share: the shape of a network and its optimiser."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from bitspike.errors import UsageError
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.operators import Conv, Dense, Operator, Pool
from bitspike.ops.srm.neuron import SRMNeuron

LAYER = re.compile(r"([1-9]\d*)|([1-9]\d*)C([1-9]\d*)(?:p(\d+))?|P([1-9]\d*)")


@dataclass(frozen=True)
class IF:
    """Widths of the hidden layers, and steps that a spike takes from layer to layer (0, or 1 as in the S4NN papers)."""

    hidden: tuple[int, ...] = (600,)
    delay: Literal[0, 1] = 0

    def __post_init__(self) -> None:
        if any(width < 1 for width in self.hidden):
            raise UsageError(f"network.hidden is {self.hidden}; every layer needs at least one neuron")


def layered(network: IF | LIF | SRM, rule: str) -> IF:
    """The network of a rule that trains plain dense layers; another kind raises `UsageError`."""
    if not isinstance(network, IF):
        raise UsageError(f"rule {rule} knows no {type(network).__name__}; set network to IF")
    return network


@dataclass(frozen=True)
class LIF:
    """Leaky integrate-and-fire neurons that exchange spike trains; times in steps (`ops.spike_train.neuron.Neuron`).

    `hidden`: "800" dense, "15C5" convolution (15 filters of 5 x 5; "15C5p2" with zero padding 2), "P2" spiking pooling
    of 2 x 2. `thresholds`: one per layer, pools and the output included. `lateral`: inhibition between output neurons.
    """

    hidden: tuple[str, ...] = ("800",)
    thresholds: tuple[float, ...] = (40.0, 8.0)
    tau_m: float = 16.0
    tau_s: float = 2.0
    refractory: int = 0
    lateral: float = 0.0
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        for layer in self.hidden:
            if not LAYER.fullmatch(layer):
                raise UsageError(f'network.hidden has {layer!r}; write "800", "15C5", "15C5p2" or "P2"')
        if len(self.thresholds) != len(self.hidden) + 1:
            raise UsageError(
                f"network.thresholds has {len(self.thresholds)} numbers; {len(self.hidden)} hidden layers and the "
                f"output need {len(self.hidden) + 1}"
            )
        self.neurons()

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


@dataclass(frozen=True)
class SRM:
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


@dataclass(frozen=True)
class Predict:
    """What decides after training, for weights of kind bernoulli: their `mode`, draws, or a fixed committee of draws.

    map: the most probable network. ensemble: `draws` networks drawn anew for every thousand inputs. committee: `draws`
    networks drawn once, the same for all inputs and in the model file. `average`: of the members' probabilities, or of
    their potentials (`layers.committee`). BiSNN specification, section 6.
    """

    mode: Literal["map", "ensemble", "committee"] = "map"
    draws: int = 10
    average: Literal["probability", "potential"] = "probability"

    def __post_init__(self) -> None:
        if not 1 <= self.draws <= 1000:
            raise UsageError(f"predict.draws is {self.draws}; 1 to 1000 networks")


@dataclass(frozen=True)
class Optimizer:
    """The optimiser and its step sizes: of the weights, of hidden thresholds, of output thresholds.

    `cosine` takes the steps to 0 over all batches of the run, `exponential` to `final` times the start; `inverse-sqrt`
    divides them by sqrt(n) in epoch n = 0, 1, 2, ... (by 1 in epoch 0).
    """

    name: Literal["adam", "sgd"] = "adam"
    lr: float = 1e-2
    lr_threshold: float = 0.05
    lr_output_threshold: float = 0.05
    weight_decay: float = 0.0
    schedule: Literal["cosine", "exponential", "constant", "inverse-sqrt"] = "cosine"
    final: float = 0.01

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise UsageError(f"optimizer.lr is {self.lr}; a step size must be positive")
        if not 0 < self.final <= 1:
            raise UsageError(f"optimizer.final is {self.final}; it is a share of the first step size, 0 to 1")

    def factor(self, progress: float, epoch: int = 0) -> float:
        """Step size relative to the first one, at `progress` in [0, 1] of the run, in epoch 0, 1, ..."""
        if self.schedule == "inverse-sqrt":
            return 1 / math.sqrt(max(1, epoch))
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
        if self.schedule == "exponential":
            return float(self.final**progress)
        return 1.0
