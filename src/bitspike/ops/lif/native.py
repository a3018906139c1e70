"""Spike trains by the native kernels: CPU, float32. The functions of `reference`; equal spikes where sums are exact.

A dense layer adds the weight rows of its input spikes, in ascending order of input in each step. Where the input is
denser than `DENSE_ABOVE`, a float32 matrix product is faster and takes its place.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitspike import _native
from bitspike.ops.lif import native_conv, reference
from bitspike.ops.lif.arrays import array, back, result
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.lif.settings import Adjoint
from bitspike.ops.lif.signals import Current, Result, Signal, Spikes, unpack
from bitspike.ops.operators import Dense, Operator

DENSE_ABOVE = 0.5  # share of input bits that are 1; where both take the same time for 784-800, measured
_ISA = "best"


def scan(current: Tensor, neuron: Neuron, isa: str = _ISA) -> Result:
    """See `reference.scan`."""
    return result(
        _native.spike_train_scan(array(current), neuron.constants, torch.get_num_threads(), isa),
        current.shape[2],
    )


def forward(
    op: Operator,
    x: Signal,
    weight: Tensor | None,
    neuron: Neuron,
    dense_above: float = DENSE_ABOVE,
    isa: str = _ISA,
) -> Result:
    """See `reference.forward`; `dense_above` is the share of ones in the input from which a matrix product is used."""
    threads = torch.get_num_threads()
    if isinstance(x, Current):
        current = array(_current(op, x, weight))
        return result(
            _native.spike_train_constant(current, x.n_steps, neuron.constants, threads, isa), op.n_out
        )
    if not isinstance(op, Dense):
        return native_conv.forward(op, x, weight, neuron, isa, dense_above)
    assert weight is not None
    bits = x.bits.numpy()
    if _native.spike_train_count(bits, isa) > dense_above * len(bits) * x.n_steps * op.n_in:
        weight = torch.from_numpy(array(weight))
        return scan((unpack(x).flatten(0, 1) @ weight).reshape(len(bits), x.n_steps, op.n_out), neuron, isa)
    return result(_native.spike_train_forward(bits, array(weight), neuron.constants, threads, isa), op.n_out)


def backward(
    op: Operator,
    x: Signal,
    weight: Tensor | None,
    out: Spikes,
    neuron: Neuron,
    how: Adjoint,
    weight_scale: Tensor | None,
    error_scale: Tensor | None,
    isa: str = _ISA,
) -> tuple[Tensor | None, Tensor | None]:
    """See `reference.backward`."""
    if isinstance(x, Current):
        if weight_scale is None:
            return None, None
        scaled = weight_scale.detach() * adjoint_sum(out, neuron, how, isa)
        return reference.weight_gradient(op, x.values.detach(), scaled), None
    if not isinstance(op, Dense):
        return native_conv.backward(op, x, weight, out, neuron, how, weight_scale, error_scale, isa)
    assert weight is not None
    d_weight, error, _ = _native.spike_train_backward(
        x.bits.numpy(),
        out.bits.numpy(),
        op.n_in,
        op.n_out,
        array(weight),
        None if weight_scale is None else array(weight_scale),
        None if error_scale is None else array(error_scale),
        False,
        back(neuron, how),
        how.bin,
        torch.get_num_threads(),
        isa,
    )
    return (
        None if d_weight is None else torch.from_numpy(d_weight),
        None if error is None else torch.from_numpy(error),
    )


def tpsp(
    op: Operator,
    x: Signal,
    weight: Tensor | None,
    out: Spikes,
    neuron: Neuron,
    how: Adjoint,
    isa: str = _ISA,
) -> Tensor:
    """See `reference.tpsp`."""
    if isinstance(x, Current):
        return _current(op, x, weight) * adjoint_sum(out, neuron, how, isa)
    if not isinstance(op, Dense):
        return native_conv.tpsp(op, x, weight, out, neuron, how, isa)
    assert weight is not None
    bits, words = x.bits.numpy(), out.bits.numpy()
    constants, threads = back(neuron, how), torch.get_num_threads()
    _, _, a = _native.spike_train_backward(
        bits, words, op.n_in, op.n_out, array(weight), None, None, True, constants, 1, threads, isa
    )
    return torch.from_numpy(a)


def adjoint(out: Spikes, neuron: Neuron, how: Adjoint, isa: str = _ISA) -> Tensor:
    """R(t) of `reference.adjoint`, means over bins of `how.bin` steps: `(batch, bins, n)`."""
    return torch.from_numpy(
        _native.spike_train_adjoint(
            out.bits.numpy(), out.n, back(neuron, how), how.bin, True, torch.get_num_threads(), isa
        )
    )


def adjoint_sum(out: Spikes, neuron: Neuron, how: Adjoint, isa: str = _ISA) -> Tensor:
    """Sum over all steps of R(t), `(batch, n)`."""
    total = _native.spike_train_adjoint(
        out.bits.numpy(), out.n, back(neuron, how), out.n_steps, False, torch.get_num_threads(), isa
    )
    return torch.from_numpy(total[:, 0])


def counts(spikes: Spikes, isa: str = _ISA) -> Tensor:
    """Spikes per neuron, `(batch, n)`: the adjoint of a neuron without memory is 1 where it spikes one step later."""
    later = _native.spike_train_adjoint(
        spikes.bits.numpy(),
        spikes.n,
        (0.0, 0.0, 1.0, 0, 0),
        spikes.n_steps,
        False,
        torch.get_num_threads(),
        isa,
    )
    first = unpack(Spikes(spikes.bits[:, :1], spikes.n))[:, 0]
    return torch.from_numpy(later[:, 0]) + first


def poisson(
    images: NDArray[np.uint8],
    keys: NDArray[np.uint64],
    limits: NDArray[np.int32],
    n_steps: int,
    isa: str = _ISA,
) -> Spikes:
    """The trains of `coding.Poisson`, bit for bit: images `(n, n_pixels)`, keys `(n,)`, its `limits()`, `n_steps`."""
    images = np.ascontiguousarray(images)
    bits = _native.spike_train_poisson(
        images, np.ascontiguousarray(keys), limits, n_steps, torch.get_num_threads(), isa
    )
    return Spikes(torch.from_numpy(bits), images.shape[1] * len(limits))


def content_keys(images: NDArray[np.uint8], isa: str = _ISA) -> NDArray[np.uint64]:
    """`coding.poisson.content_keys` of images `(n, n_pixels)`."""
    keys: NDArray[np.uint64] = _native.spike_train_content_keys(
        np.ascontiguousarray(images), torch.get_num_threads(), isa
    )
    return keys


def from_list(
    steps: NDArray[np.int16],
    channels: NDArray[np.int32],
    offsets: NDArray[np.int64],
    n_steps: int,
    n_channels: int,
) -> Spikes:
    """The recordings of a `coding.SpikeList`, given by its fields, as bits."""
    words = _native.spike_train_list_words(
        steps, channels, offsets, n_steps, n_channels, torch.get_num_threads()
    )
    return Spikes(torch.from_numpy(words), n_channels)


def _current(op: Operator, x: Current, weight: Tensor | None) -> Tensor:
    return reference.apply(op, x.values.detach(), None if weight is None else weight.detach())
