"""Several networks decide together: the arithmetic, in float64 numpy, the same in training and deployment. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from bitspike.packed.decisions import Array, Decisions

LEAST = 1e-30  # probabilities below it count as it where their logarithm is taken

Average = Literal["probability", "potential"]


def softmax(potentials: Array, temperature: float) -> Array:
    """softmax(potentials / temperature) over the last axis, float64."""
    scaled = potentials.astype(np.float64) / temperature
    weight = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    result: Array = weight / weight.sum(axis=-1, keepdims=True)
    return result


def logarithm(p: Array) -> Array:
    """ln max(p, 1e-30), taken in float64, float32."""
    result: Array = np.log(p.astype(np.float64).clip(LEAST)).astype(np.float32)
    return result


def member_probabilities(potentials: Sequence[Array], temperatures: Sequence[float]) -> Array:
    """p_k = softmax(potentials_k / T_k), float64 `(members, n, classes)`; of regressions (one column) their values."""
    if potentials[0].shape[1] == 1:
        return np.stack([values.astype(np.float64) for values in potentials])
    return np.stack([softmax(u, t) for u, t in zip(potentials, temperatures, strict=True)])


def combine(decisions: Sequence[Decisions], temperatures: Sequence[float], average: Average) -> Decisions:
    """The committee's decisions from those of its members on the same inputs.

    probability: p = mean_k p_k, added from the first member to the last. potential: p = softmax(mean_k potentials_k /
    T_k). label: the largest p, then the lowest index; tied are the classes of the largest p. Potentials are ln p, of a
    regression the mean value. decision_time is the largest of the members', n_spikes and n_synops are sums; silent is
    a committee whose members all are.
    """
    potentials = [one.potentials for one in decisions]
    single = potentials[0].shape[1] == 1
    if average == "potential" and not single:
        scaled = [u.astype(np.float64) / t for u, t in zip(potentials, temperatures, strict=True)]
        p = softmax(_mean(scaled), 1.0)
    else:
        p = _mean(member_probabilities(potentials, temperatures))
    return Decisions(
        labels=p.argmax(axis=1),
        decision_time=np.stack([one.decision_time for one in decisions]).max(axis=0),
        silent=np.logical_and.reduce([one.silent for one in decisions]),
        tied=np.equal(p, p.max(axis=1, keepdims=True)),
        potentials=p.astype(np.float32) if single else logarithm(p),
        n_spikes=np.stack([one.n_spikes for one in decisions]).sum(axis=0),
        n_synops=np.stack([one.n_synops for one in decisions]).sum(axis=0),
    )


def _mean(values: Sequence[Array] | Array) -> Array:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total / len(values)
