"""What native kernels take and give, as numpy arrays and numbers."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitspike.errors import UsageError
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.lif.reference import adjoint_constants
from bitspike.ops.lif.settings import Adjoint
from bitspike.ops.lif.signals import Result, Spikes


def array(tensor: Tensor) -> NDArray[np.float32]:
    """The values of a float32 tensor; another dtype raises `UsageError`."""
    if tensor.dtype != torch.float32:
        raise UsageError(f"the native kernels compute in float32, not {tensor.dtype}; use backend=reference")
    values: NDArray[np.float32] = tensor.detach().contiguous().numpy()
    return values


def back(neuron: Neuron, how: Adjoint) -> tuple[float, float, float, int, int]:
    """Constants of the adjoint."""
    return (*adjoint_constants(neuron, how), neuron.refractory)


def result(
    arrays: tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]], n: int
) -> Result:
    """Bits, counts, T-PSP and membrane of `n` neurons."""
    bits, counts, a, membrane = (torch.from_numpy(values) for values in arrays)
    return Result(Spikes(bits, n), counts, a, membrane)
