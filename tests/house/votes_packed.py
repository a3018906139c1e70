"""Votes, packed: every input spike votes for each class with +1 or -1, early spikes with more weight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bitspike.coding import time_table
from bitspike.errors import BackendError, UsageError
from bitspike.packed.base import Engine, Known, Reference
from bitspike.packed.container import Tensors
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.images import ImagePacked
from bitspike.packed.weights import Signs


@dataclass(frozen=True, eq=False)
class VotesPacked(ImagePacked):
    """U_c = sum_i w_ic (n_steps - t_i), w = +1 or -1; the largest U decides after the window, then the lowest index."""

    weights: Signs  # (n_in, n_classes)
    n_steps: int

    fields: ClassVar[Mapping[str, Any]] = {
        "coding": str, "input": [int], "steps": int, "outputs": int, "classes": [str]
    }  # fmt: skip
    one_bit = True

    @property
    def n_in(self) -> int:
        """Inputs."""
        return self.weights.shape[0]

    @property
    def n_classes(self) -> int:
        """Outputs."""
        return self.weights.shape[1]

    def decide(self, inputs: Array) -> Decisions:
        """From uint8 rows `(n, n_in)`; sums of integers are exact."""
        worth = self.n_steps - time_table(self.n_steps)[inputs].astype(np.int64)
        potentials = (worth @ self.weights.dense().astype(np.int64)).astype(np.float32)
        spikes = (worth > 0).sum(axis=1)
        silent = spikes == 0
        return Decisions(
            labels=potentials.argmax(axis=1),
            decision_time=np.where(silent, self.n_steps, self.n_steps - 1),
            silent=silent,
            tied=(potentials == potentials.max(axis=1, keepdims=True)) & ~silent[:, None],
            potentials=potentials,
            n_spikes=spikes,
            n_synops=spikes * self.n_classes,
        )

    def engine(self, isa: str | None = None) -> Engine:
        """There is none."""
        raise BackendError("votes are counted in numpy; use backend 'auto'")

    def best(self) -> Engine:
        """Numpy."""
        return Reference(self)

    def sizes(self) -> dict[str, int]:
        """A bit per synapse, no thresholds."""
        return {"synapses": self.weights.n, "synapse_bits": self.weights.n, "thresholds": 0}

    def to_parts(self, shape: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Array]]:
        """Sign bits, and the sizes around them."""
        fields = {"coding": "votes", "input": list(shape), "steps": self.n_steps, "outputs": self.n_classes}
        return fields, {"signs": self.weights.bits}

    @classmethod
    def from_parts(cls, metadata: Mapping[str, Any], tensors: Tensors, known: Known) -> VotesPacked:
        """Back from the file."""
        shape = math.prod(metadata["input"]), metadata["outputs"]
        if "signs" not in tensors:
            raise UsageError("tensor signs is missing")
        return cls(Signs(tensors.pop("signs"), shape), metadata["steps"])
