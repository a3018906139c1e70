"""Networks of circuits that fire by chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from bitspike.contracts import Basis, NetworkSettings
from bitspike.errors import UsageError
from bitspike.ops.glm.topology import Group, Topology
from bitspike.ranges import Range, between, count
from bitspike.settings.basis import Exponential

MAX_RUNS = 10_000


@dataclass(frozen=True)
class GLM(NetworkSettings):
    """Layers of circuits; in each step a circuit is silent or emits one of its values, by chance.

    P(value c) = exp(u_c) / (1 + sum over c' of exp(u_c')); with one value these are GLM neurons, P = sigmoid(u). The
    potential u is a bias and, of every spike heard in the past, weight_k a_k(d). FL-SNN and VOWEL specifications,
    section 2.
    """

    ranges: ClassVar[Mapping[str, Range]] = {
        "values": count(1), "output_values": count(1), "density": between(0, 1, low_open=True),
        "runs": count(1, MAX_RUNS), "draw_seed": count(),
    }  # fmt: skip

    hidden: tuple[int, ...] = (64,)
    """circuits of the hidden layers, from the input on; none: outputs hear the input alone"""
    values: int = 1
    """values that a hidden circuit can emit"""
    output_values: int = 1
    """values that an output circuit can emit"""
    basis: Basis = field(default_factory=Exponential)
    """filters of the synapses"""
    feedback: Basis | None = None
    """filters by which a circuit hears its own spikes; None: it does not"""
    skip: bool = True
    """outputs hear the input too"""
    recurrent: bool = False
    """hidden circuits hear the others of their layer"""
    lateral: bool = False
    """outputs hear each other"""
    top_down: bool = False
    """hidden circuits hear the outputs"""
    density: float = 1.0
    """share of the synapses of a connection that are there, drawn once"""
    label: tuple[int, ...] = (1,)
    """values that the true class's output emits while learning, 0: silent, from the first step on, over and over"""
    decision: Literal["probability", "count", "mean-field"] = "probability"
    """what is summed over the steps: output probabilities of free runs, their spikes, or probabilities without draws"""
    runs: int = 1
    """free runs that decide together"""
    draw_seed: int = 0
    """with an input's own spikes it fixes the draws of a decision"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(type(n) is not int or n < 1 for n in self.hidden):
            raise UsageError(f"network.hidden is {self.hidden}; give whole numbers of circuits, 1 or more")
        if not self.hidden and (self.recurrent or self.top_down):
            raise UsageError(
                "network.recurrent and network.top_down need hidden circuits; set network.hidden"
            )
        if not self.label or any(type(v) is not int or not 0 <= v <= self.output_values for v in self.label):
            raise UsageError(
                f"network.label is {self.label}; give values 0 (silent) to network.output_values "
                f"({self.output_values}), one at least"
            )
        if not any(self.label):
            raise UsageError("network.label is silent in every step; no class could be told from another")
        if self.decision == "mean-field" and self.runs > 1:
            raise UsageError("network.decision mean-field draws nothing; set network.runs to 1")

    @property
    def weighted(self) -> tuple[str, ...]:
        """Names of the layers that have weights."""
        return (*map(str, self.hidden), "output")

    def topology(self, n_inputs: int, n_classes: int) -> Topology:
        """Groups and connections, those of a target together and by source."""
        last = len(self.hidden) + 1
        groups = (
            Group(n_inputs), *(Group(n, self.values) for n in self.hidden), Group(n_classes, self.output_values)
        )  # fmt: skip
        wanted = {(target - 1, target) for target in range(1, last + 1)}
        if self.skip:
            wanted.add((0, last))
        if self.recurrent:
            wanted |= {(layer, layer) for layer in range(1, last)}
        if self.lateral:
            wanted.add((last, last))
        if self.top_down:
            wanted |= {(last, layer) for layer in range(1, last)}
        return Topology(groups, tuple(sorted(wanted, key=lambda pair: (pair[1], pair[0]))))
