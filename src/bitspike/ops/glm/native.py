"""Windows of circuits that fire by chance by the native kernels: CPU, float32. `learn` of `block`, within rounding.

The numbers of the draws are the same, so spikes differ only where a sum of chances and its number lie within rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike import _native
from bitspike.errors import UsageError
from bitspike.ops.glm.block import Learned
from bitspike.ops.glm.online import Parameters
from bitspike.ops.glm.settings import Signal
from bitspike.ops.glm.topology import Topology
from bitspike.ops.lif.arrays import array
from bitspike.ops.lif.signals import Spikes

KINDS = ("scalar", "importance", "vector")
BASELINES = ("none", "mean", "leave-one-out")


def learn(
    topology: Topology, parameters: Parameters, table: Tensor, feedback_table: Tensor | None, spikes: Spikes,
    wanted: Tensor, keys: Tensor, signal: Signal, feedback: list[list[Tensor]], mean: Tensor, isa: str = "best",
) -> Learned:  # fmt: skip
    """See `block.learn`; what outputs are to emit is 0 or 1."""
    numbers = (
        KINDS.index(signal.signal), BASELINES.index(signal.baseline), signal.draws, signal.lam, signal.alpha,
        signal.silence, signal.same_step,
    )  # fmt: skip
    try:
        weights, biases, own, reward, log_likelihood, scores, rates = _native.glm_learn(
            [(group.n, group.values) for group in topology.groups],
            list(topology.connections),
            [array(weight) for weight in parameters.weights],
            [array(bias) for bias in parameters.biases],
            [array(own) for own in parameters.feedback] if feedback_table is not None else [],
            array(table),
            None if feedback_table is None else array(feedback_table),
            spikes.bits.numpy(),
            array(wanted),
            keys.numpy(),
            numbers,
            [array(_together(b)) for b in feedback] if signal.signal == "vector" else [],
            array(mean),
            torch.get_num_threads(),
            isa,
        )
    except (TypeError, ValueError) as error:
        raise UsageError(f"window of {len(topology.groups)} groups of circuits: {error}") from error
    return Learned(
        Parameters(*([torch.from_numpy(part) for part in parts] for parts in (weights, biases, own))),
        torch.from_numpy(reward),
        torch.tensor(log_likelihood),
        torch.from_numpy(scores),
        tuple(rates),
    )


def _together(per_filter: list[Tensor]) -> Tensor:
    """B `(filters, output rows, rows)`; of one filter where it is the same tensor for all."""
    same = all(b is per_filter[0] for b in per_filter)
    return per_filter[0][None] if same else torch.stack(per_filter)
