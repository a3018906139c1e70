"""A network of spike response neurons with local random readouts, trained online: BiSNN's.

Every layer is that of `ops.srm.neuron.SRMNeuron` and has a readout r = (B S + b)/sqrt(n) of fixed random signs. The
last one decides: p = mean over the steps t >= burn_in of softmax(r(t)) (one readout: of the logistic function of r(t)).
Decisions filter after the synapse, U = c (a + bias) - R with a <- alpha a + q, q <- beta q + W x: the same potential as
training's, and the sums W x are exact, so that every back end decides alike. BiSNN specification, sections 2, 6 and 12.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bitspike.coding import SpikeList
from bitspike.contracts import Coding
from bitspike.errors import UsageError
from bitspike.networks.anytime import check_times
from bitspike.networks.base import Decides, LayerFacts, Network, check_demand
from bitspike.networks.signal import signal
from bitspike.ops import elementary
from bitspike.ops.lif import reference as trains
from bitspike.ops.lif.signals import Spikes, unpack
from bitspike.ops.srm import reference
from bitspike.ops.srm.step import Layer, Target, neurons
from bitspike.packed.average import logarithm
from bitspike.packed.operations import Operations, updates
from bitspike.packed.srm.network import SRMPacked, from_weights
from bitspike.packed.weights import snap_window
from bitspike.prediction import Prediction
from bitspike.settings import SRM, Weights


class SRMNetwork(Network):
    """`operators[l]` is layer l's operator and pooling window; `latents` holds weights (and biases, if any) in order.

    Buffers: `readout{l}` `(n, n_readouts)` and `readout_bias{l}`, +1 or -1, drawn once and never trained;
    `temperature`, of log p in the softmax that gives the probabilities.
    Two classes have one readout, whose logistic function is the probability of the second; so has a regression (one
    "class"), whose prediction it is.
    """

    system = "srm"
    decides: Decides = "window"
    logarithmic = True

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_classes: int,
        coding: Coding,
        network: SRM,
        weights: Weights,
        generator: torch.Generator,
        backend: str = "auto",
    ) -> None:
        super().__init__(coding, n_classes, weights, backend)
        self.bias, self.neuron, self.burn_in = network.bias, network.neuron(), network.burn_in
        self.operators = network.operators(input_shape)
        self.names = [layer for layer in network.hidden if not layer.startswith("P")]
        self.n_readouts = 1 if n_classes <= 2 else n_classes
        n_out = sum(neurons(op, pool) for op, pool in self.operators)
        check_demand([op for op, _ in self.operators], coding.n_steps, n_out * self.n_readouts)
        latents: list[Tensor] = []
        for index, (op, pool) in enumerate(self.operators):
            drawn: dict[str, Any] = {
                "layer": index, "is_output": index == len(self.operators) - 1, "generator": generator
            }  # fmt: skip
            latents.append(weights.initial(*op.weight_shape, **drawn))
            if self.bias:
                shape = op.weight_shape
                fans = math.prod(shape[:-1]), math.prod(shape[:-2]) * shape[-1]
                latents.append(weights.initial(op.weight_shape[-1], fans=fans, **drawn))
            n_out = neurons(op, pool)
            for name, shape in (("readout", (n_out, self.n_readouts)), ("readout_bias", (self.n_readouts,))):
                signs = torch.randint(0, 2, shape, generator=generator).float() * 2 - 1
                self.register_buffer(f"{name}{index}", signs)
        self.latents = nn.ParameterList(latents)

    @property
    def chunk(self) -> int:
        """Fewer in plain PyTorch, which holds the state of every neuron."""
        return 500 if self.implementation == "native" else 50

    def layer(self, index: int) -> Layer:
        """The constants of a layer."""
        op, pool = self.operators[index]
        return Layer(
            op, pool, self.neuron, self.get_buffer(f"readout{index}"), self.get_buffer(f"readout_bias{index}")
        )

    @property
    def layers(self) -> tuple[LayerFacts, ...]:
        """The input, and layers as their settings write them; pooling is part of the layer before it."""
        above = []
        for name, (op, pool) in zip(self.names, self.operators, strict=True):
            stored = math.prod(op.weight_shape) + (op.weight_shape[-1] if self.bias else 0)
            above.append(LayerFacts(name, neurons(op, pool), stored, int(op.fan_out().sum()), op))
        return (LayerFacts("input", self.operators[0][0].n_in), *above)

    def work(self, inputs: Any) -> Operations:
        """An update of every neuron in every step."""
        return Operations(srm_updates=updates([op for op, _ in self.operators], self.n_steps))

    @property
    def disturbances(self) -> tuple[str, ...]:
        """Still images get noise: their trains follow from their pixels."""
        return ("noise",) if self.coding.of_images else self.coding.disturbances

    def place(self, index: int) -> tuple[int, int]:
        """Where a layer's weights and biases stand among the latents; -1: it has no biases."""
        return (2 * index, 2 * index + 1) if self.bias else (index, -1)

    def target(self, labels: Tensor) -> Target:
        """What readouts are compared with, from labels `(batch,)`: classes, or numbers in [0, 1] for one readout."""
        return Target(labels if self.n_readouts > 1 else labels[:, None].float())

    def weight(self, index: int) -> tuple[Tensor, Tensor | None]:
        """Weights and biases of a layer as decisions use them."""
        weight, bias = self.place(index)
        return self.synapse.forward(self.latents[weight]), (
            self.synapse.forward(self.latents[bias]) if self.bias else None
        )

    def window(self, inputs: Any, generator: torch.Generator | None = None) -> Tensor:
        """The input's spikes, uint8 `(n_steps, batch, n_in)`; with a generator Poisson trains are drawn anew."""
        spikes = signal(self.coding, inputs, self.implementation, self.device, generator)
        if not isinstance(spikes, Spikes):
            raise UsageError(
                "a network of spike response neurons needs spikes; set coding to Poisson or EventBins"
            )
        return unpack(spikes, torch.uint8).transpose(0, 1)

    @torch.no_grad()
    def run(self, inputs: Any) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """Readout of the last layer `(batch, n_readouts)` and every layer's spikes, the input's first, step by step."""
        window = self.window(inputs)
        layers = [self.layer(index) for index in range(len(self.operators))]
        weights = [self.weight(index) for index in range(len(layers))]
        states = [
            window.new_zeros((4, window.shape[1], layer.op.n_out), dtype=torch.float32) for layer in layers
        ]
        neuron = self.neuron
        for x in window:
            spikes = [x.float()]
            for index, (layer, (weight, bias)) in enumerate(zip(layers, weights, strict=True)):
                a, q, r, s = states[index]
                current = trains.apply(layer.op, spikes[-1], weight)
                a = neuron.alpha * a + q
                q = neuron.beta * q + current
                r = neuron.gamma * r + s
                total = a if bias is None else a + bias.repeat(a.shape[1] // len(bias))
                u = layer.scale * total - r
                states[index] = torch.stack([a, q, r, (u >= 0).float()])
                spikes.append((reference.pool(layer, u) >= 0).float())
            last = layers[-1]
            yield (spikes[-1] @ last.readout + last.readout_bias) * last.readout_scale, spikes

    def over_time(self, inputs: Any, times: Tensor) -> Float[Tensor, "n n_times classes"]:
        """Probabilities had the answer been demanded after step times[k]: the mean over the steps from burn_in to it.

        Before burn_in every class is equally likely.
        """
        check_times(times, self.n_steps)
        if self.implementation == "native":
            coded = inputs if isinstance(inputs, SpikeList) else inputs.numpy()
            mean = torch.from_numpy(self.packed().engine().over_time(coded, torch.get_num_threads()))
        else:
            means, total = [], torch.zeros((), device=self.device)
            for t, (read, _) in enumerate(self.run(inputs)):
                if t >= self.burn_in:
                    total = total + self._probability(read)
                    means.append(total / (t + 1 - self.burn_in))
            mean = torch.stack(means, 1)  # (n, n_steps - burn_in, n_readouts)
        taken = mean[:, (times - self.burn_in).clamp(min=0)]
        taken[:, times < self.burn_in] = 1 / max(2, self.n_readouts)
        return torch.stack([self._calibrated(self._classes(part)) for part in taken.unbind(1)], 1)

    def _probability(self, read: Tensor) -> Tensor:
        result: Tensor = elementary.sigmoid(read) if self.n_readouts == 1 else elementary.softmax(read)
        return result

    def _classes(self, mean: Tensor) -> Tensor:
        return torch.cat([1 - mean, mean], dim=1) if self.n_classes == 2 else mean

    def _calibrated(self, p: Tensor) -> Tensor:
        if self.n_classes == 1:
            return p
        return (_logarithm(p).double() / float(self.temperature)).softmax(1).float()

    def packed(self) -> SRMPacked:
        """The network as numpy values: sign bits or float32 weights, and the neurons' constants."""
        layers = []
        for index, (op, pool) in enumerate(self.operators):
            weight, bias = self.weight(index)
            layers.append(
                (op, pool, weight.numpy(force=True), None if bias is None else bias.numpy(force=True))
            )
        last = self.layer(len(layers) - 1)
        return from_weights(
            layers, self.neuron, last.readout.numpy(force=True), last.readout_bias.numpy(force=True), self.burn_in,
            self.synapse.one_bit, self.coding, self.n_steps, self.n_classes,
        )  # fmt: skip

    @torch.no_grad()
    def decide(self, inputs: Any, generator: torch.Generator | None = None) -> Prediction:
        """One decision per input: the largest p, ties to the lowest index; potentials are ln p (a regression's: p)."""
        if self.implementation != "native":
            return super().decide(inputs, generator)
        coded = inputs if isinstance(inputs, SpikeList) else inputs.numpy()
        decisions = self.packed().engine().decide(coded, torch.get_num_threads())
        p = torch.from_numpy(decisions.potentials)
        if self.n_classes > 1:
            p = (p.double() / float(self.temperature)).softmax(1).float()
        return Prediction.of(decisions, p)

    def _decide(self, inputs: Any, generator: torch.Generator | None) -> Prediction:
        here = self.device
        counts = [torch.zeros((), device=here) for _ in range(len(self.operators) + 1)]
        total: Tensor = torch.zeros((), device=here)
        for t, (read, spikes) in enumerate(self.run(inputs)):
            counts = [count + part for count, part in zip(counts, spikes, strict=True)]
            if t >= self.burn_in:
                total = total + self._probability(read)
        p = self._classes(total / (self.n_steps - self.burn_in))
        whole = [count.long() for count in counts]
        fans = [torch.from_numpy(op.fan_out()).to(here) for op, _ in self.operators]
        fans.append(torch.full((whole[-1].shape[1],), self.n_readouts, device=here))
        n = len(p)
        return Prediction(
            labels=p.argmax(1),
            probabilities=self._calibrated(p),
            decision_time=torch.full((n,), self.n_steps - 1, device=here),
            silent=torch.zeros(n, dtype=torch.bool, device=here),
            tied=p == p.amax(1, keepdim=True),
            potentials=p if self.n_classes == 1 else _logarithm(p),
            n_spikes=torch.stack([count.sum(1) for count in whole]).sum(0),
            n_synops=sum(
                ((c * fan).sum(1) for c, fan in zip(whole, fans, strict=True)),
                torch.zeros(n, dtype=torch.int64, device=here),
            ),
        )

    @property
    def anytime(self) -> bool:
        """Every step has its mean; a regression's is no probability."""
        return True

    @torch.no_grad()
    def snap(self) -> None:
        """Put real weights, in place, on the grid on which they ship; biases are added as they are."""
        if self.synapse.one_bit:
            return
        for index in range(len(self.operators)):
            latent = self.latents[self.place(index)[0]]
            latent.copy_(torch.from_numpy(snap_window(latent.numpy(force=True))))


def _logarithm(p: Tensor) -> Tensor:
    """ln p by the packed engine's own function: the same bits."""
    return torch.from_numpy(logarithm(p.numpy(force=True))).to(p.device)
