"""Filters of synapses with memory: how a spike acts on a potential in the steps that follow it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from bitspike.contracts import Basis
from bitspike.errors import UsageError
from bitspike.ranges import Range, above, count

FIXED_MU, SPREAD_MU = 1.5, 0.5
MAX_FILTERS, MAX_LENGTH = 64, 4096


@dataclass(frozen=True)
class Exponential(Basis):
    """One filter, a(d) = exp(-d / tau)."""

    ranges: ClassVar[Mapping[str, Range]] = {"tau": above(0), "length": count(1, MAX_LENGTH)}

    tau: float = 8.0
    """time constant, in steps"""
    length: int = 16
    """steps for which a spike acts"""

    def table(self) -> NDArray[np.float64]:
        """`(1, length)`."""
        values: NDArray[np.float64] = np.exp(-np.arange(self.length) / self.tau)[None]
        return values


@dataclass(frozen=True)
class RaisedCosine(Basis):
    """Filters that are bumps of a raised cosine over the logarithm of time, FL-SNN specification, section 2.

    fixed (Pillow et al. 2008): a_k(d) = 1/2 + 1/2 cos(clip(pi mu ln(d + 1) - k pi / 2, -pi, pi)). spread: with b =
    length / 10, n_d = ln(d + b), delta = (n_last - n_0) / max(n - 1, 1) and c_k = n_0 + k delta, a_k(d) = 1/2 + 1/2
    cos(clip(mu pi (n_d - c_k) / delta, -pi, pi)).
    """

    ranges: ClassVar[Mapping[str, Range]] = {
        "n": count(1, MAX_FILTERS), "length": count(2, MAX_LENGTH), "mu": above(0, none=True)
    }  # fmt: skip

    n: int = 8
    """filters"""
    length: int = 10
    """steps for which a spike acts"""
    form: Literal["fixed", "spread"] = "spread"
    """where the bumps stand: as first published (fixed), or spread over the length"""
    mu: float | None = None
    """how narrow the bumps are; None: 1.5 of fixed, 0.5 of spread ones"""

    def table(self) -> NDArray[np.float64]:
        """`(n, length)`."""
        d, k = np.arange(self.length), np.arange(self.n)[:, None]
        if self.form == "fixed":
            angle = np.pi * (FIXED_MU if self.mu is None else self.mu) * np.log(d + 1) - k * np.pi / 2
        else:
            n_d = np.log(d + self.length / 10)
            delta = (n_d[-1] - n_d[0]) / max(self.n - 1, 1)
            centre = n_d[0] + k * delta
            angle = (SPREAD_MU if self.mu is None else self.mu) * np.pi * (n_d - centre) / delta
        values: NDArray[np.float64] = 0.5 + 0.5 * np.cos(angle.clip(-np.pi, np.pi))
        return values


@dataclass(frozen=True)
class Dirac(Basis):
    """One filter per lag: a_k(d) = 1 where d = k."""

    ranges: ClassVar[Mapping[str, Range]] = {"length": count(1, MAX_FILTERS)}

    length: int = 10
    """steps for which a spike acts, and filters"""

    def table(self) -> NDArray[np.float64]:
        """`(length, length)`."""
        return np.eye(self.length)


def checked_table(basis: Basis) -> NDArray[np.float64]:
    """A basis's filters `(n, length)`; anything but finite numbers of that shape raises `UsageError`."""
    table = np.asarray(basis.table(), np.float64)
    if table.ndim != 2 or not table.size or table.shape[1] != basis.length or not np.isfinite(table).all():
        raise UsageError(
            f"{type(basis).__name__}.table() is {table.shape}; give finite filters (n, {basis.length})"
        )
    if len(table) > MAX_FILTERS or basis.length > MAX_LENGTH:
        raise UsageError(
            f"{type(basis).__name__}.table() is {table.shape}; ({MAX_FILTERS}, {MAX_LENGTH}) are possible"
        )
    return table
