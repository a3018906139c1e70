"""From output potentials over time to one honest decision per input, and the choice of the output threshold."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bitspike.prediction import Prediction


@dataclass(frozen=True)
class Readout:
    """Output potentials minus thresholds after every slot `(n, n_slots, classes)`, and when the slots are.

    `n_active` `(n,)`, `bins` `(n, n_slots)`: as in `ops.first_spike.Spikes`. `spikes` `(n, n_slots)` counts the input
    and hidden spikes up to the end of each slot, `synops` the additions they cause.
    """

    margins: Float[Tensor, "n n_slots classes"]
    n_active: Int[Tensor, " n"]
    bins: Int[Tensor, "n n_slots"]
    spikes: Int[Tensor, "n n_slots"]
    synops: Int[Tensor, "n n_slots"]


def decide(readout: Readout, n_steps: int, temperature: float, shift: float = 0.0) -> Prediction:
    """Earliest output spike wins: the first slot in which any margin > `shift` (strict; thresholds are 0 or above, so
    that nothing fires before the first input spike).

    Ties in time go to the largest margin, then to the lowest index. If no output fires, the largest margin after all
    input decides and `decision_time` is `n_steps`. `probabilities` = softmax(margins at the decision / temperature).
    `shift` raises every output threshold by the same amount. S4NN specification, section 4, library rule.
    """
    margins, n_active = readout.margins, readout.n_active.long()
    slot = torch.arange(margins.shape[1], device=margins.device)
    crossed = (margins > shift) & (slot < n_active[:, None])[:, :, None]  # (n, n_slots, classes)
    anyone = crossed.any(2)
    silent = ~anyone.any(1)
    at = torch.where(silent, n_active - 1, anyone.to(torch.uint8).argmax(1))
    row = torch.arange(len(at), device=at.device)
    final = margins[row, at] - shift
    return Prediction(
        labels=final.argmax(1),
        probabilities=(final.double() / temperature).softmax(1).float(),
        decision_time=torch.where(silent, n_steps, readout.bins[row, at].long()),
        silent=silent,
        tied=crossed[row, at],
        potentials=final,
        n_spikes=readout.spikes[row, at],
        n_synops=readout.synops[row, at],
    )


def decide_times(
    layers: list[Tensor], weight: Tensor, threshold: Tensor, n_steps: int, delay: int, fan_outs: list[int],
    temperature: float,
) -> Prediction:  # fmt: skip
    """The decision from the spike times of all layers, inputs first, outputs last (`n_steps`: never).

    Earliest output, then the largest margin, then the lowest index; silent: the largest margin after all input. The
    margins are sum_i w_ij [t_i <= u] - threshold_j of the last layer, u = decision time - `delay`, of a silent sample
    n_steps - 1. `fan_outs`: synapses of a neuron of each layer but the last.
    """
    output = layers[-1].long()
    decision_time = output.min(1).values
    silent = decision_time == n_steps
    until = torch.where(silent, n_steps - 1, decision_time - delay)
    potentials = (layers[-2] <= until[:, None]).to(weight.dtype) @ weight - threshold
    tied = (output == decision_time[:, None]) & ~silent[:, None]
    counts = [((t <= decision_time[:, None]) & (t < n_steps)).sum(1) for t in layers[:-1]]
    synops = [count * fan_out for count, fan_out in zip(counts, fan_outs, strict=True)]
    return Prediction(
        labels=potentials.masked_fill(~(tied | silent[:, None]), -torch.inf).argmax(1),
        probabilities=(potentials.double() / temperature).softmax(1).float(),
        decision_time=decision_time,
        silent=silent,
        tied=tied,
        potentials=potentials,
        n_spikes=torch.stack(counts).sum(0),
        n_synops=torch.stack(synops).sum(0),
    )


def join(parts: list[Readout]) -> Readout:
    """Readouts of consecutive batches as one, on the CPU; unused slots repeat the last one's values."""
    slots = max(part.margins.shape[1] for part in parts)

    def pad(x: Tensor) -> Tensor:
        extra = slots - x.shape[1]
        return torch.cat([x, x[:, -1:].expand(-1, extra, *x.shape[2:])], 1) if extra else x

    return Readout(
        margins=torch.cat([pad(part.margins) for part in parts]).cpu(),
        n_active=torch.cat([part.n_active for part in parts]).cpu(),
        bins=torch.cat([pad(part.bins) for part in parts]).cpu(),
        spikes=torch.cat([pad(part.spikes) for part in parts]).cpu(),
        synops=torch.cat([pad(part.synops) for part in parts]).cpu(),
    )


@dataclass(frozen=True)
class Operating:
    """One point of the trade-off between accuracy and time of decision."""

    shift: float
    accuracy: float
    silent: float
    decision_time: float


def sweep(readout: Readout, labels: Int[Tensor, " n"], n_steps: int, shifts: list[float]) -> list[Operating]:
    """Accuracy, silent share and mean decision time (steps; silent counts as `n_steps`) for every threshold shift."""
    points = []
    for shift in shifts:
        p = decide(readout, n_steps, 1.0, shift)
        points.append(
            Operating(
                shift,
                float((p.labels == labels).double().mean()),
                float(p.silent.double().mean()),
                float(p.decision_time.double().mean()),
            )
        )
    return points


def candidate_shifts(spacing: float, count: int = 60) -> list[float]:
    """Shifts worth trying: 0 and `count` multiples of `spacing` (1 for binary layers) on either side."""
    return [spacing * k for k in range(-count, count + 1)]


def best_operating(points: list[Operating], max_silent: float) -> Operating:
    """Highest accuracy among the points with at most `max_silent` silent images (of all points if none qualifies:
    the least silent); ties go to the earlier decision."""
    allowed = [p for p in points if p.silent <= max_silent]
    if not allowed:
        return min(points, key=lambda p: (p.silent, -p.accuracy))
    return max(allowed, key=lambda p: (p.accuracy, -p.decision_time))
