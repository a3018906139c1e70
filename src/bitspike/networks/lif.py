"""A network of leaky integrate-and-fire neurons that exchange spike trains: dense, convolution, pooling.

The neuron is that of `ops.spike_train.neuron.Neuron`; layers are run one after the other over the whole window. The
class of an input is that of the output neuron with the largest score
    score = o + v / (2 * (threshold + |v|)),    o: spikes in the window, v: membrane after the last step
(the second term lies in (-1/2, 1/2): it only breaks ties of the counts), then the lowest index.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bitspike.coding import Direct, Poisson
from bitspike.contracts import Prediction
from bitspike.errors import UsageError
from bitspike.networks.anytime import check_times
from bitspike.networks.signal import signal
from bitspike.ops import backend as backends
from bitspike.ops.lif import function, reference
from bitspike.ops.lif.function import Macro, Micro
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.lif.signals import Current, Result, Signal, Spikes
from bitspike.ops.operators import Operator
from bitspike.packed.lif.network import LIFPacked, from_weights, snap
from bitspike.settings import LIF
from bitspike.weights import Weights


class Run(NamedTuple):
    """Output counts `(batch, classes)`, differentiable, and the share of each hidden layer's neurons that fired."""

    counts: Tensor
    firing: tuple[Tensor, ...]


