"""What travels between layers: spikes as bits, or a constant current."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Spikes(NamedTuple):
    """Spike trains as bits: int64 `(batch, n_steps, ceil(n / 64))`; neuron j is bit j % 64 of word j // 64.

    Bits from `n` up are 0.
    """

    bits: Tensor
    n: int

    @property
    def n_steps(self) -> int:
        return self.bits.shape[1]


class Current(NamedTuple):
    """A constant input, `(batch, n)` float: what the weights multiply, the same in each of the `n_steps`."""

    values: Tensor
    n_steps: int


Signal = Spikes | Current


class Result(NamedTuple):
    """What a layer's neurons did: spikes; counts, T-PSP a, and the membrane v after the last step, each `(batch, n)`.

    a = sum of v_pre over the steps in which the neuron fired (specification, identity 5.4); without lateral input.
    """

    spikes: Spikes
    counts: Tensor
    tpsp: Tensor
    membrane: Tensor


def pack(dense: Tensor) -> Spikes:
    """Spikes from 0 and 1, or booleans, `(batch, n_steps, n)`; on the device of `dense`."""
    batch, n_steps, n = dense.shape
    bits = np.packbits(dense.bool().cpu().numpy(), axis=2, bitorder="little")
    words = np.zeros((batch, n_steps, -(-n // 64) * 8), np.uint8)
    words[:, :, : bits.shape[2]] = bits
    return Spikes(torch.from_numpy(words.view("<i8").astype(np.int64)).to(dense.device), n)


def unpack(spikes: Spikes, dtype: torch.dtype = torch.float32) -> Tensor:
    """0 and 1, `(batch, n_steps, n)`."""
    words = np.ascontiguousarray(spikes.bits.cpu().numpy(), "<i8")
    dense = np.unpackbits(words.view(np.uint8), axis=2, count=spikes.n, bitorder="little")
    return torch.from_numpy(dense).to(spikes.bits.device, dtype)
