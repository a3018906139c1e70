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
from bitspike.packed.weights import LARGEST, Reals, Signs, Weights
from bitspike.packed.window import Constant, WindowPacked
from bitspike.settings.basis import MAX_FILTERS, MAX_LENGTH
from bitspike.settings.glm import MAX_RUNS

Decision = Literal["probability", "count", "mean-field"]


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
            self.weights.require_at_most(LARGEST, "a weight")
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

    @property
    def n_synapses(self) -> int:
        """Those that are there, each of them once per filter."""
        if self.there is None:
            return self.weights.n
        return int((self.there.dense(np.int8) > 0).sum()) * self.weights.shape[1]

    def dense(self) -> Array:
        """Weights without their scale, 0 where no synapse is: float32 of real ones, int8 of binary ones."""
        values = self.weights.dense() if isinstance(self.weights, Reals) else self.weights.dense(np.int8)
        if self.there is not None:
            values = values * (self.there.dense(np.int8) > 0)[:, None]
        return values

    def largest(self) -> Array:
        """The largest |sum of weights| that spikes can bring a row, times its scale, per filter: float64 `(K,)`."""
        if isinstance(self.weights, Reals):
            most: Array = np.abs(self.weights.values).sum(axis=0, dtype=np.float64).max(axis=1)
            return most
        assert self.scale is not None
        return np.full(self.weights.shape[1], self.weights.shape[0] * float(np.abs(self.scale).max()))


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
        for number in range(1, len(groups)):
            if not (bound := self._bound(number)) <= LARGEST:
                raise UsageError(f"potentials of group {number} can reach {bound:g}; at most {LARGEST:g}")

    def _bound(self, group: int) -> float:
        """No potential of a group is larger."""
        gain = np.abs(self.table.astype(np.float64)).sum(axis=1)
        bound = float(np.abs(self.biases[group - 1]).max())
        bound += sum(float(self.connections[index].largest() @ gain) for index in self.topology.into(group))
        if self.feedback is not None:
            table, own = self.feedback
            bound += float(np.abs(own[group - 1]).max(axis=1) @ np.abs(table.astype(np.float64)).sum(axis=1))
        return bound

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
        """In every step of every run: all rows, what every filter keeps for them, and synapses between circuits."""
        filters, length = self.table.shape
        kept = filters * min(length, self.n_steps)
        rows = [group.rows for group in self.topology.groups]
        own = (
            0
            if self.feedback is None
            else len(self.feedback[0]) * min(self.feedback[0].shape[1], self.n_steps)
        )
        states = (
            sum(rows) + own * sum(rows[1:]) + sum(kept * rows[end] for _, end in self.topology.connections)
        )
        steps = self.n_steps * self.runs
        synapses = sum(
            rows[source] * filters * -(-rows[target] // 16) * 16 * (steps if source else 1)
            for source, target in self.topology.connections
        )
        return Demand(steps * states, synapses)

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