class LIFNetwork(nn.Module):
    """`operators[l]` joins layer l to the next, `neurons[l]` are its neurons' constants; weights are input-major.

    `latents` holds one parameter per operator that has weights, in order; `weight(l)` is what operator l computes with
    (binary: +1/-1, the scale sits in the threshold) and None for a pool. `temperature` (buffer) divides the scores in
    the softmax that gives the probabilities.
    """

    temperature: Tensor

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_classes: int,
        coding: Any,
        network: LIF,
        weights: Weights,
        generator: torch.Generator,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.coding, self.weights, self.backend = coding, weights, backend
        self.operators: tuple[Operator, ...] = network.operators(input_shape, n_classes)
        self.neurons: tuple[Neuron, ...] = network.neurons()
        self._place: list[int | None] = []
        latents: list[Tensor] = []
        for index, op in enumerate(self.operators):
            self._place.append(None if op.weight_shape is None else len(latents))
            if op.weight_shape is not None:
                is_output = index == len(self.operators) - 1
                latents.append(weights.start(*op.weight_shape, is_output=is_output, generator=generator))
        self.latents = nn.ParameterList(latents)
        self.register_buffer("temperature", torch.ones(()))

    @property
    def n_steps(self) -> int:
        return int(self.coding.n_steps)

    def weight(self, layer: int, generator: torch.Generator | None = None) -> Tensor | None:
        """Weights of an operator as the network uses them, differentiable in the latents.

        With a generator, weights of kind bernoulli are drawn; without it they are the mode.
        """
        place = self._place[layer]
        return None if place is None else self.weights.forward(self.latents[place], generator)

    def signal(self, inputs: Any, generator: torch.Generator | None = None) -> Signal:
        """Coded inputs as they enter the first layer; with a generator, Poisson trains are drawn anew."""
        return signal(self.coding, inputs, self.backend, generator)

    def forward(
        self,
        signal: Signal,
        micro: Micro | None = None,
        macro: Macro | None = None,
        generator: torch.Generator | None = None,
    ) -> Run:
        """Run a batch through the layers; gradients are HM2-BP's (`ops.spike_train.function`).

        With a generator, weights of kind bernoulli are drawn, one draw for the batch.
        """
        backend = backends.resolve(self.backend, signal[0].device)
        counts, firing, last = None, [], len(self.operators) - 1
        for index, (op, neuron) in enumerate(zip(self.operators, self.neurons, strict=True)):
            out = function.layer(
                op,
                signal,
                counts,
                self.weight(index, generator),
                neuron,
                micro or Micro(),
                backend,
                macro if index == last else None,
            )
            if index < last:
                firing.append((out.counts.detach() > 0).float().mean())
            signal, counts = out.spikes, out.counts
        assert counts is not None
        return Run(counts, tuple(firing))

    @torch.no_grad()
    def run(self, inputs: Any) -> tuple[Signal, list[Result]]:
        """The input signal and what every layer does, as decisions are made; see `current`."""
        signal = first = self.signal(inputs)
        chosen = backends.resolve(self.backend, signal[0].device)
        ops, results = function.implementation(chosen), []
        for index, (op, neuron) in enumerate(zip(self.operators, self.neurons, strict=True)):
            if isinstance(signal, Current):
                result = ops.scan(self.current(index, signal, inputs), neuron)
            else:
                result = ops.forward(op, signal, self.weight(index), neuron)
            results.append(result)
            signal = result.spikes
        return first, results

    @torch.no_grad()
    def current(self, layer: int, signal: Signal, inputs: Any) -> Tensor:
        """I(t) of a layer's neurons, `(batch, n_steps, n)`, as decisions are made: that of still images is exact.

        I = float32(float64(sum_j w_ji k_j) * (rate / 255)) for uint8 intensities k, the `inputs` themselves: the same
        whatever the order of additions. `signal`: what the layer reads.
        """
        op, weight = self.operators[layer], self.weight(layer)
        if not isinstance(signal, Current):
            return reference.input_current(op, signal, weight)
        weight64 = None if weight is None else weight.double()
        current: Tensor = reference.apply(op, inputs.double(), weight64) * (self.coding.rate / 255)
        return current.float()[:, None].expand(-1, signal.n_steps, -1)

    @torch.no_grad()
    def snap(self) -> None:
        """Put real weights, in place, on the grid on which they ship; see `snap` of `ops.packed_trains.network`."""
        if self.weights.one_bit:
            return
        for place, latent in enumerate(self.latents):
            direct = place == 0 and isinstance(self.coding, Direct)
            latent.copy_(torch.from_numpy(snap(latent.numpy(force=True), direct)))

    def packed(self) -> LIFPacked:
        """The network as numpy values: sign bits or float32 weights, and the neurons' constants."""
        weights = [self.weight(index) for index in range(len(self.operators))]
        arrays = [None if weight is None else weight.numpy(force=True) for weight in weights]
        return from_weights(
            self.operators, self.neurons, arrays, self.weights.one_bit, self.coding, self.n_steps
        )

    def counts(self, spikes: Spikes) -> Tensor:
        """Spikes per neuron in the window, `(batch, n)`."""
        backend = backends.resolve(self.backend, spikes.bits.device)
        counted: Tensor = function.implementation(backend).counts(spikes)
        return counted

    def decide(self, inputs: Any) -> Prediction:
        """One honest decision per input; see the head of this file."""
        signal, results = self.run(inputs)
        counts, membrane = results[-1].counts, results[-1].membrane
        score = scores(counts, membrane, self.neurons[-1].threshold)
        silent = counts.sum(1) == 0
        fan_out = [torch.from_numpy(op.fan_out()) for op in self.operators]
        layers = [result.counts.long() for result in results[:-1]]
        if isinstance(signal, Spikes):
            layers.insert(0, self.counts(signal).long())
            n_synops = torch.zeros(len(counts), dtype=torch.int64)
        else:
            n_synops = (signal.values > 0).long() @ fan_out.pop(0)
        n_spikes = (
            torch.stack([layer.sum(1) for layer in layers]).sum(0) if layers else torch.zeros_like(n_synops)
        )
        for layer, fan in zip(layers, fan_out, strict=True):
            n_synops = n_synops + layer @ fan
        return Prediction(
            labels=score.argmax(1),
            probabilities=(score.double() / float(self.temperature)).softmax(1).float(),
            decision_time=torch.where(silent, self.n_steps, self.n_steps - 1),
            silent=silent,
            tied=(counts == counts.amax(1, keepdim=True)) & ~silent[:, None],
            potentials=score,
            n_spikes=n_spikes,
            n_synops=n_synops,
        )

    @torch.no_grad()
    def over_time(
        self, inputs: Any, times: Int[Tensor, " n_times"]
    ) -> Float[Tensor, "batch n_times classes"]:
        """Class probabilities had the answer been demanded at the end of step times[k], by the score so far."""
        check_times(times, self.n_steps)
        first, results = self.run(inputs)
        below = results[-2].spikes if len(results) > 1 else first
        last, neuron = len(self.operators) - 1, self.neurons[-1]
        ops = function.implementation(backends.resolve(self.backend, below[0].device))
        found = []
        for time in times.tolist():  # the output layer alone, over ever more steps
            if isinstance(below, Current):
                result = ops.scan(self.current(last, below, inputs)[:, : time + 1].contiguous(), neuron)
            else:
                part = Spikes(below.bits[:, : time + 1].contiguous(), below.n)
                result = ops.forward(self.operators[last], part, self.weight(last), neuron)
            found.append(scores(result.counts, result.membrane, neuron.threshold))
        return (torch.stack(found, 1).double() / float(self.temperature)).softmax(2).float()


def scores(
    counts: Float[Tensor, "n classes"], membrane: Float[Tensor, "n classes"], threshold: float
) -> Float[Tensor, "n classes"]:
    """o + v / (2 (threshold + |v|)), float32 as written."""
    return counts + membrane / (2 * (threshold + membrane.abs()))


def maps(input_shape: tuple[int, ...], coding: Any, n_inputs: int) -> tuple[int, ...]:
    """The shape of the first layer's input: (height, width, channels) of images and events, else (n_inputs,)."""
    if isinstance(coding, Poisson) and coding.signed:
        return (n_inputs,)
    if len(input_shape) == 2:
        return (*input_shape, 1)
    if len(input_shape) == 3:
        return (input_shape[1], input_shape[2], input_shape[0])
    if len(input_shape) > 3:
        raise UsageError(f"inputs of shape {input_shape} are neither images nor events")
    return (n_inputs,)
