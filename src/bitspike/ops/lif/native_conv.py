"""Convolution and pooling of spike trains by the native kernels: CPU, float32; `native` calls them for maps of spikes.

A convolution adds the taps of its input spikes, in ascending order of input in each step. Where the input is denser
than `DENSE_ABOVE`, a float32 convolution is as fast forward and takes its place.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike import _native
from bitspike.errors import UsageError
from bitspike.ops.lif import reference
from bitspike.ops.lif.arrays import array, back, result
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.lif.settings import Adjoint
from bitspike.ops.lif.signals import Result, Spikes
from bitspike.ops.operators import Conv, Pool

DENSE_ABOVE = 0.5  # share of input bits that are 1
_ISA = "best"


def forward(
    op: Conv | Pool,
    x: Spikes,
    weight: Tensor | None,
    neuron: Neuron,
    isa: str = _ISA,
    dense_above: float = DENSE_ABOVE,
) -> Result:
    """See `reference.forward`; a map has no lateral inhibition. `dense_above` as in `native.forward`."""
    if neuron.lateral:
        raise UsageError("lateral inhibition joins the neurons of an output layer, not those of a map")
    bits, constants, threads = x.bits.numpy(), neuron.constants, torch.get_num_threads()
    taps = None if weight is None else array(weight)
    bound = dense_above * len(bits) * x.n_steps * op.n_in
    if weight is not None and _native.spike_train_count(bits, isa) > bound:
        current = array(reference.input_current(op, x, weight.detach()))
        return result(_native.spike_train_scan(current, constants, threads, isa), op.n_out)
    return result(
        _native.spike_train_map_forward(bits, taps, _geometry(op), constants, threads, isa), op.n_out
    )


def backward(
    op: Conv | Pool,
    x: Spikes,
    weight: Tensor | None,
    out: Spikes,
    neuron: Neuron,
    how: Adjoint,
    weight_scale: Tensor | None,
    error_scale: Tensor | None,
    isa: str = _ISA,
) -> tuple[Tensor | None, Tensor | None]:
    """See `reference.backward`; faster where both scales are the same tensor."""
    if weight_scale is None and error_scale is None:
        return None, None
    by_weight = None if weight_scale is None else array(weight_scale)
    by_error = None if error_scale is None else array(error_scale)
    d_weight, error = _native.spike_train_map_backward(
        x.bits.numpy(),
        None if weight is None else array(weight),
        out.bits.numpy(),
        _geometry(op),
        back(neuron, how),
        how.bin,
        by_weight,
        by_weight if error_scale is weight_scale else by_error,
        torch.get_num_threads(),
        isa,
    )
    return (
        None if weight_scale is None else torch.from_numpy(d_weight),
        None if error_scale is None else torch.from_numpy(error),
    )


def tpsp(
    op: Conv | Pool,
    x: Spikes,
    weight: Tensor | None,
    out: Spikes,
    neuron: Neuron,
    how: Adjoint,
    isa: str = _ISA,
) -> Tensor:
    """See `reference.tpsp`."""
    taps = None if weight is None else array(weight)
    a = _native.spike_train_map_tpsp(
        x.bits.numpy(),
        taps,
        out.bits.numpy(),
        _geometry(op),
        back(neuron, how),
        torch.get_num_threads(),
        isa,
    )
    return torch.from_numpy(a)


def _geometry(op: Conv | Pool) -> tuple[int, ...]:
    """Height, width, channels, filters, size, padding, stride, height and width of the output."""
    joined = (
        (op.n_filters, op.size, op.padding, 1) if isinstance(op, Conv) else (op.channels, op.size, 0, op.size)
    )
    return (op.height, op.width, op.channels, *joined, op.out_height, op.out_width)
