"""The published rules by one native call per block of steps: CPU, float32, equal to `online` within rounding.

Only sources that have a trace, or had one lately, are visited. What is carried of others is 0: less than 1e-7 of it is
left when they leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitspike import _native
from bitspike.errors import UsageError
from bitspike.ops.glm.online import (
    FLSNNState,
    History,
    Parameters,
    VOWELState,
    silence,
)
from bitspike.ops.glm.settings import FLSNNSettings, VOWELSettings
from bitspike.ops.glm.topology import Topology
from bitspike.ops.lif.arrays import array
from bitspike.ops.lif.signals import Spikes

LONG_AGO = 2**31 - 1


@dataclass
class Streams:
    """What goes on beside a rule's state: spikes of the last steps, and how long ago a row's trace ended.

    `idle` int32 `(streams, rows)` per group, in steps.
    """

    history: History
    idle: list[Tensor]

    @staticmethod
    def start(topology: Topology, state: FLSNNState | VOWELState, streams: int, length: int) -> Streams:
        """Silent for `length` steps, that of the longest filter; sources of which something is carried are followed."""
        history = silence(topology, streams, length, torch.zeros(()))
        idle = [torch.full((streams, group.rows), LONG_AGO, dtype=torch.int32) for group in topology.groups]
        sums = state.sums if isinstance(state, FLSNNState) else None
        for carried in (state.trace, sums, state.bottom):
            if carried is None:
                continue
            for (source, _), part in zip(topology.connections, carried.weights, strict=True):
                idle[source][(part != 0).flatten(2).any(2)] = 0
        return Streams(history, idle)


class Steps(NamedTuple):
    """What the steps did: spikes of every group but the input and chances of the output, `(streams, n_steps, rows)`.

    ln p of the output and the divergence of hidden circuits, `(streams, n_steps)`.
    """

    spikes: list[Tensor]
    chances: Tensor
    log_output: Tensor
    divergence: Tensor


def learn(
    topology: Topology, parameters: Parameters, masks: Sequence[Tensor | None], table: Tensor, feedback: Tensor | None,
    streams: Streams, state: FLSNNState | VOWELState, spikes: Spikes, given: Sequence[Tensor | None], keys: Tensor,
    first: int, settings: FLSNNSettings | VOWELSettings, silence: float, isa: str = "best",
) -> Steps:  # fmt: skip
    """The steps of a block of streams by `online.step` and the rule; parameters, state and streams change in place.

    `spikes` of the input, `(streams, n_steps)`; `given` `(streams, n_steps, rows)` per group but the input is clamped,
    where it is None drawn: numbers are those of `block.uniforms` from step `first` on, one key per stream. `silence`:
    of the reference distribution of hidden circuits.
    """
    block = None
    if isinstance(settings, FLSNNSettings):
        assert isinstance(state, FLSNNState)
        block = state.signal.numpy(), state.reward.numpy(), state.count.numpy()
        carried = [state.trace, state.sums, state.top, state.bottom, None]
        rule = (
            False, settings.beta is not None, False, settings.steps, settings.lr, settings.kappa, settings.beta or 0.0,
            settings.alpha, *settings.divisors(topology), silence,
        )  # fmt: skip
    else:
        assert isinstance(state, VOWELState)
        carried = [state.trace, None, state.top, state.bottom, state.product]
        rule = (
            True, settings.baseline, settings.aliased, 1, settings.lr, settings.kappa, settings.beta, settings.gamma,
            1.0, 1.0, silence,
        )  # fmt: skip
    try:
        emitted, chances, log_output, divergence = _native.glm_online(
            [(group.n, group.values) for group in topology.groups],
            list(topology.connections),
            [_own(value) for value in parameters.all()],
            [[] if part is None else [_own(value) for value in part.all()] for part in carried],
            [None if mask is None else array(mask.float()) for mask in masks],
            array(table),
            None if feedback is None else array(feedback),
            [_own(part) for part in streams.history],
            [part.numpy() for part in streams.idle],
            spikes.bits.numpy(),
            [None, *(None if part is None else array(part) for part in given)],
            keys.numpy(),
            first,
            rule,
            block,
            isa,
        )
    except (TypeError, ValueError, IndexError) as error:
        raise UsageError(f"online steps of {len(topology.groups)} groups of circuits: {error}") from error
    return Steps(
        [torch.from_numpy(part) for part in emitted],
        *(torch.from_numpy(part) for part in (chances, log_output, divergence)),
    )


def _own(value: Tensor) -> NDArray[np.float32]:
    """The memory of a tensor that changes in place."""
    if value.dtype != torch.float32 or not value.is_contiguous():
        raise UsageError("the native rules move contiguous float32 tensors alone; use backend=reference")
    values: NDArray[np.float32] = value.detach().numpy()
    return values
