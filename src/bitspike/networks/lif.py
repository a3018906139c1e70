"""A network of leaky integrate-and-fire neurons that exchange spike trains: dense, convolution, pooling.

The neuron is that of `ops.lif.neuron.Neuron`; layers are run one after the other over the whole window. The
class of an input is that of the output neuron with the largest score
    score = o + v / (2 * (threshold + |v|)),    o: spikes in the window, v: membrane after the last step
(the second term lies in (-1/2, 1/2): it only breaks ties of the counts), then the lowest index.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bitspike.coding import Direct, SpikeList
from bitspike.contracts import Coding
from bitspike.networks.anytime import check_times
from bitspike.networks.base import Decides, LayerFacts, Network, check_demand
from bitspike.networks.inputs import chunks
from bitspike.networks.signal import signal
from bitspike.networks.trains import Activity, listed, raster
from bitspike.ops.lif import function, reference
from bitspike.ops.lif.function import Macro
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.lif.settings import Micro
from bitspike.ops.lif.signals import Current, Result, Signal, Spikes
from bitspike.ops.operators import Operator
from bitspike.packed.lif.network import LIFPacked, from_weights
from bitspike.packed.operations import Operations, products, updates
from bitspike.packed.weights import snap_window
from bitspike.prediction import Prediction
from bitspike.settings import LIF, Weights

TRACED = 3  # hidden neurons whose membrane is traced, over all layers, at least one in each


class Run(NamedTuple):
    """Output counts `(batch, classes)`, differentiable, and the share of each hidden layer's neurons that fired."""

    counts: Tensor
    firing: tuple[Tensor, ...]


