"""The form in which a batch of first spikes travels between layers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Spikes:
    """First spikes of a batch, with time counted in *slots*: the steps of a sample in which any input spike arrives.

    Potentials change only there, so every tensor below has as many slots as the busiest sample has active steps,
    whatever `n_steps` is. `slots` `(batch, n)` int16 is the slot of each neuron's spike (`>= n_active`: never);
    `n_active` `(batch,)` int32, at least 1; `bins` `(batch, n_slots)` int16 is the step of each slot (`n_steps` where
    unused). `events`, `starts` are the same spikes sorted by slot for the native kernels. `steps` stands for
    s(a) = [slot <= a], `(batch, n_slots, n)`, in the autograd graph; it holds no memory.
    """

    n_active: Tensor
    bins: Tensor
    n_inputs: int
    slots: Tensor | None = None
    events: Tensor | None = None
    starts: Tensor | None = None
    steps: Tensor | None = None

    @property
    def n_slots(self) -> int:
        return int(self.bins.shape[1])
