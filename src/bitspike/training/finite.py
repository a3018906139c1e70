"""Are all numbers of a state numbers? Binary weights hide it: the sign of NaN is a finite weight."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def first_not_finite(state: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or an infinite number; None where all are finite."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            return name
    return None
