"""What every network can do; a committee and an ensemble are networks too."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bitspike.coding import SpikeList
from bitspike.contracts import Batch, Coding
from bitspike.errors import UsageError
from bitspike.metrics.calibration import fit_temperature
from bitspike.networks.inputs import chunks, to_device
from bitspike.ops import backend as backends
from bitspike.ops.operators import Dense, Operator
from bitspike.packed.base import MOST, Packed
from bitspike.packed.contents import Contents
from bitspike.packed.fields import check_size
from bitspike.packed.operations import Operations
from bitspike.prediction import Prediction
from bitspike.settings import Weights

Decides = Literal["first spike", "window", "once"]

MOST_WEIGHTS = 1 << 27  # of a network: half a gigabyte in float32


@dataclass(frozen=True)
class Weight:
    """An exchangeable tensor and its kind: a binary one counts by its sign, bernoulli is a natural parameter."""

    kind: Literal["real", "binary", "bernoulli"]
    tensor: Tensor


@dataclass(frozen=True)
class LayerFacts:
    """A layer as reports show it: its neurons, the weights stored for it and the synapses they make.

    `operator` joins it to the layer below, None for the input; `threshold` is a constant of all its neurons.
    """

    name: str
    neurons: int
    weights: int = 0
    synapses: int = 0
    operator: Operator | None = None
    threshold: float | None = None


def dense_layers(operators: Sequence[Dense]) -> tuple[LayerFacts, ...]:
    """The input, hidden layers by their widths, the output."""
    names = [*(str(op.n_out) for op in operators[:-1]), "output"]
    above = (
        LayerFacts(name, op.n_out, op.n_in * op.n_out, op.n_in * op.n_out, op)
        for name, op in zip(names, operators, strict=True)
    )
    return (LayerFacts("input", operators[0].n_in), *above)


def check_demand(operators: Sequence[Operator], n_steps: int = 1, n_fixed: int = 0) -> None:
    """Refuse, with `UsageError`, a network that asks for gigabytes, before it is built, whoever wrote its settings.

    `n_steps`: steps for which the state of every neuron is held; `n_fixed`: weights that are not trained.
    """
    check_size(operators, n_steps)
    neurons = operators[0].n_in + sum(op.n_out for op in operators)
    weights = n_fixed + sum(math.prod(op.weight_shape) for op in operators if op.weight_shape is not None)
    for what, asked, most in (
        ("weights", weights, MOST_WEIGHTS),
        ("neurons times steps", n_steps * neurons, MOST.states),
    ):
        if asked > most:
            raise UsageError(
                f"network.hidden asks for {asked:,} {what}; {most:,} are possible: take fewer or smaller layers"
            )


class Network(nn.Module):
    """What decides. Its state_dict holds what decisions depend on, and nothing that only learning needs.

    `temperature` (buffer) divides the potentials in the softmax that gives the probabilities; `synapse` says what the
    weights are; `backend` is what computes (`ops.backend.resolve`).
    """

    system: ClassVar[str]  # the system's word: first_spike, lif, srm, ...
    decides: Decides  # by the first output spike, at the end of the window, or without time
    logarithmic: ClassVar[bool] = False  # are potentials ln p, for which temperature 1 changes nothing?

    temperature: Tensor

    def __init__(self, coding: Coding, n_classes: int, synapse: Weights, backend: str) -> None:
        super().__init__()
        self.coding, self.n_classes, self.synapse, self.backend = coding, n_classes, synapse, backend
        self.register_buffer("temperature", torch.ones(()))

    @property
    def n_steps(self) -> int:
        """Steps of the window."""
        return self.coding.n_steps

    @property
    def chunk(self) -> int:
        """Inputs decided at a time."""
        return 1000

    @property
    def parts(self) -> tuple[Network, ...]:
        """The networks that decide together: a committee's members; of any other network itself."""
        return (self,)

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return self.temperature.device

    @property
    def implementation(self) -> backends.Backend:
        """The back end in use; the reference is plain PyTorch."""
        return backends.resolve(self.backend, self.device)

    @torch.no_grad()
    def decide(self, inputs: Any, generator: torch.Generator | None = None) -> Prediction:
        """One honest decision per coded input, `chunk` inputs at a time; touches nothing in the network.

        Inputs may lie on any device; the prediction lies on the CPU. `generator` is needed where decisions are drawn
        (an ensemble's).
        """
        parts = chunks(inputs, self.chunk)
        decided = [self._decide(to_device(part, self.device), generator) for part in parts]
        return Prediction.concatenate([part.to("cpu") for part in decided])

    @abstractmethod
    def _decide(self, inputs: Any, generator: torch.Generator | None) -> Prediction:
        """The decisions on a few inputs."""

    @property
    def anytime(self) -> bool:
        """Can the network be asked before it has seen all of its input?"""
        return False

    def over_time(self, inputs: Any, times: Int[Tensor, " n_times"]) -> Float[Tensor, "n n_times classes"]:
        """Class probabilities had the answer been demanded at the end of step times[k], float32."""
        raise UsageError(f"a {type(self).__name__} decides once; it has no answers over time")

    @torch.no_grad()
    def finish(
        self, batch: Batch, max_silent: float, generator: torch.Generator | None = None
    ) -> dict[str, Any]:
        """After training, in place: weights on the grid they ship on, thresholds, temperature; returns what was chosen.

        `batch`: validation data; at most `max_silent` of the inputs may stay silent, where thresholds are chosen.
        Where every validation decision is right no temperature can be told: it is 1 where potentials are ln p, else the
        lowest that `fit_temperature` takes.
        """
        self.snap()
        if self.n_classes == 1:
            return {}
        prediction = self.decide(batch.inputs, generator)
        return self._warm(prediction, batch.labels)

    def _warm(self, prediction: Prediction, labels: Tensor) -> dict[str, Any]:
        """Fit the temperature to decisions; returns it, and the accuracy and silence there."""
        labels = labels.cpu()
        right = prediction.labels == labels
        told = not (self.logarithmic and bool(right.all()))
        temperature = fit_temperature(prediction.potentials, labels) if told else 1.0
        self.temperature.fill_(temperature)
        return {
            "temperature": temperature,
            "validation_accuracy": float(right.double().mean()),
            "validation_silent": float(prediction.silent.double().mean()),
        }

    @torch.no_grad()
    def snap(self) -> None:
        """Put real weights, in place, on the grid on which they ship; one-bit weights stay as they are."""
        return

    @property
    def weights(self) -> Mapping[str, Weight]:
        """The exchangeable state by name: parameters and constants of the network, no temperature."""
        return {
            name: Weight(self.synapse.kind if name.startswith("latents.") else "real", tensor)
            for name, tensor in self.state_dict(keep_vars=True).items()
            if name != "temperature"
        }

    @property
    @abstractmethod
    def layers(self) -> tuple[LayerFacts, ...]:
        """From the input on."""

    def work(self, inputs: Any) -> Operations:
        """Operations of a decision beside synaptic additions, a mean over the coded inputs."""
        return Operations()

    def figures(self, inputs: Any, labels: Tensor, generator: torch.Generator) -> dict[str, float]:
        """Figures that only this kind of network has, by their keys in `metrics.catalog`."""
        return {}

    def trace(self, inputs: Any) -> dict[str, Tensor]:
        """Spikes and potentials of a few inputs, by the names of docs/training.md, for rasters; may be empty."""
        return {}

    def activity(self, inputs: Any) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
        """Figures of every layer, from the input on, over many inputs, and arrays (docs/training.md)."""
        facts = []
        for layer in self.layers:
            shown: dict[str, Any] = {"name": layer.name, "neurons": layer.neurons}
            if layer.operator is not None:
                shown |= {"weights": layer.weights, "synapses": layer.synapses}
            if layer.threshold is not None:
                shown["threshold"] = layer.threshold
            facts.append(shown)
        return facts, {}

    def trains(self, inputs: Any) -> SpikeList:
        """The spikes by which inputs are decided, where they are drawn from these."""
        raise UsageError(f"a {type(self).__name__} draws no trains of its inputs")

    @property
    def disturbances(self) -> tuple[str, ...]:
        """Of `jitter`, `deletion`, `noise`: how an evaluation may disturb the coded inputs."""
        return self.coding.disturbances

    @abstractmethod
    def packed(self) -> Packed:
        """The network as it decides, without torch and without training."""

    def contents(
        self, input_shape: Sequence[int], classes: Sequence[str], recipe: str, exact: bool = False
    ) -> Contents:
        """What a model file holds of the network: `input_shape` of one input, `classes` in order, none of a regression.

        The temperature is written by its shortest decimal, which spares some bytes, or, `exact`, to the last bit.
        """
        value, packed = self.packed_temperature, self.packed()
        temperature = value if exact and packed.exact_potentials else float(str(np.float32(value)))
        shape = self.coding.input_shape(tuple(int(size) for size in input_shape))
        return Contents(packed, shape, tuple(str(name) for name in classes), temperature, recipe)

    @property
    def packed_temperature(self) -> float:
        """The temperature that goes with the potentials of `packed`."""
        return float(self.temperature)

    def at_mode(self, mode: bool, weights: Weights) -> None:
        """Train weights of kind bernoulli as binary ones, at their mode, or as `weights` says."""
        self.synapse = replace(weights, kind="binary") if mode else weights
