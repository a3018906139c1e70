"""A network of circuits that fire by chance: GLM neurons (one value) and winner-take-all circuits (several).

What it decides by is `packed.glm.reference`: free runs whose draws follow from an input's own spikes. FL-SNN and VOWEL
specifications, section 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bitspike.coding import SpikeList
from bitspike.contracts import Coding
from bitspike.errors import UsageError
from bitspike.networks.anytime import check_times
from bitspike.networks.base import Decides, LayerFacts, Network, check_demand
from bitspike.networks.inputs import chunks
from bitspike.networks.signal import signal
from bitspike.ops.glm import block, circuit
from bitspike.ops.glm.block import Filters
from bitspike.ops.glm.online import Parameters
from bitspike.ops.lif.signals import Spikes, unpack
from bitspike.ops.operators import Dense
from bitspike.packed.decisions import Decisions
from bitspike.packed.glm.layers import Connection
from bitspike.packed.glm.network import GLMPacked, snap_filters
from bitspike.packed.operations import Operations
from bitspike.packed.weights import Reals, Signs
from bitspike.prediction import Prediction
from bitspike.settings import GLM, Weights
from bitspike.settings.basis import checked_table

AT_ONCE = 500  # inputs


class GLMNetwork(Network):
    """`topology.connections[i]` has `latents[i]` `(source rows, K, target rows)`; signs count by exp(`scales[i]`).

    `biases` and, where circuits hear themselves, `feedback` `(K_b, rows)` are those of every group but the input.
    Buffers: `table` and `own_table`, the filters; `there{i}`, 1 where a synapse is, of sparse connections. Rows stand
    value-major, c * n + i.
    """

    system = "glm"
    decides: Decides = "window"

    table: Tensor
    own_table: Tensor

    def __init__(
        self,
        n_inputs: int,
        n_classes: int,
        coding: Coding,
        network: GLM,
        weights: Weights,
        generator: torch.Generator,
        backend: str = "auto",
    ) -> None:
        super().__init__(coding, n_classes, weights, backend)
        if n_classes < 2:
            raise UsageError("circuits decide among two classes or more; a regression needs another network")
        self.settings, self.topology = network, network.topology(n_inputs, n_classes)
        self.register_buffer("table", torch.from_numpy(checked_table(network.basis)).float())
        groups = self.topology.groups
        check_demand(
            [Dense(groups[a].rows * len(self.table), groups[b].rows) for a, b in self.topology.connections],
            self.n_steps,
        )
        latents, scales = [], []
        for index, (source, target) in enumerate(self.topology.connections):
            rows, columns = self.topology.groups[source].rows, self.topology.groups[target].rows
            drawn = weights.initial(
                rows, len(self.table) * columns, layer=target - 1, is_output=target == self.topology.output,
                generator=generator,
            )  # fmt: skip
            latents.append(drawn.reshape(rows, -1, columns))
            scales.append(torch.zeros(columns))
            if network.density < 1:
                circuits = self.topology.groups[source].n, self.topology.groups[target].n
                there = torch.rand(circuits, generator=generator) < network.density
                self.register_buffer(
                    f"there{index}", there.repeat(rows // circuits[0], columns // circuits[1]).byte()
                )
        self.latents = nn.ParameterList(latents)
        self.scales = nn.ParameterList(scales if weights.one_bit else [])
        learned = self.topology.groups[1:]
        self.biases = nn.ParameterList([torch.zeros(group.rows) for group in learned])
        own = network.feedback
        if own is not None:
            self.register_buffer("own_table", torch.from_numpy(checked_table(own)).float())
        self.feedback = nn.ParameterList(
            [] if own is None else [torch.zeros(len(self.own_table), group.rows) for group in learned]
        )

    @property
    def tables(self) -> tuple[Tensor, Tensor | None]:
        """Filters of synapses, and of own feedback."""
        return self.table, self.own_table if len(self.feedback) else None

    def filters(self, like: Tensor) -> Filters:
        """The filters over the window."""
        table, own = self.tables
        return Filters.of(table.to(like), None if own is None else own.to(like), self.n_steps)

    def mask(self, index: int) -> Tensor | None:
        """0 where a connection has no synapse, `(source rows, 1, target rows)`; None: it has all."""
        source, target = self.topology.connections[index]
        group = self.topology.groups[target]
        mask = torch.from_numpy(group.others())[:, None] if source == target else None
        if self.settings.density < 1:
            there = self.get_buffer(f"there{index}").float()[:, None]
            mask = there if mask is None else there * mask.to(there)
        return None if mask is None else mask.to(self.device)

    @torch.no_grad()
    def parameters_in_use(self, generator: torch.Generator | None = None) -> Parameters:
        """What circuits compute with: signs times scales, or latents, missing synapses 0.

        With a generator, weights of kind bernoulli are drawn.
        """
        weights = []
        for index, latent in enumerate(self.latents):
            weight = self.synapse.forward(latent, generator)
            if self.synapse.one_bit:
                weight = weight * self.scales[index].exp()
            mask = self.mask(index)
            weights.append(weight if mask is None else weight * mask)
        return Parameters(weights, list(self.biases), list(self.feedback))

    @property
    def layers(self) -> tuple[LayerFacts, ...]:
        """The input, hidden layers by their circuits, the output; neurons are circuits times values.

        Weights and synapses of a layer are all that end in it, also those from other layers than the one below.
        """
        names = ["input", *map(str, self.settings.hidden), "output"]
        facts = [LayerFacts("input", self.topology.groups[0].rows)]
        for number, group in enumerate(self.topology.groups[1:], start=1):
            stored = sum(self.latents[index].numel() for index in self.topology.into(number))
            there = sum(self._synapses(index) for index in self.topology.into(number))
            op = Dense(self.topology.groups[number - 1].rows, group.rows)
            facts.append(LayerFacts(names[number], group.rows, stored, there, op))
        return tuple(facts)

    def _synapses(self, index: int) -> int:
        """Of a sparse connection those that are there, each of them once per filter."""
        if self.settings.density == 1 or self.device.type == "meta":
            return int(self.latents[index].numel())
        return int(self.get_buffer(f"there{index}").sum()) * len(self.table)

    def work(self, inputs: Any) -> Operations:
        """An update of every row in every step of every run."""
        return self.packed().operations(inputs)

    def spikes(self, inputs: Any, generator: torch.Generator | None = None) -> Spikes:
        """The input's; with a generator, Poisson trains are drawn anew."""
        spikes = signal(self.coding, inputs, self.implementation, self.device, generator)
        if not isinstance(spikes, Spikes):
            raise UsageError("circuits need spikes; set coding to Latency, Poisson or EventBins")
        return spikes

    def packed(self) -> GLMPacked:
        """The network as numpy values: sign bits and scales or float32 weights, filters, biases."""
        connections = []
        for index, latent in enumerate(self.latents):
            there = None
            if self.settings.density < 1:
                there = Signs.of(self.get_buffer(f"there{index}").numpy(force=True) > 0)
            if self.synapse.one_bit:
                signs = Signs.of(latent.numpy(force=True) >= 0)
                connections.append(
                    Connection(signs, self.scales[index].detach().exp().numpy(force=True), there)
                )
                continue
            mask = self.mask(index)
            values = (latent.detach() if mask is None else latent.detach() * mask).numpy(force=True)
            connections.append(Connection(Reals(snap_filters(values)), None, there))
        table, own = self.tables
        feedback = None
        if own is not None:
            feedback = (
                own.numpy(force=True),
                tuple(v.detach().numpy(force=True).copy() for v in self.feedback),
            )
        biases = tuple(bias.detach().numpy(force=True).copy() for bias in self.biases)
        chosen = self.settings
        return GLMPacked(
            self.topology, tuple(connections), table.numpy(force=True), biases, feedback, chosen.decision, chosen.runs,
            chosen.draw_seed, self.n_steps, self.coding,
        )  # fmt: skip

    @torch.no_grad()
    def snap(self) -> None:
        """Put real weights, in place, on the grid on which they ship; biases and filters are as they are."""
        if self.synapse.one_bit:
            return
        for index, latent in enumerate(self.latents):
            mask = self.mask(index)
            values = latent if mask is None else latent * mask
            latent.copy_(torch.from_numpy(snap_filters(values.numpy(force=True))))

    @torch.no_grad()
    def decide(self, inputs: Any, generator: torch.Generator | None = None) -> Prediction:
        """One decision per input: the largest sum over the steps, ties to the lowest index; potentials are the sums."""
        if self.implementation != "native":
            return super().decide(inputs, generator)
        return self._predicted(self.packed().engine().decide(_arrays(inputs), torch.get_num_threads()))

    def _decide(self, inputs: Any, generator: torch.Generator | None) -> Prediction:
        return self._predicted(self.packed().decide(_arrays(inputs)))

    def _predicted(self, decisions: Decisions) -> Prediction:
        return Prediction.of(decisions, self._probabilities(torch.from_numpy(decisions.potentials)))

    def _probabilities(self, scores: Tensor) -> Tensor:
        return (scores.double() / float(self.temperature)).softmax(-1).float()

    @property
    def anytime(self) -> bool:
        """Every step has its sum."""
        return True

    @torch.no_grad()
    def over_time(self, inputs: Any, times: Int[Tensor, " n_times"]) -> Float[Tensor, "n n_times classes"]:
        """Probabilities had the answer been demanded after step times[k], by the sums so far."""
        check_times(times, self.n_steps)
        packed, coded = self.packed(), _arrays(inputs)
        native = self.implementation == "native"
        scores = packed.engine().scores(coded, torch.get_num_threads()) if native else packed.scores(coded)
        return self._probabilities(torch.from_numpy(scores)[:, times])

    def figures(self, inputs: Any, labels: Tensor, generator: torch.Generator) -> dict[str, float]:
        """The log-likelihood per step, a mean over inputs."""
        parts = zip(chunks(inputs, AT_ONCE), chunks(labels, AT_ONCE), strict=True)
        found = torch.cat([self.log_likelihood(part, some, generator) for part, some in parts])
        return {"log_likelihood": float(found.double().mean())}

    @torch.no_grad()
    def log_likelihood(self, inputs: Any, labels: Tensor, generator: torch.Generator) -> Float[Tensor, " n"]:
        """ln p of the label's trains, summed over outputs, a mean over steps, one draw of the hidden circuits."""
        entering = unpack(self.spikes(inputs), torch.float32)
        group = self.topology.groups[-1]
        wanted = circuit.label_trains(
            labels.to(self.device), self.settings.label, self.n_steps, group.n, group.values
        )
        uniforms = [
            torch.rand(len(entering), self.n_steps, one.n, generator=generator).to(self.device)
            for one in self.topology.groups[1:]
        ]
        made = block.run(
            self.topology, self.parameters_in_use(), self.filters(entering), entering, uniforms, wanted
        )
        total = circuit.log_likelihood(made.chances[-1], made.spikes[-1]).sum((1, 2))
        return (total / self.n_steps).cpu()


def _arrays(inputs: Any) -> Any:
    """Coded inputs as packed networks take them."""
    if isinstance(inputs, SpikeList):
        return inputs
    images: Any = np.ascontiguousarray(inputs.numpy(force=True))
    return images.reshape(len(images), -1)
