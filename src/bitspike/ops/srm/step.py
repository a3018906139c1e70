"""What one online learning step takes and gives: constants of a layer, its state, how its latents move."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitspike.errors import BackendError
from bitspike.ops.operators import Conv, Dense
from bitspike.ops.srm.neuron import SRMNeuron


def neurons(op: Dense | Conv, pool: int) -> int:
    """Neurons of a layer after pooling by `pool` x `pool` (1: none)."""
    if pool == 1 or isinstance(op, Dense):
        return op.n_out
    return (op.out_height // pool) * (op.out_width // pool) * op.n_filters


@dataclass(frozen=True)
class Layer:
    """Constants of one layer: what joins it to its input, max-pooling of its potentials, its neuron, its readout.

    `readout` `(n_out, n_readouts)` and `readout_bias` `(n_readouts,)` are +1 or -1, never trained; n_out counts the
    neurons after pooling. A readout is r = (B S + b) / sqrt(n_out).
    """

    op: Dense | Conv
    pool: int
    neuron: SRMNeuron
    readout: Tensor
    readout_bias: Tensor

    @cached_property
    def signs(self) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        """Readout and its bias as numpy arrays, for kernels: made once."""
        readout, bias = (
            part.to(torch.int8).contiguous().numpy() for part in (self.readout, self.readout_bias)
        )
        return readout, bias

    @property
    def n_out(self) -> int:
        """Neurons after pooling."""
        return neurons(self.op, self.pool)

    @property
    def scale(self) -> float:
        """c = 1/sqrt(fan-in)."""
        return 1 / math.sqrt(math.prod(self.op.weight_shape[:-1]))

    @property
    def readout_scale(self) -> float:
        """1/sqrt(n_out)."""
        return 1 / math.sqrt(self.n_out)


# Latents, prior, mean and square of the gradient as arrays; None where there is none.
Learned = tuple[Any, Any, Any, Any]


class State(NamedTuple):
    """Traces of a batch: P, Q `(batch, n_in)`, R and the last spikes `(batch, neurons)`, before pooling."""

    p: Tensor
    q: Tensor
    r: Tensor
    s: Tensor

    @staticmethod
    def zeros(op: Dense | Conv, batch: int, like: Tensor) -> State:
        """The state before the first step, of the type and on the device of `like`."""
        p, r = like.new_zeros((batch, op.n_in)), like.new_zeros((batch, op.n_out))
        return State(p, p.clone(), r, r.clone())


class Moments(NamedTuple):
    """Adam's running means of the gradient and of its square, shaped as the latents."""

    mean: Tensor
    square: Tensor


@dataclass(frozen=True)
class Latents:
    """What a layer learns, changed in place: weights `(*weight_shape)`, biases (one per output channel) or None.

    `prior` is w_0, the natural parameter of the prior, a number or a tensor shaped as the weights (its biases have
    `prior_bias`); `moments` (of weights, of biases) make the step Adam's.
    """

    weight: Tensor
    bias: Tensor | None = None
    prior: Tensor | float = 0.0
    prior_bias: Tensor | float = 0.0
    moments: tuple[Moments, Moments | None] | None = None

    @cached_property
    def arrays(self) -> tuple[Learned, Learned | None]:
        """The memory of weights and biases as numpy arrays `(fan-in, n)` and `(n,)`, for kernels: taken once."""
        mean, square = self.moments[0] if self.moments else (None, None)
        weight = _views(self.weight, self.prior, mean, square)
        if self.bias is None:
            return weight, None
        of_bias = self.moments[1] if self.moments else None
        mean, square = of_bias or (None, None)
        return weight, _views(self.bias, self.prior_bias, mean, square)


def _views(*tensors: Tensor | float | None) -> Learned:
    one, two, three, four = (_rows(tensor) if isinstance(tensor, Tensor) else None for tensor in tensors)
    return one, two, three, four


def _rows(tensor: Tensor) -> NDArray[np.float32]:
    values = memory(tensor, "a latent")
    return values.reshape(-1, values.shape[-1]) if values.ndim > 2 else values


def memory(tensor: Tensor, name: str) -> NDArray[np.float32]:
    """The memory of a contiguous float32 tensor, not a copy; of another `BackendError`."""
    if tensor.dtype != torch.float32 or not tensor.is_contiguous():
        raise BackendError(
            f"{name} is {tensor.dtype}; the native online step takes contiguous float32; use backend=reference"
        )
    values: NDArray[np.float32] = tensor.detach().numpy()
    return values


class Target(NamedTuple):
    """What readouts are compared with: classes `(batch,)` int64 (cross-entropy), or `(batch, n)` in [0, 1]."""

    values: Tensor

    @property
    def is_class(self) -> bool:
        return self.values.dtype == torch.int64


class Out(NamedTuple):
    """Spikes after pooling `(batch, n_out)` floating, readouts `(batch, n_readouts)`, losses `(batch,)`."""

    spikes: Tensor
    readout: Tensor
    losses: Tensor
