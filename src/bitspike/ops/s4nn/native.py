"""The native S4NN and BS4NN kernels: event-driven, float32, in place, the same bits for any thread count."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import BackendError, DataError, UsageError
from bitspike.ops.s4nn.settings import StepSettings


@dataclass(frozen=True)
class StepSums:
    """Sums over the samples of a step; `fired` counts firing neurons per layer as far as each sample was
    followed."""

    loss: float
    n_correct: int
    n_error: int
    fired: tuple[int, ...]


def _native() -> Any:
    try:
        return importlib.import_module("bitspike._native")
    except ImportError as error:
        raise BackendError(
            "the native kernels are missing; reinstall with a C++ compiler, or set backend to 'reference'"
        ) from error


def step(
    inputs: Tensor,
    labels: Tensor,
    weights: list[Tensor],
    alpha: Tensor,
    settings: StepSettings,
    *,
    online: bool,
    fired: Tensor | None = None,
    quota: int = 2**31 - 1,
    grads: list[Tensor] | None = None,
    times: list[Tensor] | None = None,
    early_stop: bool = True,
    isa: str = "best",
) -> StepSums:
    """One training step, in place: `online` (sample after sample) or one batch, as `reference.online` and
    `.batched`.

    `inputs (batch, n_in)` int16 spike times, `labels (batch,)` int64, `weights[l] (n_in, n_out)` float32,
    `alpha (layers,)` float64 (ones for real weights). `fired` (all hidden neurons) int32 counts the samples
    in which each hidden neuron fired, up to `quota`. With `grads` a batch adds its gradient there and leaves
    weights as they are. `times[l]` int16 receives the firing times, complete only with `early_stop=False`;
    weights, alpha and `fired` do not depend on `early_stop`.
    """
    if settings.sign_of_zero != 1:
        raise UsageError("the native kernel counts sgn(0) as +1; use the reference for another convention")
    for weight in weights:
        if weight.dtype != torch.float32 or not weight.is_contiguous():
            raise DataError(f"weights are updated in place: give contiguous float32, not {weight.dtype}")
    if inputs.dtype != torch.int16:
        raise DataError(f"spike times are int16 here, not {inputs.dtype}")
    sums = _native().s4nn_step(
        inputs.contiguous(),
        labels.contiguous(),
        weights,
        grads or [],
        settings.thresholds,
        settings.eta,
        alpha,
        fired,
        quota,
        times or [],
        n_steps=settings.n_steps,
        delay=settings.delay,
        gamma=settings.gamma,
        decay=settings.decay,
        mu=settings.mu,
        clip=settings.clip if online else None,
        binary=settings.binary,
        normalise=settings.normalise,
        post=settings.backward_weights == "post",
        early_target=settings.silent_target == "early",
        online=online,
        early_stop=early_stop,
        threads=torch.get_num_threads(),
        isa=isa,
    )
    if not online and grads is None and settings.clip is not None:
        for weight in weights:
            weight.clamp_(-settings.clip, settings.clip)
    loss, n_correct, n_error, fired_sums = sums
    return StepSums(loss, n_correct, n_error, tuple(fired_sums))


def layer_times(
    inputs: Tensor, weight: Tensor, threshold: Tensor, n_steps: int, delay: int = 1, *, isa: str = "best"
) -> Tensor:
    """First-spike times of one layer, int16 `(batch, n_in)` to `(batch, n_out)`; see
    `reference.layer_times`."""
    if inputs.dtype != torch.int16:
        raise DataError(f"spike times are int16 here, not {inputs.dtype}")
    times = torch.empty((inputs.shape[0], weight.shape[1]), dtype=torch.int16)
    _native().s4nn_layer_times(
        inputs.contiguous(),
        weight.contiguous(),
        threshold.contiguous(),
        n_steps,
        delay,
        torch.get_num_threads(),
        isa,
        times,
    )
    return times


def layer_backward(
    inputs: Tensor,
    times: Tensor,
    delta: Tensor,
    weight: Tensor,
    n_steps: int,
    delay: int = 1,
    *,
    isa: str = "best",
) -> tuple[Tensor, Tensor]:
    """Weight gradient sum_b delta_bj M_bij `(n_in, n_out)` and sum_j delta_bj w_ij M_bij `(batch, n_in)`."""
    gradient, below = torch.zeros_like(weight), torch.empty(inputs.shape)
    _native().s4nn_layer_backward(
        inputs.contiguous(),
        times.contiguous(),
        delta.contiguous(),
        weight.contiguous(),
        n_steps,
        delay,
        torch.get_num_threads(),
        isa,
        gradient,
        below,
    )
    return gradient, below
