"""Layers from firing times to firing times; their backward pass is temporal backpropagation (S4NN)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from bitspike.errors import BackendError
from bitspike.ops.backend import resolve
from bitspike.ops.s4nn import native as cpu
from bitspike.ops.s4nn import reference
from bitspike.ops.s4nn.settings import StepSettings


def use_native(backend: str, tensor: Tensor) -> bool:
    """Whether the native kernel is to work on `tensor`, float32 on a CPU; named but impossible: `BackendError`."""
    if backend == "native" and tensor.dtype != torch.float32:
        raise BackendError(
            f"the native kernel works on float32, not on {tensor.dtype}; use backend=auto or reference"
        )
    return resolve(backend, tensor.device) == "native" and tensor.dtype == torch.float32


class _FirstSpikeTimes(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        times: Tensor,
        weight: Tensor,
        threshold: Tensor,
        n_steps: int,
        delay: int,
        normalise: bool,
        native: bool,
    ) -> Tensor:
        kernels = cpu if native else reference
        before = times.to(torch.int16 if native else torch.int64)
        after = kernels.layer_times(before, weight, threshold, n_steps, delay)
        ctx.save_for_backward(before, after, weight)
        ctx.options = n_steps, delay, normalise, native
        fired: Tensor = after.to(times.dtype)
        return fired

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        before, after, weight = ctx.saved_tensors
        n_steps, delay, normalise, native = ctx.options
        delta = -gradient  # dt/dV = -1
        if normalise:
            delta = reference.normalised(delta)
        if native:
            grad, below = cpu.layer_backward(before, after, delta, weight, n_steps, delay)
        else:
            settings = StepSettings(n_steps=n_steps, thresholds=(), eta=(), delay=delay)
            mask = reference.causal(before, after, settings).to(weight.dtype)
            grad = torch.einsum("bj,bij->ij", delta, mask)
            below = reference.delta_below(delta, weight, mask)
        return -below, grad, None, None, None, None, None


class FirstSpikeTimes(nn.Module):
    """A fully connected layer of neurons that fire at most once: float firing times in, float firing times
    out.

    Forward: V_j(t) = sum_i w_ij [t_i <= t]; t_j = (first t with V_j(t) > threshold_j, strict) + `delay`;
    never, or at `n_steps` or later: `n_steps`. Backward, with dt/dV = -1, d_j = -dLoss/dt_j and the causal
    mask M_ij = [t_i + delay <= t_j and t_i < n_steps]: dLoss/dw_ij = sum_b d_j M_ij, dLoss/dt_i = -sum_j d_j
    w_ij M_ij. `normalise` first divides d by its 2-norm, for each sample (a zero d stays zero). Stacked
    layers under `relative_target_loss` give the batched S4NN gradient. Specification, equations 2 to 4, 9 to
    12, section 15.10.

    `weight (n_in, n_out)` is a parameter, `threshold (n_out,)` a buffer. `times (batch, n_in)` hold whole
    numbers 0 to `n_steps`; the result is `(batch, n_out)` of the same type. "auto" takes the native kernel
    for float32 on a CPU.
    """

    threshold: Tensor

    def __init__(
        self,
        weight: Tensor,
        threshold: float,
        n_steps: int,
        *,
        delay: Literal[0, 1] = 1,
        normalise: bool = True,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.register_buffer("threshold", weight.new_full((weight.shape[1],), threshold))
        self.n_steps, self.delay, self.normalise, self.backend = n_steps, delay, normalise, backend

    def forward(self, times: Tensor) -> Tensor:
        """Firing times `(batch, n_out)` of input firing times `(batch, n_in)`."""
        native = use_native(self.backend, self.weight)
        spikes: Tensor = _FirstSpikeTimes.apply(  # type: ignore[no-untyped-call]
            times, self.weight, self.threshold, self.n_steps, self.delay, self.normalise, native
        )
        return spikes


def relative_target_loss(
    times: Tensor,
    labels: Tensor,
    n_steps: int,
    *,
    gamma: int = 3,
    silent_target: Literal["early", "none"] = "early",
) -> Tensor:
    """sum over batch and classes of (T_j - t_j)^2 / (2 n_steps), so that dLoss/dt_j = -e_j = -(T_j - t_j) /
    n_steps.

    That is `n_steps` times the loss of equation 8. T_j are the relative targets of equations 6 and 7, taken
    as constants. `times (batch, classes)` float, `labels (batch,)` int64.
    """
    settings = StepSettings(n_steps=n_steps, thresholds=(), eta=(), gamma=gamma, silent_target=silent_target)
    goal = reference.targets(times.detach().long(), labels, settings)
    return (goal - times).square().sum() / (2 * n_steps)
