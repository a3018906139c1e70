"""A network of non-leaky integrate-and-fire neurons that fire at most once.

V_j(t) = V_j(t-1) + sum_i w_ij [t_i = t];  neuron j crosses in the first step with V_j(t) > threshold_j (strict, tested
after all spikes of the step) and its spike reaches the next layer `delay` steps later. A spike that would be emitted at
`n_steps` or later is lost. S4NN specification, equations 2 to 5 (there `delay` is 1).
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bitspike.contracts import Batch, Coding
from bitspike.errors import BackendError
from bitspike.networks.anytime import check_times, first_spike_probabilities
from bitspike.networks.base import Decides, LayerFacts, Network, check_demand, dense_layers
from bitspike.networks.decision import (
    Readout,
    best_operating,
    candidate_shifts,
    decide,
    decide_times,
    join,
    sweep,
)
from bitspike.ops import first_spike as ops
from bitspike.ops.backend import Backend
from bitspike.ops.operators import Dense
from bitspike.packed.first_spike.network import FirstSpikePacked, from_weights
from bitspike.packed.weights import snap
from bitspike.prediction import Prediction
from bitspike.settings import IF, Weights

READ = 250  # samples whose potentials of all slots are held at a time: they stay in cache


class Race(NamedTuple):
    """Output margins `(batch, n_slots, classes)`, slots in use `(batch,)`, share of each layer's neurons that fired."""

    margins: Tensor
    n_active: Tensor
    firing: tuple[Tensor, ...]


@dataclasses.dataclass(frozen=True)
class Sweep:
    """How `finish` chooses the output threshold: shifts in multiples of `spacing` from the one that was trained.

    `threshold`: what the sweep calls the threshold at shift 0.
    """

    spacing: float
    threshold: float


