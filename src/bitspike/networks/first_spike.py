"""A network of non-leaky integrate-and-fire neurons that fire at most once.

V_j(t) = V_j(t-1) + sum_i w_ij [t_i = t];  neuron j crosses in the first step with V_j(t) > threshold_j (strict, tested
after all spikes of the step) and its spike reaches the next layer `delay` steps later. A spike that would be emitted at
`n_steps` or later is lost. S4NN specification, equations 2 to 5 (there `delay` is 1).
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bitspike.contracts import Prediction
from bitspike.networks.anytime import check_times, first_spike_probabilities
from bitspike.networks.decision import Readout
from bitspike.ops import backend as backends
from bitspike.ops import first_spike as ops
from bitspike.packed.first_spike.native import FirstSpikeEngine
from bitspike.packed.first_spike.network import FirstSpikePacked, FirstSpikePackedLayer
from bitspike.packed.weights import snap
from bitspike.settings import IF
from bitspike.weights import Weights


class Race(NamedTuple):
    """Output margins `(batch, n_slots, classes)`, slots in use `(batch,)`, share of each layer's neurons that fired."""

    margins: Tensor
    n_active: Tensor
    firing: tuple[Tensor, ...]


class FirstSpikeNetwork(nn.Module):
    """Fully connected layers; `latents[l]` is `(n_in, n_out)` (input-major), `thresholds[l]` is `(n_out,)`.

    `weight(l)` is what the network computes with (binary: +1/-1). The last layer's neurons are the classes. Binary
    networks carry any scale (alpha of BS4NN) inside the threshold: U > theta/alpha. `temperature` (buffer) divides the
    potentials, minus threshold, in the softmax that gives the probabilities.
    """

    temperature: Tensor

    def __init__(
        self,
        n_inputs: int,
        n_classes: int,
        n_steps: int,
        network: IF,
        weights: Weights,
        generator: torch.Generator,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.n_steps, self.delay, self.weights, self.backend = n_steps, network.delay, weights, backend
        widths = (n_inputs, *network.hidden, n_classes)
        shapes = list(itertools.pairwise(widths))
        self.latents = nn.ParameterList(
            weights.start(n_in, n_out, is_output=index == len(shapes) - 1, generator=generator)
            for index, (n_in, n_out) in enumerate(shapes)
        )
        self.thresholds = nn.ParameterList(torch.zeros(n_out) for _, n_out in shapes)
        self.register_buffer("temperature", torch.ones(()))

    def weight(self, layer: int, generator: torch.Generator | None = None) -> Float[Tensor, "n_in n_out"]:
        """Weights of a layer as the network uses them, `(n_in, n_out)`, differentiable in the latents.

        With a generator, weights of kind bernoulli are drawn; without it they are the mode.
        """
        return self.weights.forward(self.latents[layer], generator)

    def _run(
        self,
        times: Tensor,
        width: float = 1.0,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, ops.Spikes, list[Tensor]]:
        """Output margins, the input in slots, and the slots of every hidden layer's spikes."""
        backend = backends.resolve(self.backend, times.device)
        spikes: ops.Spikes = ops.implementation(backend).sort_times(times, self.n_steps)
        x, slots, last = spikes, [], len(self.latents) - 2
        for index in range(last + 1):
            keep = None
            if dropout > 0:
                n = self.latents[index].shape[1]
                keep = (torch.rand((len(times), n), generator=generator) >= dropout).to(times.device)
            settings: dict[str, Any] = {
                "width": width, "binary": self.weights.one_bit, "backend": backend, "keep": keep
            }  # fmt: skip
            if index < last:
                x = ops.hidden_layer(x, self.weight(index, generator), self.thresholds[index], **settings)
                assert x.slots is not None
                slots.append(x.slots)
            else:
                margins, crossing = ops.hidden_readout(
                    x, self.weight(index, generator), self.thresholds[index],
                    self.weight(index + 1, generator), self.thresholds[index + 1],
                    **settings,
                )  # fmt: skip
                slots.append(crossing)
        return margins, spikes, slots

    def forward(
        self,
        times: Tensor,
        width: float = 1.0,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Race:
        """Run every sample to the end of its input, differentiably, without delay.

        `times` `(batch, n_inputs)` int16; `width`: half-width of the surrogate (units of potential); `dropout`: share
        of hidden spikes lost, not rescaled. `generator` draws both these and weights of kind bernoulli.
        """
        margins, spikes, slots = self._run(times, width, dropout, generator)
        active = spikes.n_active[:, None]
        return Race(margins, spikes.n_active, tuple((slot < active).float().mean() for slot in slots))

    @torch.no_grad()
    def snap(self) -> None:
        """Put real weights and thresholds, in place, on the grid on which they ship; see `ops.packed.snap.snap`."""
        if self.weights.one_bit:
            return
        for latent, threshold in zip(self.latents, self.thresholds, strict=True):
            weights, bounds = snap(latent.numpy(force=True), threshold.numpy(force=True))
            latent.copy_(torch.from_numpy(weights))
            threshold.copy_(torch.from_numpy(bounds))

    def packed(self) -> FirstSpikePacked:
        """The network as numpy values: sign bits or float32 weights, and thresholds."""
        layers = []
        for index, threshold in enumerate(self.thresholds):
            weight, bound = self.weight(index).numpy(force=True), threshold.numpy(force=True)
            if self.weights.one_bit:
                layers.append(FirstSpikePackedLayer.binary(weight > 0, bound))
            else:
                layers.append(FirstSpikePackedLayer.real(weight, bound))
        return FirstSpikePacked(tuple(layers), self.n_steps, self.delay)

    def decide_packed(self, times: Int[Tensor, "batch n_in"]) -> Prediction:
        """The honest decision by the native packed engine (CPU), which stops at the first output spike."""
        decisions = FirstSpikeEngine(self.packed()).run(times.numpy(), torch.get_num_threads())
        values = {name: torch.from_numpy(value) for name, value in vars(decisions).items()}
        scaled = values["potentials"].double() / float(self.temperature)
        return Prediction(**values, probabilities=scaled.softmax(1).float())

    @torch.no_grad()
    def readout(self, times: Int[Tensor, "batch n_in"]) -> Readout:
        """Output margins over time with the spikes and additions behind them; for delay 0."""
        margins, spikes, slots = self._run(times)
        at = torch.arange(spikes.n_slots, device=times.device)[:, None]
        bins = torch.where(spikes.bins >= self.n_steps, -1, spikes.bins)
        arrived = [(times[:, None, :] <= bins[:, :, None]).sum(2).cummax(1).values]  # (batch, n_slots)
        for slot in slots:
            fired = torch.where(slot < spikes.n_active[:, None], slot, spikes.n_slots)
            arrived.append((fired[:, None, :] <= at).sum(2))
        synops = sum(
            (n * latent.shape[1] for n, latent in zip(arrived, self.latents, strict=True)), torch.zeros(())
        )
        return Readout(
            margins, spikes.n_active, spikes.bins, sum(arrived, torch.zeros(())).long(), synops.long()
        )

    @torch.no_grad()
    def spike_times(self, times: Int[Tensor, "batch n_in"]) -> list[Int[Tensor, "batch _"]]:
        """Spike times per layer, int16 `(batch, n)`, inputs first, hidden layers, then outputs; `n_steps`: never.

        Layer l (inputs are layer 0) spikes l * `delay` steps after the step in which it crosses.
        """
        margins, spikes, slots = self._run(times)
        bins = torch.cat([spikes.bins, torch.full_like(spikes.bins[:, :1], self.n_steps)], 1).long()
        never, active = spikes.n_slots, spikes.n_active[:, None]
        crossed = (margins > 0) & (torch.arange(never, device=times.device) < active)[:, :, None]
        slots.append(torch.where(crossed.any(1), crossed.to(torch.uint8).argmax(1), never).to(torch.int16))
        crossed_at = [bins.gather(1, torch.where(slot < active, slot.long(), never)) for slot in slots]
        return [times] + [
            (at + layer * self.delay).clamp(max=self.n_steps).to(torch.int16)
            for layer, at in enumerate(crossed_at, start=1)
        ]

    @torch.no_grad()
    def over_time(
        self, inputs: Int[Tensor, "batch n_in"], times: Int[Tensor, " n_times"]
    ) -> Float[Tensor, "batch n_times classes"]:
        """Class probabilities had the answer been demanded at the end of step times[k]; a decision stays."""
        check_times(times, self.n_steps)
        layers, last = self.spike_times(inputs)[-2:], len(self.latents) - 1
        return first_spike_probabilities(
            layers, self.weight(last), self.thresholds[last], times, self.delay, float(self.temperature)
        )
