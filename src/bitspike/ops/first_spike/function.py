"""First-spike layers in the autograd graph: the backward pass is the method's, not the chain rule through a step.

`hidden_layer` chains to any depth: gradients travel per slot, on `Spikes.steps`. Any optimiser and DDP work on top.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bitspike.ops.backend import Backend
from bitspike.ops.first_spike import reference
from bitspike.ops.first_spike.spikes import Spikes


def implementation(backend: Backend) -> ModuleType:
    """The module that computes; see `bitspike.ops.backend.resolve` for how the name is chosen."""
    if backend == "native":
        from bitspike.ops.first_spike import native

        return native
    return reference


class _Hidden(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, steps: Tensor | None, weight: Tensor, threshold: Tensor, spikes: Spikes, width: float, binary: bool,
        keep: Tensor | None, ops: ModuleType,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        maxima, crossing = ops.layer_forward(spikes, weight, threshold, binary)
        if keep is not None:
            crossing = torch.where(keep, crossing, spikes.n_slots).to(torch.int16)
        ctx.spikes, ctx.width, ctx.binary, ctx.keep, ctx.ops, ctx.maxima = (
            spikes,
            width,
            binary,
            keep,
            ops,
            maxima,
        )
        ctx.save_for_backward(threshold, weight)
        ctx.mark_non_differentiable(crossing)
        carrier = weight.new_zeros(()).expand(crossing.shape[0], spikes.n_slots, crossing.shape[1])
        return carrier, crossing

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        threshold, weight = ctx.saved_tensors
        d_weight, d_threshold, d_potential = ctx.ops.layer_backward(
            ctx.spikes,
            ctx.maxima,
            threshold,
            gradient,
            None,
            ctx.keep,
            ctx.width,
            ctx.binary,
            ctx.needs_input_grad[0],
        )
        d_steps = d_potential @ weight.T if d_potential is not None else None
        return d_steps, d_weight, d_threshold, None, None, None, None, None


class _HiddenReadout(torch.autograd.Function):
    """The last hidden layer and the readout in one: dL/ds of the hidden layer is never stored."""

    @staticmethod
    def forward(
        ctx: Any, steps: Tensor | None, weight: Tensor, threshold: Tensor, out_weight: Tensor, out_threshold: Tensor,
        spikes: Spikes, width: float, binary: bool, keep: Tensor | None, ops: ModuleType,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        maxima, crossing = ops.layer_forward(spikes, weight, threshold, binary)
        if keep is not None:
            crossing = torch.where(keep, crossing, spikes.n_slots).to(torch.int16)
        hidden = ops.hidden_spikes(spikes, crossing, None)
        margins = ops.readout_forward(hidden, out_weight, out_threshold)
        ctx.spikes, ctx.hidden, ctx.width, ctx.binary, ctx.keep, ctx.ops = (
            spikes,
            hidden,
            width,
            binary,
            keep,
            ops,
        )
        ctx.maxima = maxima
        ctx.save_for_backward(threshold, weight, out_weight)
        ctx.mark_non_differentiable(crossing)
        return margins, crossing

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        threshold, weight, out_weight = ctx.saved_tensors
        d_out_weight, d_out_threshold = ctx.ops.readout_backward(ctx.hidden, gradient)
        d_weight, d_threshold, d_potential = ctx.ops.layer_backward(
            ctx.spikes,
            ctx.maxima,
            threshold,
            gradient,
            out_weight,
            ctx.keep,
            ctx.width,
            ctx.binary,
            ctx.needs_input_grad[0],
        )
        d_steps = d_potential @ weight.T if d_potential is not None else None
        return d_steps, d_weight, d_threshold, d_out_weight, d_out_threshold, None, None, None, None, None


class _Race(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        margins: Tensor,
        n_active: Tensor,
        labels: Tensor,
        settings: tuple[float, ...],
        ops: ModuleType,
    ) -> Tensor:
        loss, gradient = ops.race_loss(margins, n_active, labels, *settings)
        ctx.save_for_backward(gradient)
        total: Tensor = loss
        return total

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * d_loss[:, None, None], None, None, None, None


def hidden_layer(
    spikes: Spikes, weight: Float[Tensor, "n_in n_out"], threshold: Float[Tensor, " n_out"], *, width: float,
    binary: bool, backend: Backend, keep: Bool[Tensor, "batch n_out"] | None = None,
) -> Spikes:  # fmt: skip
    """Spikes of a layer whose neurons fire once, in the first slot with V > threshold.

    `weight` `(n_in, n_out)` (`binary`: every entry +1 or -1), `threshold` `(n_out,)`; `width` is the half-width of the
    triangular surrogate in units of potential; `keep` `(batch, n_out)` bool silences neurons (dropout).
    """
    ops = implementation(backend)
    steps, crossing = _Hidden.apply(spikes.steps, weight, threshold, spikes, width, binary, keep, ops)  # type: ignore[no-untyped-call]
    result: Spikes = ops.hidden_spikes(spikes, crossing, steps)
    return result


def hidden_readout(
    spikes: Spikes, weight: Float[Tensor, "n_in n_hidden"], threshold: Float[Tensor, " n_hidden"],
    out_weight: Float[Tensor, "n_hidden n_out"], out_threshold: Float[Tensor, " n_out"], *, width: float,
    binary: bool, backend: Backend, keep: Bool[Tensor, "batch n_hidden"] | None = None,
) -> tuple[Float[Tensor, "batch n_slots n_out"], Int[Tensor, "batch n_hidden"]]:  # fmt: skip
    """The last hidden layer, as `hidden_layer`, and the output neurons' potential minus threshold after every slot.

    `out_weight` `(n_hidden, n_out)`, `out_threshold` `(n_out,)`. Returns margins `(batch, n_slots, n_out)` and the
    slots of the hidden spikes `(batch, n_hidden)` int16 (`>= n_active`: never).
    """
    margins, crossing = _HiddenReadout.apply(  # type: ignore[no-untyped-call]
        spikes.steps,
        weight,
        threshold,
        out_weight,
        out_threshold,
        spikes,
        width,
        binary,
        keep,
        implementation(backend),
    )
    return margins, crossing


def race_loss(
    margins: Float[Tensor, "batch n_slots n_out"], n_active: Int[Tensor, " batch"], labels: Int[Tensor, " batch"], *,
    tau_c: float, tau_h: float, beta: float, skip: float, backend: Backend,
) -> Float[Tensor, " batch"]:  # fmt: skip
    """Competing-risk loss per sample, `(batch,)`; see `reference.race_loss` for the equations."""
    loss: Tensor = _Race.apply(margins, n_active, labels, (tau_c, tau_h, beta, skip), implementation(backend))  # type: ignore[no-untyped-call]
    return loss