class LIFNetwork(Network):
    """`operators[l]` joins layer l to the next, `neurons[l]` are its neurons' constants; weights are input-major.

    `latents` holds one parameter per operator that has weights, in order; `weight(l)` is what operator l computes with
    (binary: +1/-1, the scale sits in the threshold) and None for a pool. `temperature` (buffer) divides the scores in
    the softmax that gives the probabilities.
    """

    system = "lif"
    decides: Decides = "window"

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_classes: int,
        coding: Coding,
        network: LIF,
        weights: Weights,
        generator: torch.Generator,
        backend: str = "auto",
    ) -> None:
        super().__init__(coding, n_classes, weights, backend)
        self.operators: tuple[Operator, ...] = network.operators(input_shape, n_classes)
        check_demand(self.operators, coding.n_steps)
        self.neurons: tuple[Neuron, ...] = network.neurons()
        self.names = ("input", *network.hidden, "output")
        self._place: list[int | None] = []
        latents: list[Tensor] = []
        for index, op in enumerate(self.operators):
            self._place.append(None if op.weight_shape is None else len(latents))
            if op.weight_shape is not None:
                is_output = index == len(self.operators) - 1
                latents.append(
                    weights.initial(
                        *op.weight_shape, layer=len(latents), is_output=is_output, generator=generator
                    )
                )
        self.latents = nn.ParameterList(latents)

    @property
    def chunk(self) -> int:
        """Fewer in plain PyTorch, which holds the whole window of every neuron."""
        return 200 if self.implementation == "native" else 50

    def weight(self, layer: int, generator: torch.Generator | None = None) -> Tensor | None:
        """Weights of an operator as the network uses them, differentiable in the latents.

        With a generator, weights of kind bernoulli are drawn; without it they are the mode.
        """
        place = self._place[layer]
        return None if place is None else self.synapse.forward(self.latents[place], generator)

    def signal(self, inputs: Any, generator: torch.Generator | None = None) -> Signal:
        """Coded inputs as they enter the first layer; with a generator, Poisson trains are drawn anew."""
        return signal(self.coding, inputs, self.implementation, self.device, generator)

    def forward(
        self,
        signal: Signal,
        micro: Micro | None = None,
        macro: Macro | None = None,
        generator: torch.Generator | None = None,
    ) -> Run:
        """Run a batch through the layers; gradients are HM2-BP's (`ops.lif.function`).

        With a generator, weights of kind bernoulli are drawn, one draw for the batch.
        """
        backend = self.implementation
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
        ops, results = function.implementation(self.implementation), []
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
        assert isinstance(self.coding, Direct)
        weight64 = None if weight is None else weight.double()
        current: Tensor = reference.apply(op, inputs.double(), weight64) * self.coding.current_per_level
        return current.float()[:, None].expand(-1, signal.n_steps, -1)

    @torch.no_grad()
    def snap(self) -> None:
        """Put real weights, in place, on the grid on which they ship; see `packed.weights.snap_window`."""
        if self.synapse.one_bit:
            return
        for place, latent in enumerate(self.latents):
            direct = place == 0 and isinstance(self.coding, Direct)
            latent.copy_(torch.from_numpy(snap_window(latent.numpy(force=True), direct)))

    def packed(self) -> LIFPacked:
        """The network as numpy values: sign bits or float32 weights, and the neurons' constants."""
        weights = [self.weight(index) for index in range(len(self.operators))]
        arrays = [None if weight is None else weight.numpy(force=True) for weight in weights]
        return from_weights(
            self.operators, self.neurons, arrays, self.synapse.one_bit, self.coding, self.n_steps
        )

    def counts(self, spikes: Spikes) -> Tensor:
        """Spikes per neuron in the window, `(batch, n)`."""
        counted: Tensor = function.implementation(self.implementation).counts(spikes)
        return counted

    def _decide(self, inputs: Any, generator: torch.Generator | None) -> Prediction:
        """One honest decision per input; see the head of this file."""
        signal, results = self.run(inputs)
        counts, membrane = results[-1].counts, results[-1].membrane
        score = scores(counts, membrane, self.neurons[-1].threshold)
        silent = counts.sum(1) == 0
        fan_out = [torch.from_numpy(op.fan_out()).to(counts.device) for op in self.operators]
        layers = [result.counts.long() for result in results[:-1]]
        if isinstance(signal, Spikes):
            layers.insert(0, self.counts(signal).long())
            n_synops = torch.zeros(len(counts), dtype=torch.int64, device=counts.device)
        else:
            n_synops = ((signal.values > 0) * fan_out.pop(0)).sum(1)
        n_spikes = (
            torch.stack([layer.sum(1) for layer in layers]).sum(0) if layers else torch.zeros_like(n_synops)
        )
        for layer, fan in zip(layers, fan_out, strict=True):
            n_synops = n_synops + (layer * fan).sum(1)
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

    @property
    def layers(self) -> tuple[LayerFacts, ...]:
        """The input, hidden layers as their settings write them, the output."""
        above = []
        for name, op, neuron in zip(self.names[1:], self.operators, self.neurons, strict=True):
            stored = 0 if op.weight_shape is None else math.prod(op.weight_shape)
            above.append(LayerFacts(name, op.n_out, stored, int(op.fan_out().sum()), op, neuron.threshold))
        return (LayerFacts("input", self.operators[0].n_in), *above)

    def work(self, inputs: Any) -> Operations:
        """Products of the input where it is a current, and an update of every neuron in every step."""
        direct = isinstance(self.coding, Direct)
        macs = products(self.operators[0], inputs.numpy(force=True)) if direct else 0.0
        return Operations(macs, updates(self.operators, self.n_steps))

    def trains(self, inputs: Any) -> SpikeList:
        """The spikes by which inputs are decided."""
        return listed(self.signal, inputs)

    @torch.no_grad()
    def activity(self, inputs: Any) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
        """How often every layer fires (`networks.trains.Activity`); an input that is a current has no such figures."""
        activity = Activity([layer.neurons for layer in self.layers], self.n_steps)
        for part in chunks(inputs, self.chunk):
            signal, results = self.run(part)
            counts = [self.counts(signal)] if isinstance(signal, Spikes) else []
            activity.add([*counts, *(result.counts for result in results)])
        facts, arrays = super().activity(inputs)
        figures, more = activity.figures(len(inputs))
        return [one | two for one, two in zip(facts, figures, strict=True)], arrays | more

    @torch.no_grad()
    def trace(self, inputs: Any) -> dict[str, Tensor]:
        """Rasters and counts of every layer, and the membranes of every output and the most active hidden neurons."""
        signal, results = self.run(inputs)
        arrays = raster(0, signal, self.counts(signal)) if isinstance(signal, Spikes) else {}
        last = len(results)
        for layer, (neuron, result) in enumerate(zip(self.neurons, results, strict=True), start=1):
            arrays |= raster(layer, result.spikes, result.counts)
            n_traced = result.spikes.n if layer == last else max(1, TRACED // (last - 1))
            traced = result.counts.sort(dim=1, descending=True, stable=True).indices[:, :n_traced]
            if layer == last:
                traced = traced.sort(dim=1).values
            current = self.current(layer - 1, signal, inputs)
            own = current.gather(2, traced[:, None].expand(-1, current.shape[1], -1))
            arrays[f"example_layer{layer}_traced"] = traced
            arrays[f"example_layer{layer}_membrane"] = reference.membrane(own, neuron)
            signal = result.spikes
        return arrays

    @property
    def anytime(self) -> bool:
        """Every step has its scores."""
        return True

    @torch.no_grad()
    def over_time(
        self, inputs: Any, times: Int[Tensor, " n_times"]
    ) -> Float[Tensor, "batch n_times classes"]:
        """Class probabilities had the answer been demanded at the end of step times[k], by the score so far."""
        check_times(times, self.n_steps)
        first, results = self.run(inputs)
        below = results[-2].spikes if len(results) > 1 else first
        last, neuron = len(self.operators) - 1, self.neurons[-1]
        ops = function.implementation(self.implementation)
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
