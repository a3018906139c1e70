"""Weights as they ship: sign bits, or real numbers on a grid on which float32 sums are exact.

On such a grid every order of additions gives the same potential, so that all back ends decide alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from bitspike.errors import UsageError
from bitspike.packed.decisions import Array

EXACT = 2**24  # float32 holds every integer up to here
LARGEST = 1e12  # of a weight, and of a neuron's constants: nothing overflows float32


@dataclass(frozen=True, eq=False)
class Signs:
    """Weights +1 and -1 of `shape`, a bit each.

    `bits` uint8 `(rows, ceil(last / 8))`, a row for all indices of the weights but the last, or `(ceil(last / 8),)` of
    a vector: bit k % 8 (lowest first) of byte k // 8 is 1 for +1, 0 for -1; unused bits are 0.
    """

    bits: Array
    shape: tuple[int, ...]

    kind: ClassVar[Literal["binary"]] = "binary"
    bits_each: ClassVar[int] = 1

    def __post_init__(self) -> None:
        expected = stored_shape(self.shape)
        _expect("signs", self.bits, np.uint8, expected)
        used = self.shape[-1] % 8
        if used and (self.bits[..., -1] >> used).any():
            raise UsageError("signs has unused bits that are not 0 at the end of a row")

    @staticmethod
    def of(positive: Array) -> Signs:
        """From a bool array, True where the weight is +1."""
        positive = np.asarray(positive, bool)
        rows = positive.reshape(-1, positive.shape[-1]) if positive.ndim > 1 else positive
        return Signs(np.packbits(rows, axis=-1, bitorder="little"), positive.shape)

    @property
    def n(self) -> int:
        """How many weights are stored."""
        return math.prod(self.shape)

    def dense(self, dtype: type = np.float32) -> Array:
        """+1 and -1, in the weights' shape."""
        bits = np.unpackbits(self.bits, axis=-1, count=self.shape[-1], bitorder="little")
        values: Array = bits.astype(dtype) * dtype(2) - dtype(1)
        return values.reshape(self.shape)


@dataclass(frozen=True, eq=False)
class Reals:
    """Real weights, float32 and finite."""

    values: Array

    kind: ClassVar[Literal["real"]] = "real"
    bits_each: ClassVar[int] = 32

    def __post_init__(self) -> None:
        if not isinstance(self.values, np.ndarray) or self.values.dtype != np.float32:
            raise UsageError(f"weights are {_found(self.values)}; expected float32")
        if not np.isfinite(self.values).all():
            raise UsageError("a weight is NaN or infinite; weights must be finite")

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the weights."""
        return self.values.shape

    @property
    def n(self) -> int:
        """How many weights are stored."""
        return self.values.size

    def dense(self) -> Array:
        """The weights."""
        return self.values

    def require_at_most(self, largest: float, what: str) -> None:
        """Refuse, with `UsageError`, a value (`what` it is) whose size is above `largest`."""
        if self.values.size and not np.abs(self.values).max() <= largest:
            raise UsageError(f"{what} is larger than {largest:g}")

    def require_exact(self) -> None:
        """Refuse, with `UsageError`, weights of which some partial sum per neuron is inexact in float32."""
        size = np.abs(self.values.astype(np.float64))
        total = float(size.reshape(-1, size.shape[-1]).sum(axis=0).max())
        if total == 0:
            return
        units = np.ldexp(size, math.floor(math.log2((EXACT - 1) / total)))
        if not (units == np.rint(units)).all():
            raise UsageError(
                "real weights are not on a grid on which their sums are exact; round them by `snap`"
            )


Weights = Signs | Reals


def stored_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the bytes of `Signs`."""
    rows = (math.prod(shape[:-1]),) if len(shape) > 1 else ()
    return (*rows, -(-shape[-1] // 8))


def snap(weights: Array, thresholds: Array) -> tuple[Array, Array]:
    """Round to the finest grid 2^-k on which every sum of a neuron's weights is exact in float32.

    k is the largest integer for which sum_i |w_ij| + |theta_j| stays below 2^24 grid units in every neuron j, so that
    any order of additions gives the same potential. `weights` (n_in, n_out), `thresholds` (n_out,); both float32.
    """
    size = np.abs(weights.astype(np.float64)).sum(axis=0) + np.abs(thresholds.astype(np.float64))
    largest = float(size.max())
    if not np.isfinite(largest):
        raise UsageError("a weight or threshold is NaN or infinite; the model cannot be packed")
    if largest == 0:
        return weights.astype(np.float32), thresholds.astype(np.float32)
    room = EXACT - 1 - (weights.shape[0] + 1) / 2  # rounding moves each term by at most half a unit
    if room < 1:
        raise UsageError(
            f"a layer of {weights.shape[0]} real inputs is too wide to be summed exactly in float32"
        )
    exponent = _exponent(room / largest)
    return _rounded(weights, exponent), _rounded(thresholds, exponent)


def snap_window(weights: Array, direct: bool = False) -> Array:
    """Round to the finest grid 2^-k on which every sum of a neuron's weights is exact in float32.

    k is the largest integer for which the sum of |w| over all indices but the last stays below 2^24 grid units, for
    every value of the last. `direct`: the weights multiply grey levels 0 to 255 and are summed in float64, so it is
    enough that each weight stays below 2^24 units and 255 times the sum below 2^53. float32 in, float32 out.
    """
    size = np.abs(weights.astype(np.float64)).reshape(-1, weights.shape[-1])
    if not np.isfinite(size).all():
        raise UsageError("a weight is NaN or infinite; the model cannot be packed")
    total, largest = float(size.sum(axis=0).max()), float(size.max())
    if largest == 0:
        return weights.astype(np.float32)
    moved = (len(size) + 1) / 2  # rounding moves each term by at most half a unit
    room = (EXACT - 1 - moved) / total
    if direct:
        room = min((EXACT - 1) / largest, (2**53 / 255 - 1 - moved) / total)
    if room <= 0:
        raise UsageError(f"a layer of {len(size)} real inputs is too wide to be summed exactly in float32")
    return _rounded(weights, _exponent(room))


def _exponent(room: float) -> int:
    return int(np.clip(np.floor(np.log2(room)), -100, 120))


def _rounded(values: Array, exponent: int) -> Array:
    """The nearest multiples of 2^-exponent, float32."""
    grid: Array = np.ldexp(np.rint(np.ldexp(values.astype(np.float64), exponent)), -exponent).astype(
        np.float32
    )
    return grid


def _expect(name: str, array: Array, dtype: type, shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        raise UsageError(f"{name} is {_found(array)}; expected {np.dtype(dtype)} {shape}")


def _found(array: Array) -> str:
    return f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
