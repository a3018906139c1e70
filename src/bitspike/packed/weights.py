"""Real weights on a grid on which float32 sums are exact, so that every order of additions decides alike."""

from __future__ import annotations

import numpy as np

from bitspike.errors import UsageError
from bitspike.packed.decisions import Array

EXACT = 2**24  # float32 holds every integer up to here


def snap(weights: Array, thresholds: Array) -> tuple[Array, Array]:
    """Round to the finest grid 2^-k on which every sum of a neuron's weights is exact in float32.

    k is the largest integer for which sum_i |w_ij| + |theta_j| stays below 2^24 grid units in every neuron
    j, so that any order of additions gives the same potential. `weights` (n_in, n_out), `thresholds`
    (n_out,); both float32.
    """
    largest = float(
        (np.abs(weights.astype(np.float64)).sum(axis=0) + np.abs(thresholds.astype(np.float64))).max()
    )
    if not np.isfinite(largest):
        raise UsageError("a weight or threshold is NaN or infinite; the model cannot be packed")
    if largest == 0:
        return weights.astype(np.float32), thresholds.astype(np.float32)
    room = EXACT - 1 - (weights.shape[0] + 1) / 2  # rounding moves each term by at most half a unit
    if room < 1:
        raise UsageError(
            f"a layer of {weights.shape[0]} real inputs is too wide to be summed exactly in float32"
        )
    exponent = int(np.clip(np.floor(np.log2(room / largest)), -100, 120))

    def rounded(values: Array) -> Array:
        grid: Array = np.ldexp(np.rint(np.ldexp(values.astype(np.float64), exponent)), -exponent).astype(
            np.float32
        )
        return grid

    return rounded(weights), rounded(thresholds)
