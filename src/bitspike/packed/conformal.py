"""Conformal thresholds in a model file: which classes to name so that the right one is missed at most so often."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitspike.errors import FormatError, UsageError
from bitspike.packed.decisions import Array

Quantiles = tuple[tuple[float, float], ...]  # (alpha, threshold), alpha rising
MAX_PAIRS = 64


def check_quantiles(pairs: Quantiles) -> None:
    """Refuse pairs that are no thresholds: alphas rise within (0, 1), thresholds lie in [0, 1] and do not rise."""
    alphas, thresholds = [alpha for alpha, _ in pairs], [threshold for _, threshold in pairs]
    if len(pairs) > MAX_PAIRS:
        raise UsageError(f"conformal holds {len(pairs)} pairs; at most {MAX_PAIRS} are possible")
    if not all(0 < alpha < 1 for alpha in alphas) or sorted(set(alphas)) != alphas:
        raise UsageError(f"conformal has the alphas {alphas}; they must rise, between 0 and 1")
    if not all(0 <= threshold <= 1 for threshold in thresholds):
        raise UsageError(f"conformal has the thresholds {thresholds}; they must lie in 0..1")
    if sorted(thresholds, reverse=True) != thresholds:
        raise UsageError(
            f"conformal has the thresholds {thresholds}; a larger alpha must not have a larger one"
        )


def read_quantiles(value: Any) -> Quantiles:
    """Pairs from their JSON list [[alpha, threshold], ...]; whatever they are not raises `FormatError`."""
    if type(value) is not list or not value:
        raise FormatError(
            f"conformal is {value!r:.200}; expected a list of [alpha, threshold], or no such field"
        )
    for pair in value:
        if type(pair) is not list or [type(number) for number in pair] != [float, float]:
            raise FormatError(
                f"conformal holds {pair!r:.200}; expected [alpha, threshold], both with a decimal point"
            )
    pairs = tuple((alpha, threshold) for alpha, threshold in value)
    try:
        check_quantiles(pairs)
    except UsageError as error:
        raise FormatError(str(error)) from error
    return pairs


def take_quantiles(metadata: dict[str, Any]) -> Quantiles:
    """Take the field `conformal` out of a file's metadata; older files have none."""
    return read_quantiles(metadata.pop("conformal")) if "conformal" in metadata else ()


def quantile_field(pairs: Quantiles) -> dict[str, Any]:
    """The field `conformal` of a file's metadata; nothing where there are no thresholds."""
    return {"conformal": [[float(alpha), float(threshold)] for alpha, threshold in pairs]} if pairs else {}


def check_alpha(alpha: float) -> None:
    """Refuse, with `UsageError`, what is not a share of sets."""
    if not 0 < alpha < 1:
        raise UsageError(
            f"alpha is {alpha}; it is the share of sets that may miss the right class, between 0 and 1"
        )


def threshold_for(pairs: Quantiles, alpha: float) -> float:
    """The threshold of the largest alpha in the file that is not above `alpha`; sets are then never too small."""
    check_alpha(alpha)
    if not pairs:
        raise UsageError(
            "the model file holds no conformal thresholds, so nothing is known about how often it errs; train "
            "again with this release, or pack a run of it again (bitspike pack RUN)"
        )
    known = [threshold for level, threshold in pairs if level <= alpha]
    if not known:
        raise UsageError(
            f"alpha is {alpha}, but the model file supports {pairs[0][0]} and above; give a larger one, or "
            "train with more validation data (--data.validation)"
        )
    return known[-1]


def sets(probabilities: Array, threshold: float | Array) -> Array:
    """The classes with 1 - p <= threshold, in float64, bool of the shape of `probabilities`; a set can be empty.

    `probabilities` `(..., classes)`; `threshold` a number, or an array that is spread over `probabilities`.
    """
    within: Array = 1 - probabilities.astype(np.float64) <= threshold
    return within
