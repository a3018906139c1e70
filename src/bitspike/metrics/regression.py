"""How far predicted numbers lie from their targets, and how far a committee's members lie from each other."""

from __future__ import annotations

from typing import Any

import torch

from bitspike.errors import DataError


def regression_figures(values: Any, targets: Any, members: Any = None, rows: Any = None) -> dict[str, float]:
    """rmse and mae of predictions and, with `members`, their spread; tensors or numpy arrays, computed in float64.

    rmse = sqrt(1/n sum_i (value_i - target_i)^2); mae = 1/n sum_i |value_i - target_i|; spread = 1/n sum_i s_i, s_i the
    sample standard deviation (n_members - 1) of input i over its members. `values` and `targets` `(n,)`, `members`
    `(n, n_members)`; `rows`, bool `(n,)`, chooses the inputs that count, default all. Raises `DataError` where nothing
    is left to average, and where lengths differ.
    """
    predicted, truth = torch.as_tensor(values).double(), torch.as_tensor(targets)
    if predicted.ndim != 1 or predicted.shape != truth.shape:
        raise DataError(
            f"values have the shape {tuple(predicted.shape)}, targets {tuple(truth.shape)}; give (n,) for both"
        )
    errors = predicted - truth
    spreads = None if members is None else torch.as_tensor(members).double().std(1)
    if rows is not None:
        chosen = torch.as_tensor(rows)
        errors, spreads = errors[chosen], None if spreads is None else spreads[chosen]
    if not len(errors):
        raise DataError("no inputs to average over; a regression's figures need at least one")
    figures = {"rmse": float(errors.square().mean().sqrt()), "mae": float(errors.abs().mean())}
    return figures if spreads is None else figures | {"spread": float(spreads.mean())}
