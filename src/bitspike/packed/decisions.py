"""One decision per input, and what it cost: what every packed network gives. Importing this needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Decisions:
    """One decision per input, and what it cost."""

    labels: Array  # (n,) int64: earliest output; then largest margin, then lowest index
    decision_time: Array  # (n,) int64 in steps; n_steps where no output fired or there is no time
    silent: Array  # (n,) bool: no output fired
    tied: Array  # (n, classes) bool: the classes that share the earliest output spike (all False when silent)
    potentials: Array  # (n, classes) float32: potential minus threshold at the decision
    n_spikes: Array  # (n,) int64: input and hidden spikes up to and including the decision step
    n_synops: Array  # (n,) int64: additions those spikes cause, fan-out counted

    @staticmethod
    def empty(n: int, n_classes: int) -> Decisions:
        """Room for `n` decisions; the values are whatever the memory held."""
        vector = [np.empty(n, np.int64) for _ in range(4)]
        return Decisions(
            labels=vector[0],
            decision_time=vector[1],
            silent=np.empty(n, np.bool_),
            tied=np.empty((n, n_classes), np.bool_),
            potentials=np.empty((n, n_classes), np.float32),
            n_spikes=vector[2],
            n_synops=vector[3],
        )