class FirstSpikeNetwork(Network):
    """Fully connected layers; `latents[l]` is `(n_in, n_out)` (input-major), `thresholds[l]` is `(n_out,)`.

    `weight(l)` is what the network computes with (binary: +1/-1). The last layer's neurons are the classes. Binary
    networks carry any scale (alpha of BS4NN) inside the threshold: U > theta/alpha. `temperature` (buffer) divides the
    potentials, minus threshold, in the softmax that gives the probabilities. `sweep`: how `finish` chooses the output
    threshold; None keeps it.
    """

    system = "first_spike"
    decides: Decides = "first spike"

    def __init__(
        self,
        n_inputs: int,
        n_classes: int,
        coding: Coding,
        network: IF,
        weights: Weights,
        generator: torch.Generator,
        backend: str = "auto",
        sweep: Sweep | None = None,
    ) -> None:
        super().__init__(coding, n_classes, weights, backend)
        self.delay, self.sweep = network.delay, sweep
        widths = (n_inputs, *network.hidden, n_classes)
        self.operators = tuple(Dense(n_in, n_out) for n_in, n_out in itertools.pairwise(widths))
        check_demand(self.operators)
        last = len(self.operators) - 1
        self.latents = nn.ParameterList(
            weights.initial(*op.weight_shape, layer=index, is_output=index == last, generator=generator)
            for index, op in enumerate(self.operators)
        )
        self.thresholds = nn.ParameterList(torch.zeros(op.n_out) for op in self.operators)

    @property
    def chunk(self) -> int:
        """The potentials of all slots are held at a time, and stay in cache."""
        return READ

    @property
    def implementation(self) -> Backend:
        """Native kernels work on float32: for others `auto` takes the reference, `native` raises `BackendError`."""
        chosen = super().implementation
        if self.latents[0].dtype == torch.float32 or chosen != "native":
            return chosen
        if self.backend == "native":
            kind = self.latents[0].dtype
            raise BackendError(
                f"the native kernels work on float32, not on {kind}; use backend=auto or reference"
            )
        return "reference"

    def weight(self, layer: int, generator: torch.Generator | None = None) -> Float[Tensor, "n_in n_out"]:
        """Weights of a layer as the network uses them, `(n_in, n_out)`, differentiable in the latents.

        With a generator, weights of kind bernoulli are drawn; without it they are the mode.
        """
        return self.synapse.forward(self.latents[layer], generator)

    def _run(
        self,
        times: Tensor,
        width: float = 1.0,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, ops.Spikes, list[Tensor]]:
        """Output margins, the input in slots, and the slots of every hidden layer's spikes."""
        backend = self.implementation
        spikes: ops.Spikes = ops.implementation(backend).sort_times(times, self.n_steps)
        x, slots, last = spikes, [], len(self.latents) - 2
        for index in range(last + 1):
            keep = None
            if dropout > 0:
                n = self.latents[index].shape[1]
                keep = (torch.rand((len(times), n), generator=generator) >= dropout).to(times.device)
            settings: dict[str, Any] = {
                "width": width, "binary": self.synapse.one_bit, "backend": backend, "keep": keep
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
        """Put real weights and thresholds, in place, on the grid on which they ship; see `packed.weights.snap`."""
        if self.synapse.one_bit:
            return
        for latent, threshold in zip(self.latents, self.thresholds, strict=True):
            weights, bounds = snap(latent.numpy(force=True), threshold.numpy(force=True))
            latent.copy_(torch.from_numpy(weights))
            threshold.copy_(torch.from_numpy(bounds))

    def packed(self) -> FirstSpikePacked:
        """The network as numpy values: sign bits or float32 weights, and thresholds."""
        weights = [self.weight(index).numpy(force=True) for index in range(len(self.operators))]
        thresholds = [threshold.numpy(force=True) for threshold in self.thresholds]
        return from_weights(weights, thresholds, self.synapse.one_bit, self.n_steps, self.delay)

    @torch.no_grad()
    def start_thresholds(
        self, sample: Tensor, p0: float, theta_out: float, generator: torch.Generator
    ) -> None:
        """Hidden thresholds at the (1 - p0) quantile of max_t V over inputs, at least 0; outputs at `theta_out`."""
        kernels = ops.implementation(self.implementation)
        spikes = kernels.sort_times(sample, self.n_steps)
        binary = self.synapse.one_bit
        for index, threshold in enumerate(self.thresholds[:-1]):
            weight = self.weight(index, generator)  # of a posterior a draw: the mode may be another network
            maxima, _ = kernels.layer_forward(spikes, weight, threshold, binary)
            last = (spikes.n_active.long() - 1)[:, None, None].expand(-1, 1, maxima.shape[2])
            highest = maxima.gather(1, last)[:, 0, : threshold.numel()].float()
            threshold.copy_(torch.quantile(highest, 1 - p0, dim=0).clamp(min=0))
            _, crossing = kernels.layer_forward(spikes, weight, threshold, binary)
            spikes = kernels.hidden_spikes(spikes, crossing, None)
        self.thresholds[-1].fill_(theta_out)

    @property
    def layers(self) -> tuple[LayerFacts, ...]:
        """The input, hidden layers by their widths, the output."""
        return dense_layers(self.operators)

    @torch.no_grad()
    def decide(self, inputs: Any, generator: torch.Generator | None = None) -> Prediction:
        """The honest decision: earliest output spike, then the largest margin, then the lowest index; silent: margin.

        Natively by the packed engine, which stops at the first output spike; else in plain PyTorch (`decide_times`).
        """
        if self.implementation != "native":
            return super().decide(inputs, generator)
        decisions = self.packed().engine().decide(inputs.numpy(), torch.get_num_threads())
        scaled = torch.from_numpy(decisions.potentials).double() / float(self.temperature)
        return Prediction.of(decisions, scaled.softmax(1).float())

    def _decide(self, inputs: Tensor, generator: torch.Generator | None) -> Prediction:
        last = len(self.latents) - 1
        fan_outs = [op.n_out for op in self.operators]
        return decide_times(
            self.spike_times(inputs), self.weight(last), self.thresholds[last], self.n_steps, self.delay, fan_outs,
            float(self.temperature),
        )  # fmt: skip

    @torch.no_grad()
    def finish(
        self, batch: Batch, max_silent: float, generator: torch.Generator | None = None
    ) -> dict[str, Any]:
        """Shift all output thresholds together to the best validation accuracy with at most `max_silent` silent inputs.

        Then fit the temperature there. Without `sweep` thresholds stay. Real weights are first put on their grid.
        """
        if self.sweep is None:
            return super().finish(batch, max_silent, generator)
        self.snap()
        parts = torch.split(batch.inputs, READ)
        readout = join([self.readout(part.to(self.device)) for part in parts])
        lowest = -float(self.thresholds[-1].min())  # a threshold below 0 would fire before any input
        shifts = [shift for shift in candidate_shifts(self.sweep.spacing) if shift >= lowest]
        points = sweep(readout, batch.labels.cpu(), self.n_steps, shifts)
        best = best_operating(points, max_silent)
        self.thresholds[-1] += best.shift
        warmed = self._warm(decide(readout, self.n_steps, 1.0, best.shift), batch.labels)
        rows = [
            {"threshold": self.sweep.threshold + point.shift}
            | {name: value for name, value in dataclasses.asdict(point).items() if name != "shift"}
            for point in points
        ]
        return warmed | {"threshold_shift": best.shift, "max_silent": max_silent, "sweep": rows}

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

    def trace(self, inputs: Any) -> dict[str, Tensor]:
        """Spike times of the input, of all hidden layers in a row, and of the output."""
        times, *hidden, output = self.spike_times(inputs)
        return {
            "example_input_times": times,
            "example_hidden_times": torch.cat(hidden, dim=1) if hidden else times[:, :0],
            "example_output_times": output,
        }

    @property
    def anytime(self) -> bool:
        """Every step has its margins."""
        return True

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
