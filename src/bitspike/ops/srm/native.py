"""One online step of a BiSNN layer by the native kernels: CPU, float32, bit for bit that of `reference`.

Draw, product, neurons, readout, loss, local error, gradient and the move of the latents are one call. Nothing grows
with the number of steps.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitspike import _native
from bitspike.errors import BackendError, UsageError
from bitspike.ops.operators import Dense
from bitspike.ops.srm.settings import Update
from bitspike.ops.srm.step import Latents, Layer, Out, State, Target, memory

KINDS = ("real", "straight-through", "hard", "relaxed")


def step(
    layer: Layer,
    state: State,
    x: Tensor,
    latents: Latents,
    target: Target | None,
    update: Update,
    key: int,
    isa: str = "best",
) -> tuple[State, Out]:
    """See `reference.step`. P, Q and R of `state` are changed in place and returned. S is new; without pooling it
    is `Out.spikes` too.

    `x` `(batch, n_in)` is fastest as uint8 or bool. Raises `BackendError` for what only the reference has: other types
    than float32, the additive stabiliser.
    """
    if update.kind == "relaxed" and update.stabiliser == "additive":
        raise BackendError(
            "the native online step has the log stabiliser alone; use backend=reference, in float64"
        )
    classes, targets = None, None
    if target is not None:
        values = target.values.contiguous()
        classes, targets = (values.numpy(), None) if target.is_class else (None, memory(values, "target"))
    neuron = layer.neuron
    try:
        fired, spikes, read, losses = _native.srm_step(
            memory(state.p, "P"),
            memory(state.q, "Q"),
            memory(state.r, "R"),
            memory(state.s.contiguous(), "S"),
            _input(x),
            *latents.arrays,
            *layer.signs,
            classes,
            targets,
            _map(layer),
            (neuron.alpha, neuron.beta, neuron.gamma, layer.scale, layer.readout_scale, update.box),
            _rule(update, latents),
            KINDS.index(update.kind),
            update.tau,
            update.s_max,
            latents.moments is not None,
            key,
            torch.get_num_threads(),
            isa,
        )
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"online step of {layer.op.n_in} inputs and {layer.op.n_out} neurons: {error}"
        ) from error
    before_pooling = torch.from_numpy(fired)
    after = before_pooling if layer.pool == 1 or isinstance(layer.op, Dense) else torch.from_numpy(spikes)
    return state._replace(s=before_pooling), Out(after, torch.from_numpy(read), torch.from_numpy(losses))


def _map(layer: Layer) -> tuple[int, int, int, int, int, int]:
    """Height, width, channels, filter size, padding, pooling window; a dense layer is one place with all channels."""
    op = layer.op
    if isinstance(op, Dense):
        return 1, 1, op.n_in, 1, 0, 1
    return op.height, op.width, op.channels, op.size, op.padding, layer.pool


def _input(x: Tensor) -> NDArray[np.uint8] | NDArray[np.float32]:
    if x.dtype == torch.bool:
        x = x.view(torch.uint8)
    elif x.dtype != torch.uint8:
        x = x.to(torch.float32)
    values: NDArray[np.uint8] = x.detach().contiguous().numpy()
    return values


def _rule(update: Update, latents: Latents) -> tuple[float, ...]:
    (b1, b2), count = update.betas, update.count + 1
    return (
        update.lr,
        update.lr * update.rho,
        1 - b1,
        b2,
        1 - b2,
        update.lr / (1 - b1**count),
        1 / math.sqrt(1 - b2**count),
        update.eps,
        math.inf if update.clip is None else update.clip,
        *(0.0 if isinstance(prior, Tensor) else prior for prior in (latents.prior, latents.prior_bias)),
    )
