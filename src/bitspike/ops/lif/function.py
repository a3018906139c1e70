"""A layer of spike trains whose backward pass is HM2-BP's; gradients travel on the spike counts.

With d = dE/do of a layer, nu its threshold, o its counts, e_{i|j} = sum_t R_i(t) s_j(t) (never formed):

    delta_i = d_i / nu                                  (pools with pool_scale "area": d_i / size^2)
    dE/dw_ij = delta_i * e_{i|j} * (1 + S_i) * gamma_i  (summed over the batch: the loss carries its 1 / batch)
    S_i = a_i / (nu o_i)                                a_i = sum_j w_ij e_{i|j}
    d_j = sum_i delta_i w_ij e_{i|j} / o_j              (1 + S and gamma are not passed down)

and where counts are 0: e_{i|j} = silent_e if only i is silent, 0 if j is; the ratio e/o_j is 1, or silent_ratio if i is
silent; S_i of a silent neuron is 0.5 / nu * sum_l w_il ("code") or 0 ("none"). With `saturation`, delta_i < 0 becomes 0
where o_i >= saturation * (T - 1) / (refractory + 1). HM2-BP specification, sections 6.1 to 6.7.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bitspike.ops.backend import Backend
from bitspike.ops.lif import pairwise, reference
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.lif.settings import Adjoint, Micro
from bitspike.ops.lif.signals import Current, Signal, Spikes, unpack
from bitspike.ops.operators import Dense, Operator, Pool


@dataclass(frozen=True, eq=False)
class Macro:
    """What the output layer knows of its targets: labels `(batch,)`; steps between the spikes of an injected train.

    `interval` None: a silent target keeps its silence in the backward pass.
    """

    labels: Tensor
    interval: int | None


class Output(NamedTuple):
    """Counts `(batch, n)`, differentiable; the spikes and the membrane after the last step are not."""

    counts: Tensor
    spikes: Spikes
    membrane: Tensor


def implementation(backend: Backend) -> ModuleType:
    """The module that holds the operations of a back end; see `ops.backend.resolve` for how the name is chosen."""
    if backend == "native":
        return importlib.import_module("bitspike.ops.lif.native")
    return reference


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, counts_in: Tensor | None, weight: Tensor | None, op: Operator, x: Signal, neuron: Neuron,
        micro: Micro, macro: Macro | None, ops: ModuleType,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        result = ops.forward(op, x, weight, neuron)
        ctx.op, ctx.x, ctx.neuron, ctx.micro, ctx.macro, ctx.ops = op, x, neuron, micro, macro, ops
        ctx.save_for_backward(counts_in, weight, result.spikes.bits, result.counts, result.tpsp)
        ctx.mark_non_differentiable(result.spikes.bits, result.membrane)
        return result.counts, result.spikes.bits, result.membrane

    @staticmethod
    def backward(ctx: Any, d: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        op, x, neuron, micro, macro, ops = ctx.op, ctx.x, ctx.neuron, ctx.micro, ctx.macro, ctx.ops
        counts_in, weight, bits, counts, tpsp = ctx.saved_tensors
        wants_error, wants_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        out, nu = Spikes(bits, op.n_out), neuron.threshold
        gamma = _lateral_factor(out, counts, neuron, micro, macro, ops)
        injected = macro is not None and macro.interval is not None
        if injected:
            out, counts = inject(out, counts, macro)
        delta = d * (1 / op.size**2 if isinstance(op, Pool) and micro.pool_scale == "area" else 1 / nu)
        if micro.saturation is not None:
            most = (out.n_steps - 1) // (neuron.refractory + 1)
            delta = torch.where((counts >= micro.saturation * most) & (delta < 0), 0, delta)
        fire = (counts > 0).to(d.dtype)
        g = delta
        if micro.side_effect and wants_weight:
            own = (
                micro.adjoint.spsp == "trace" and not injected and not neuron.lateral and micro.cutoff is None
            )
            a = tpsp if own else _tpsp(ops, op, x, weight, out, neuron, micro)
            side = a / (nu * counts.clamp(min=1)) * fire
            if micro.silent_side == "code":
                ones = torch.ones((1, op.n_in), dtype=d.dtype, device=d.device)
                side = side + 0.5 / nu * reference.apply(op, ones, weight) * (1 - fire)
            g = delta * (1 + side)
        if gamma is not None:
            g = g * gamma
        weight_scale = g * fire if wants_weight else None
        error_scale = delta * fire if wants_error and micro.ratio else None
        d_weight: Any = None
        error: Any = None
        if weight_scale is not None or error_scale is not None:
            sums = _explicit if micro.cutoff is not None else ops.backward
            extra = (micro.cutoff,) if micro.cutoff is not None else ()
            d_weight, error = sums(
                op, x, weight, out, neuron, micro.adjoint, weight_scale, error_scale, *extra
            )
        active = _active(x) if counts_in is None else counts_in > 0
        if wants_weight and micro.silent_e:
            silent, takes_part = micro.silent_e * g * (1 - fire), active.to(d.dtype)
            if isinstance(op, Dense):
                d_weight.addmm_(takes_part.T, silent)
            else:
                d_weight += reference.weight_gradient(op, takes_part, silent)
        d_in = None
        if wants_error:
            through_silent = micro.silent_ratio * reference.transpose(op, delta * (1 - fire), weight)
            d_in = reference.transpose(op, delta * fire, weight) + through_silent
            if error is not None:
                d_in = torch.where(active, error / counts_in.clamp(min=1) + through_silent, d_in)
        return d_in, d_weight, None, None, None, None, None, None


def layer(
    op: Operator, x: Signal, counts_in: Tensor | None, weight: Tensor | None, neuron: Neuron, micro: Micro,
    backend: Backend, macro: Macro | None = None,
) -> Output:  # fmt: skip
    """One layer of spiking neurons, forward and backward as above.

    `x` and its counts `counts_in` `(batch, n_in)`, None for the input of the network; `weight` as `op.weight_shape`,
    None for a pool; `macro` for the output layer. The gradient of the counts is dE/do; spikes carry none.
    """
    counts, bits, membrane = _Layer.apply(  # type: ignore[no-untyped-call]
        counts_in, weight, op, x, neuron, micro, macro, implementation(backend)
    )
    return Output(counts, Spikes(bits, op.n_out), membrane)


def _active(x: Signal) -> Tensor:
    """Which inputs take part at all, `(batch, n_in)` bool."""
    if isinstance(x, Current):
        return x.values > 0
    ever = torch.from_numpy(np.bitwise_or.reduce(x.bits.cpu().numpy(), axis=1, keepdims=True))
    return unpack(Spikes(ever.to(x.bits.device), x.n), torch.bool)[:, 0]


def inject(out: Spikes, counts: Tensor, macro: Macro) -> tuple[Spikes, Tensor]:
    """Give a silent target neuron a regular train at interval, 2 interval, ... (specification, section 6.4)."""
    assert macro.interval is not None
    rows = (counts.gather(1, macro.labels[:, None])[:, 0] == 0).nonzero().flatten()
    if not len(rows):
        return out, counts
    steps = torch.arange(macro.interval, out.n_steps, macro.interval, device=counts.device)
    labels = macro.labels[rows]
    bits, counts = out.bits.clone(), counts.clone()
    mask = torch.ones_like(labels) << (labels % 64)
    bits[rows[:, None], steps, (labels // 64)[:, None]] |= mask[:, None]
    counts[rows, labels] = len(steps)
    return Spikes(bits, out.n), counts


def _tpsp(
    ops: ModuleType, op: Operator, x: Signal, weight: Tensor | None, out: Spikes, neuron: Neuron, micro: Micro
) -> Tensor:
    if micro.cutoff is not None:
        assert isinstance(x, Spikes)
        assert weight is not None
        return torch.einsum(
            "bij,ji->bi", pairwise.spsp(out, x, neuron, micro.adjoint, micro.cutoff, weight.dtype), weight
        )
    a: Tensor = ops.tpsp(op, x, weight, out, neuron, micro.adjoint)
    return a


def _explicit(
    op: Operator, x: Signal, weight: Tensor | None, out: Spikes, neuron: Neuron, how: Adjoint,
    weight_scale: Tensor | None, error_scale: Tensor | None, cutoff: float,
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """`reference.backward` from e itself."""
    assert isinstance(op, Dense)
    assert isinstance(x, Spikes)
    assert weight is not None
    e = pairwise.spsp(out, x, neuron, how, cutoff, weight.dtype)
    d_weight = None if weight_scale is None else torch.einsum("bij,bi->ji", e, weight_scale)
    error = None if error_scale is None else torch.einsum("bij,bi,ji->bj", e, error_scale, weight)
    return d_weight, error


def _lateral_factor(
    out: Spikes,
    counts: Tensor,
    neuron: Neuron,
    micro: Micro,
    macro: Macro | None,
    ops: ModuleType = reference,
) -> Tensor | None:
    """gamma_j = 1 / (1 - w0^2 sum_{l != j} u_{l|j} u_{j|l} / nu^2 k_j k_l), u_{l|j} = e_{l|j} / o_j (section 6.5).

    u = 1 where either count is 0; k_j = 1 where o_j > 0 or j is the target, else 0. `clamped`: the denominator is
    at least 0.1.
    """
    if micro.lateral_factor == "off" or not neuron.lateral or macro is None:
        return None
    every_step, s = Adjoint(micro.adjoint.spsp), unpack(out, counts.dtype)
    if ops is reference:
        r = reference.adjoint(out, neuron, every_step, counts.dtype)
    else:
        r = ops.adjoint(out, neuron, every_step)
    u = torch.einsum("btl,btj->blj", r, s) / counts.clamp(min=1)[:, None]
    fires = counts > 0
    u = torch.where(fires[:, :, None] & fires[:, None, :], u, 1)
    target = torch.nn.functional.one_hot(macro.labels, counts.shape[1]).bool()
    k = (fires | target).to(counts.dtype)
    loop = u * u.transpose(1, 2) * k[:, :, None] * k[:, None, :]
    loop = loop.sum(1) - loop.diagonal(dim1=1, dim2=2)
    below = 1 - (neuron.lateral / neuron.threshold) ** 2 * loop
    return 1 / (below.clamp(min=0.1) if micro.lateral_factor == "clamped" else below)
