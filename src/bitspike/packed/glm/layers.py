"""Packed networks of circuits: connections with their weights, and the constants of groups; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bitspike.errors import UsageError
from bitspike.ops.glm.topology import Topology
from bitspike.ops.operators import Dense
from bitspike.packed.base import Demand
from bitspike.packed.decisions import Array
from bitspike.packed.weights import Reals, Signs, Weights
from bitspike.packed.window import LARGEST, Constant, WindowPacked

Decision = Literal["probability", "count", "mean-field"]
MAX_FILTERS, MAX_LENGTH, MAX_RUNS = 64, 4096, 10_000


@dataclass(frozen=True, eq=False)
class Connection:
    """Synapses from one group to another: `weights` `(source rows, K, target rows)`.

    Binary ones count by `scale` float32 `(target rows,)`. `there`: where a synapse is, `(source rows, target rows)`;
    None: everywhere. Real weights lie, for each of the K filters, on a grid on which their sums are exact.
    """

    weights: Weights
    scale: Array | None = None
    there: Signs | None = None

    def __post_init__(self) -> None:
        if len(self.weights.shape) != 3 or 0 in self.weights.shape:
            raise UsageError(f"weights have shape {self.weights.shape}; expected (source, filters, target)")
        sources, filters, targets = self.weights.shape
        if (self.scale is not None) != (self.kind == "binary"):
            raise UsageError(
                f"weights of kind {self.kind} {'have no' if self.scale is not None else 'need a'} scale"
            )
        if isinstance(self.weights, Reals):
            for k in range(filters):
                Reals(self.weights.values[:, k]).require_exact()
        if self.scale is not None:
            _check_numbers("scale", self.scale, (targets,))
        if self.there is not None and self.there.shape != (sources, targets):
            raise UsageError(f"there has shape {self.there.shape}; expected ({sources}, {targets})")

    @property
    def kind(self) -> str:
        """binary or real."""
        return self.weights.kind

    @property
    def operator(self) -> Dense:
        """A synapse of K filters counts K times."""
        sources, filters, targets = self.weights.shape
        return Dense(sources, filters * targets)

    def dense(self) -> Array:
        """float32 weights without their scale, 0 where no synapse is."""
        values = self.weights.dense()
        if self.there is not None:
            values = values * (self.there.dense() > 0)[:, None]
        return values


@dataclass(frozen=True, eq=False)
class GLMStack(WindowPacked):
    """Groups of circuits over a window of `n_steps`; `connections[i]` belongs to `topology.connections[i]`.

    `table` float32 `(K, length)`: filters a_k(d); `biases` float32 per group but the input. `feedback`: None, or
    filters `(K_b, length)` and a group's weights `(K_b, rows)`, by which circuits hear themselves.
    """

    topology: Topology
    connections: tuple[Connection, ...]
    table: Array
    biases: tuple[Array, ...]
    feedback: tuple[Array, tuple[Array, ...]] | None
    decision_by: Decision
    runs: int
    draw_seed: int
    n_steps: int
    coding: Any = None

    def __post_init__(self) -> None:
        self.check_window()
        if isinstance(self.coding, Constant):
            raise UsageError(
                "circuits take spikes, not a constant current; use coding Poisson or Latency for images"
            )
        groups = self.topology.groups
        if len(self.connections) != len(self.topology.connections) or len(groups) < 2:
            raise UsageError(
                f"{len(self.connections)} connections; {len(self.topology.connections)} are expected"
            )
        _check_table(self.table)
        for (source, target), connection in zip(self.topology.connections, self.connections, strict=True):
            expected = (groups[source].rows, len(self.table), groups[target].rows)
            if connection.weights.shape != expected:
                raise UsageError(
                    f"connection {source}-{target} is {connection.weights.shape}; expected {expected}"
                )
        if len(self.biases) != len(groups) - 1:
            raise UsageError(f"{len(self.biases)} groups have biases; {len(groups) - 1} are expected")
        for group, bias in zip(groups[1:], self.biases, strict=True):
            _check_numbers("biases", bias, (group.rows,))
        if self.feedback is not None:
            table, weights = self.feedback
            _check_table(table)
            if len(weights) != len(groups) - 1:
                raise UsageError(f"{len(weights)} groups hear themselves; {len(groups) - 1} are expected")
            for group, own in zip(groups[1:], weights, strict=True):
                _check_numbers("feedback", own, (len(table), group.rows))
        if self.decision_by not in ("probability", "count", "mean-field"):
            raise UsageError(f"decision is {self.decision_by!r}; expected probability, count or mean-field")
        if not 1 <= self.runs <= (1 if self.decision_by == "mean-field" else MAX_RUNS):
            raise UsageError(f"runs is {self.runs}; give 1 to {MAX_RUNS}, and 1 of mean-field")
        if not 0 <= self.draw_seed < 2**63:
            raise UsageError(f"draw_seed is {self.draw_seed}; it must lie between 0 and 2^63 - 1")

    @property
    def layers(self) -> tuple[Connection, ...]:  # type: ignore[override]
        """The connections, the first from the input."""
        return self.connections

    @property
    def n_classes(self) -> int:
        """Output circuits."""
        return self.topology.groups[-1].n

    @property
    def demand(self) -> Demand:
        """Rows of all groups, in every step of every run."""
        rows = sum(group.rows for group in self.topology.groups)
        return Demand(states=self.n_steps * rows * self.runs)

    @property
    def draws_output(self) -> bool:
        """Do outputs emit spikes in a decision? Only where somebody hears or counts them."""
        heard = any(source == self.topology.output for source, _ in self.topology.connections)
        return heard or self.feedback is not None or self.decision_by == "count"


def _check_table(table: Array) -> None:
    if table.ndim != 2 or not 1 <= table.shape[0] <= MAX_FILTERS or not 1 <= table.shape[1] <= MAX_LENGTH:
        raise UsageError(f"filters have shape {table.shape}; at most ({MAX_FILTERS}, {MAX_LENGTH})")
    _check_numbers("filters", table, table.shape)


def _check_numbers(name: str, values: Array, shape: tuple[int, ...]) -> None:
    if values.dtype != np.float32 or values.shape != shape:
        raise UsageError(f"{name} are {values.dtype} {values.shape}; expected float32 {shape}")
    if values.size and not np.abs(values).max() <= LARGEST:  # NaN neither
        raise UsageError(f"{name} hold a number that is not finite or larger than {LARGEST:g}")
