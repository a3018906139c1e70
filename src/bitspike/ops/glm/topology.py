"""Who hears whom in a network of circuits. Importing this needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitspike.errors import UsageError


@dataclass(frozen=True)
class Group:
    """`n` circuits that emit one of `values` values or are silent; row c * n + i is value c of circuit i."""

    n: int
    values: int = 1

    @property
    def rows(self) -> int:
        """Values of all circuits."""
        return self.n * self.values

    def others(self) -> NDArray[np.float32]:
        """0 between rows of one circuit, else 1, `(rows, rows)`: the synapses of a group that hears itself."""
        return np.tile(1 - np.eye(self.n, dtype=np.float32), (self.values, self.values))


@dataclass(frozen=True)
class Topology:
    """Groups, the input first and the output last, and connections (source, target) by their numbers.

    Spikes act from the next step on, so any connection between circuits is causal in time; what enters the input is
    not. A group that hears itself has no synapse from a circuit to itself: that is its own feedback.
    """

    groups: tuple[Group, ...]
    connections: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        last = len(self.groups) - 1
        for source, target in self.connections:
            if not (0 <= source <= last and 0 <= target <= last):
                raise UsageError(f"connection {source}-{target}: groups are 0 to {last}")
            if target == 0:
                raise UsageError(
                    f"connection {source}-{target}: nothing connects to the input, which is given"
                )
        if len(set(self.connections)) < len(self.connections):
            raise UsageError("a connection is there twice")
        for target in range(1, last + 1):
            if not self.into(target):
                raise UsageError(f"nothing connects to group {target}; it would hear nothing")

    @property
    def output(self) -> int:
        """The number of the output group."""
        return len(self.groups) - 1

    def into(self, target: int) -> list[int]:
        """Numbers of the connections that end in a group."""
        return [index for index, (_, end) in enumerate(self.connections) if end == target]

    @property
    def top_down(self) -> bool:
        """Do hidden circuits hear the output?"""
        return any(source == self.output > target for source, target in self.connections)

    @property
    def ordered(self) -> bool:
        """Does every group hear lower ones only?"""
        return all(source < target for source, target in self.connections)

    def fan_out(self, group: int) -> int:
        """Rows that hear one row of a group, a circuit's own left out."""
        return sum(
            self.groups[target].rows - (self.groups[target].values if source == target else 0)
            for source, target in self.connections
            if source == group
        )
