"""Random generators that depend on nothing but the seed, what they are for, and the epoch.

So a resumed run draws the same numbers as an uninterrupted one without any state being kept.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

Purpose = Literal["start", "shuffle", "augment", "rule", "predict", "draw"]
_PURPOSES: tuple[Purpose, ...] = ("start", "shuffle", "augment", "rule", "predict", "draw")


def generator(seed: int, purpose: Purpose, epoch: int = 0, rank: int = 0) -> torch.Generator:
    """A generator of its own for each (seed, purpose, epoch, rank of the process)."""
    sequence = np.random.SeedSequence([seed, _PURPOSES.index(purpose), epoch, rank])
    return torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))


def order(
    shuffle: Literal["permutation", "replacement", "none"], n: int, noise: torch.Generator
) -> torch.Tensor:
    """Which of `n` images an epoch sees, one after the other, `(n,)` int64."""
    if shuffle == "permutation":
        return torch.randperm(n, generator=noise)
    if shuffle == "replacement":
        return torch.randint(n, (n,), generator=noise)
    return torch.arange(n)
