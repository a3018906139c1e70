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
from bitspike.contracts import Prediction
from bitspike.errors import UsageError
from bitspike.networks.anytime import check_times
from bitspike.networks.signal import signal
from bitspike.ops import backend as backends
from bitspike.ops.lif import reference as trains
from bitspike.ops.lif.signals import Spikes, unpack
from bitspike.ops.srm import elementary, reference
from bitspike.ops.srm.step import Latents, Layer, Moments, Target, neurons
from bitspike.packed.average import logarithm
from bitspike.packed.lif.network import snap
from bitspike.packed.srm.native import SRMEngine
from bitspike.packed.srm.network import SRMPacked, from_weights
from bitspike.settings import SRM
from bitspike.weights import Weights


class SRMNetwork(nn.Module):
    """`operators[l]` is layer l's operator and pooling window; `latents` holds weights (and biases, if any) in order.

    Buffers: `readout{l}` `(n, n_readouts)` and `readout_bias{l}`, +1 or -1, drawn once and never trained; `prior{i}`,
    the natural parameters of latent i's prior; `temperature`, of log p in the softmax that gives the probabilities.
    Two classes have one readout, whose logistic function is the probability of the second; so has a regression (one
    "class"), whose prediction it is.
    """

    temperature: Tensor

    def __init__(
        self,
        input_shape: tuple[int, ...],
        n_classes: int,
        coding: Any,
        network: SRM,
        weights: Weights,
        generator: torch.Generator,
        backend: str = "auto",
        prior: float = 0.5,
    ) -> None:
        super().__init__()
        self.coding, self.weights, self.backend, self.bias = coding, weights, backend, network.bias
        self.neuron, self.burn_in, self.n_classes = network.neuron(), network.burn_in, n_classes
        self.operators = network.operators(input_shape)
        self.n_readouts = 1 if n_classes <= 2 else n_classes
        latents: list[Tensor] = []
        for index, (op, pool) in enumerate(self.operators):
            last = index == len(self.operators) - 1
            latents.append(weights.start(*op.weight_shape, is_output=last, generator=generator))
            if self.bias:
                latents.append(weights.start(op.weight_shape[-1], is_output=last, generator=generator))
            n_out = neurons(op, pool)
            for name, shape in (("readout", (n_out, self.n_readouts)), ("readout_bias", (self.n_readouts,))):
                signs = torch.randint(0, 2, shape, generator=generator).float() * 2 - 1
                self.register_buffer(f"{name}{index}", signs)
        self.latents = nn.ParameterList(latents)
        if weights.kind == "bernoulli":
            natural = 0.5 * math.log(prior / (1 - prior))
            for index, latent in enumerate(latents):
                self.register_buffer(f"prior{index}", torch.full_like(latent, natural))
        self.register_buffer("temperature", torch.ones(()))

    @property
    def n_steps(self) -> int:
        return int(self.coding.n_steps)

    def layer(self, index: int) -> Layer:
        """The constants of a layer."""
        op, pool = self.operators[index]
        return Layer(
            op, pool, self.neuron, self.get_buffer(f"readout{index}"), self.get_buffer(f"readout_bias{index}")
        )

    def sizes(self) -> list[dict[str, int]]:
        """From the input on, `neurons` of each layer, and its `weights` (biases among them) and `synapses`."""
        found = [{"neurons": self.operators[0][0].n_in}]
        for op, pool in self.operators:
            weights = math.prod(op.weight_shape) + (op.weight_shape[-1] if self.bias else 0)
            synapses = int(op.fan_out().sum())
            found.append({"neurons": neurons(op, pool), "weights": weights, "synapses": synapses})
        return found

    def learned(self, index: int, moments: dict[Tensor, Any] | None = None) -> Latents:
        """What a layer learns, sharing memory with the parameters; `moments`: the state of an Adam optimiser."""
        parts = self._place(index)

        def prior(place: int) -> Any:
            return getattr(self, f"prior{place}", 0.0)

        def adam(place: int) -> Moments | None:
            if moments is None:
                return None
            state = moments[self.latents[place]]
            return Moments(state["exp_avg"], state["exp_avg_sq"])

        weight = adam(parts[0])
        bias = parts[1] if self.bias else None
        return Latents(
            weight=self.latents[parts[0]].data,
            bias=None if bias is None else self.latents[bias].data,
            prior=prior(parts[0]),
            prior_bias=0.0 if bias is None else prior(bias),
            moments=None if weight is None else (weight, None if bias is None else adam(bias)),
        )

    def _place(self, index: int) -> tuple[int, int]:
        """Where a layer's weights and biases stand among the latents."""
        return (2 * index, 2 * index + 1) if self.bias else (index, -1)

    def target(self, labels: Tensor) -> Target:
        """What readouts are compared with, from labels `(batch,)`: classes, or numbers in [0, 1] for one readout."""
        return Target(labels if self.n_readouts > 1 else labels[:, None].float())

    def weight(self, index: int) -> tuple[Tensor, Tensor | None]:
        """Weights and biases of a layer as decisions use them."""
        weight, bias = self._place(index)
        return self.weights.forward(self.latents[weight]), (
            self.weights.forward(self.latents[bias]) if self.bias else None
        )

    def window(self, inputs: Any, generator: torch.Generator | None = None) -> Tensor:
        """The input's spikes, uint8 `(n_steps, batch, n_in)`; with a generator Poisson trains are drawn anew."""
        spikes = signal(self.coding, inputs, self.backend, generator)
        if not isinstance(spikes, Spikes):
            raise UsageError(
                "a network of spike response neurons wants spikes; set coding to Poisson or EventBins"
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
        if backends.resolve(self.backend, self.latents[0].device) == "native":
            coded = inputs if isinstance(inputs, SpikeList) else inputs.numpy()
            mean = torch.from_numpy(SRMEngine(self.packed()).over_time(coded, torch.get_num_threads()))
        else:
            means, total = [], torch.zeros(())
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
            self.weights.one_bit, self.coding, self.n_steps, self.n_classes,
        )  # fmt: skip

    @torch.no_grad()
    def decide(self, inputs: Any) -> Prediction:
        """One decision per input: the largest p, ties to the lowest index; potentials are ln p (a regression's: p)."""
        if backends.resolve(self.backend, self.latents[0].device) == "native":
            coded = inputs if isinstance(inputs, SpikeList) else inputs.numpy()
            decided = SRMEngine(self.packed()).decide(coded, torch.get_num_threads())
            values = {name: torch.from_numpy(value) for name, value in vars(decided).items()}
            p = values["potentials"]
            if self.n_classes > 1:
                p = (p.double() / float(self.temperature)).softmax(1).float()
            return Prediction(**values, probabilities=p)
        layers = range(len(self.operators))
        counts = [torch.zeros(()) for _ in range(len(layers) + 1)]
        total: Tensor = torch.zeros(())
        for t, (read, spikes) in enumerate(self.run(inputs)):
            counts = [count + part for count, part in zip(counts, spikes, strict=True)]
            if t >= self.burn_in:
                total = total + self._probability(read)
        p = self._classes(total / (self.n_steps - self.burn_in))
        whole = [count.long() for count in counts]
        fans = [torch.from_numpy(op.fan_out()) for op, _ in self.operators]
        fans.append(torch.full((whole[-1].shape[1],), self.n_readouts))
        n = len(p)
        return Prediction(
            labels=p.argmax(1),
            probabilities=self._calibrated(p),
            decision_time=torch.full((n,), self.n_steps - 1),
            silent=torch.zeros(n, dtype=torch.bool),
            tied=p == p.amax(1, keepdim=True),
            potentials=p if self.n_classes == 1 else _logarithm(p),
            n_spikes=torch.stack([count.sum(1) for count in whole]).sum(0),
            n_synops=sum(
                (c @ fan for c, fan in zip(whole, fans, strict=True)), torch.zeros(n, dtype=torch.int64)
            ),
        )

    @torch.no_grad()
    def snap(self) -> None:
        """Put real weights, in place, on the grid on which they ship; biases are added as they are."""
        if self.weights.one_bit:
            return
        for index in range(len(self.operators)):
            latent = self.latents[self._place(index)[0]]
            latent.copy_(torch.from_numpy(snap(latent.numpy(force=True))))


def _logarithm(p: Tensor) -> Tensor:
    """ln p by the packed engine's own function: the same bits."""
    return torch.from_numpy(logarithm(p.numpy(force=True)))
