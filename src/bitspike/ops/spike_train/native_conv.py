"""Convolution and pooling of spike trains by the native kernels: CPU, float32; spikes equal to the reference."""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike import _native
from bitspike.errors import UsageError
from bitspike.ops.spike_train import reference
from bitspike.ops.spike_train.neuron import Neuron
from bitspike.ops.spike_train.operators import Conv, Pool
from bitspike.ops.spike_train.signals import Adjoint, Current, Result, Signal, Spikes

_ISA = "best"


def forward(op: Conv | Pool, x: Signal, weight: Tensor | None, neuron: Neuron, isa: str = _ISA) -> Result:
    """See `reference.forward`."""
    if neuron.lateral:
        raise UsageError("lateral inhibition joins the neurons of an output layer, not those of a map")
    if isinstance(x, Current):
        return reference.forward(op, x, weight, neuron)
    constants = (
        neuron.threshold,
        neuron.epsilon,
        neuron.beta_m,
        neuron.beta_s,
        1 / neuron.tau_s,
        neuron.refractory,
    )
    bits, *values = _native.map_forward(
        x.bits.numpy(), _numpy(weight), _geometry(op), constants, torch.get_num_threads(), isa
    )
    return Result(Spikes(torch.from_numpy(bits), op.n_out), *map(torch.from_numpy, values))


def backward(
    op: Conv | Pool,
    x: Signal,
    weight: Tensor | None,
    out: Spikes,
    neuron: Neuron,
    how: Adjoint,
    weight_scale: Tensor | None,
    error_scale: Tensor | None,
    isa: str = _ISA,
) -> tuple[Tensor | None, Tensor | None]:
    """See `reference.backward`. Faster where both scales are the same tensor."""
    if isinstance(x, Current):
        return reference.backward(op, x, weight, out, neuron, how, weight_scale, error_scale)
    if weight_scale is None and error_scale is None:
        return None, None
    by_weight = _numpy(weight_scale)
    d_weight, error = _native.map_backward(
        x.bits.numpy(),
        _numpy(weight),
        out.bits.numpy(),
        _geometry(op),
        _adjoint(neuron, how),
        how.bin,
        by_weight,
        by_weight if error_scale is weight_scale else _numpy(error_scale),
        torch.get_num_threads(),
        isa,
    )
    return (
        None if weight_scale is None else torch.from_numpy(d_weight),
        None if error_scale is None else torch.from_numpy(error),
    )


def tpsp(
    op: Conv | Pool,
    x: Signal,
    weight: Tensor | None,
    out: Spikes,
    neuron: Neuron,
    how: Adjoint,
    isa: str = _ISA,
) -> Tensor:
    """See `reference.tpsp`."""
    if isinstance(x, Current):
        return reference.tpsp(op, x, weight, out, neuron, how)
    return torch.from_numpy(
        _native.map_tpsp(
            x.bits.numpy(),
            _numpy(weight),
            out.bits.numpy(),
            _geometry(op),
            _adjoint(neuron, how),
            torch.get_num_threads(),
            isa,
        )
    )


def _numpy(x: Tensor | None) -> object:
    return None if x is None else x.detach().contiguous().numpy()


def _geometry(op: Conv | Pool) -> tuple[int, ...]:
    n_filters, padding, stride = (
        (op.n_filters, op.padding, 1) if isinstance(op, Conv) else (op.channels, 0, op.size)
    )
    size = (op.height, op.width, op.channels, n_filters, op.size, padding, stride)
    return (*size, op.out_height, op.out_width)


def _adjoint(neuron: Neuron, how: Adjoint) -> tuple[float | int, ...]:
    return (*reference.adjoint_constants(neuron, how), neuron.refractory)
