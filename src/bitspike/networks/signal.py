"""Coded inputs as they enter the first layer of a network of spike trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bitspike.coding import Direct, Poisson, SpikeList
from bitspike.coding.poisson import content_keys
from bitspike.contracts import Coding
from bitspike.errors import UsageError
from bitspike.ops.lif import function
from bitspike.ops.lif.signals import Current, Signal, Spikes, pack


def signal(
    coding: Coding,
    inputs: Any,
    backend: str,
    device: torch.device,
    generator: torch.Generator | None = None,
) -> Signal:
    """Spikes, or the current of `Direct`; with a generator, Poisson trains that are not frozen are drawn anew.

    `backend`: native or reference. Coded recordings may come from any coding.
    """
    native = backend == "native"
    if isinstance(inputs, SpikeList):
        if native:
            fields = inputs.steps, inputs.channels, inputs.offsets, inputs.n_steps, inputs.n_channels
            listed: Spikes = function.implementation("native").from_list(*fields)
            return listed
        return Spikes(torch.from_numpy(inputs.words()).to(device), inputs.n_channels)
    if isinstance(coding, Direct):
        return Current(inputs.float() * coding.current_per_level, coding.n_steps)
    if not isinstance(coding, Poisson):
        raise UsageError(
            f"coding {type(coding).__name__} gives neither spikes nor a current; its encode must return a SpikeList, "
            "or choose Direct or Poisson"
        )
    kernels = function.implementation("native" if native else "reference")
    if generator is not None and not coding.frozen:
        keys = torch.randint(-(2**63), 2**63 - 1, (len(inputs),), generator=generator)
    elif native:
        keys = torch.from_numpy(kernels.content_keys(inputs.numpy()).view(np.int64))
    else:
        keys = torch.from_numpy(content_keys(inputs.numpy(force=True)).view(np.int64))
    if native:
        spikes: Spikes = kernels.poisson(
            inputs.numpy(), keys.numpy().view(np.uint64), coding.limits(), coding.n_steps
        )
        return spikes
    dense = coding.spikes(inputs.numpy(force=True), keys.numpy().view(np.uint64))
    return pack(torch.from_numpy(dense).to(inputs.device))
