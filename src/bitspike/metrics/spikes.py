"""What a decision costs in time and spikes. Times are in steps; a silent sample decides at `n_steps`.

Networks of spike trains decide at the end of the window, so all their spikes count.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bitspike.errors import DataError
from bitspike.metrics._checks import require_samples
from bitspike.prediction import Prediction


@dataclass(frozen=True)
class SpikeCost:
    """Means over samples; a silent sample counts with all its spikes and `n_steps` as its decision time."""

    decision_time: float  # steps
    spikes: float  # input and hidden spikes up to and including the decision step
    synops: float  # synaptic operations: those spikes times their fan-out
    silent: float  # share of samples without an output spike
    ties: float  # share of samples whose earliest output spike, or largest count, is shared by two classes or more


def spike_cost(prediction: Prediction) -> SpikeCost:
    """Average what the decisions cost."""
    require_samples("prediction", prediction.labels, prediction.labels)
    return SpikeCost(
        decision_time=_mean(prediction.decision_time),
        spikes=_mean(prediction.n_spikes),
        synops=_mean(prediction.n_synops),
        silent=_mean(prediction.silent),
        ties=_mean(prediction.tied.sum(dim=1) > 1),
    )


@dataclass(frozen=True)
class OverTime:
    """Shares of all samples by step 0..n_steps, (n_steps + 1,) float64; the last one includes the silent."""

    decided: Tensor
    correct: Tensor  # decided and correct


def accuracy_over_time(decision_time: Tensor, correct: Tensor, n_steps: int) -> OverTime:
    """Share decided, and share decided and correct, up to and including each step.

    decided[t] = 1/n sum_i [decision_time_i <= t]; `correct` (n,) bool; t = n_steps stands for the silent
    samples, so `correct[n_steps]` is the accuracy.
    """
    require_samples("decision_time", decision_time, correct)
    if int(decision_time.min()) < 0 or int(decision_time.max()) > n_steps:
        raise DataError(
            f"decision times run from {int(decision_time.min())} to {int(decision_time.max())}; "
            f"they must lie in 0..{n_steps} (n_steps: no output spike)"
        )
    times, n = decision_time.long(), decision_time.shape[0]
    decided = torch.bincount(times, minlength=n_steps + 1).cumsum(0).double() / n
    right = torch.bincount(times[correct.bool()], minlength=n_steps + 1).cumsum(0).double() / n
    return OverTime(decided, right)


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
