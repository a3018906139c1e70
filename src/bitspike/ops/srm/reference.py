"""One online step of a BiSNN layer in plain PyTorch: the truth that the native step equals, spike for spike.

Every sum has its order written down (inputs, samples and classes from first to last), and exp and log are those of
`elementary`, so in float32 the native step gives the same bits. BiSNN specification, equations (1) to (12).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from bitspike.errors import UsageError
from bitspike.ops import counter, elementary
from bitspike.ops.operators import Conv, Dense
from bitspike.ops.srm.neuron import SRMNeuron
from bitspike.ops.srm.settings import Update
from bitspike.ops.srm.step import Latents, Layer, Moments, Out, State, Target

TINY = 1e-10  # the additive stabiliser of the published code


def step(
    layer: Layer, state: State, x: Tensor, latents: Latents, target: Target | None, update: Update, key: int
) -> tuple[State, Out]:
    """Run a layer for one time step and, with a `target`, move its latents in place.

    `x` `(batch, n_in)`: 1 where an input spikes. `key`: of this step's draw (`counter.key`); the biases' is key + 1.
    Without a target nothing is learned and the losses are 0.
    """
    weight, factor = sample(latents.weight, update, key)
    bias, bias_factor = (None, None) if latents.bias is None else sample(latents.bias, update, key + 1)
    state = advance(state, x, layer.neuron)
    u = potential(layer, state, weight, bias)
    pooled = pool(layer, u)
    spikes = (pooled >= 0).to(u.dtype)
    read = readout(layer, spikes)
    if target is None:
        return state._replace(s=(u >= 0).to(u.dtype)), Out(spikes, read, u.new_zeros(len(u)))
    losses, slope = loss(read, target)
    e = local_error(layer, slope, u, pooled, update.box)
    g_weight, g_bias = gradient(layer, e, state.p)
    moments = latents.moments or (None, None)
    move(latents.weight, g_weight, factor, latents.prior, moments[0], update)
    if latents.bias is not None:
        assert bias_factor is not None
        move(latents.bias, g_bias, bias_factor, latents.prior_bias, moments[1], update)
    return state._replace(s=(u >= 0).to(u.dtype)), Out(spikes, read, losses)


def advance(state: State, x: Tensor, neuron: SRMNeuron) -> State:
    """P <- alpha P + Q (the old Q), Q <- beta Q + x, R <- gamma R + S, equations (1) to (3); S is left as it was."""
    return State(
        neuron.alpha * state.p + state.q, neuron.beta * state.q + x, neuron.gamma * state.r + state.s, state.s
    )


def potential(layer: Layer, state: State, weight: Tensor, bias: Tensor | None) -> Tensor:
    """U = c (W P + b) - R, equation (4), `(batch, neurons)`, before pooling."""
    total = product(layer.op, state.p, weight)
    if bias is not None:
        total = total + bias.repeat(total.shape[1] // len(bias))
    return layer.scale * total - state.r


def product(op: Dense | Conv, p: Tensor, weight: Tensor) -> Tensor:
    """sum_i P_i W_ij, added from the first input to the last (of a convolution: filter rows, columns, channels)."""
    if isinstance(op, Dense):
        total = p.new_zeros((len(p), op.n_out))
        for i in range(op.n_in):
            total = total + p[:, i, None] * weight[i]
        return total
    patches = _patches(op, p)  # (batch, places, fan-in)
    rows = weight.reshape(-1, op.n_filters)
    total = p.new_zeros((*patches.shape[:2], op.n_filters))
    for i in range(len(rows)):
        total = total + patches[:, :, i, None] * rows[i]
    return total.flatten(1)


def pool(layer: Layer, u: Tensor) -> Tensor:
    """The largest potential of every pool x pool places of a map; `u` itself where the layer does not pool."""
    op = layer.op
    if layer.pool == 1 or isinstance(op, Dense):
        return u
    maps = u.reshape(-1, op.out_height, op.out_width, op.n_filters).permute(0, 3, 1, 2)
    return functional.max_pool2d(maps, layer.pool).permute(0, 2, 3, 1).flatten(1)


def readout(layer: Layer, spikes: Tensor) -> Tensor:
    """r = c_ro (B S + b), c_ro = 1/sqrt(n_out); the sum is a whole number."""
    return (
        spikes @ layer.readout.to(spikes.dtype) + layer.readout_bias.to(spikes.dtype)
    ) * layer.readout_scale


def loss(read: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """Losses `(batch,)` and their slopes in r, divided by the batch: cross-entropy, or the mean logistic loss."""
    n = len(read)
    if target.is_class:
        p = elementary.softmax(read)
        slope = p - functional.one_hot(target.values, read.shape[1]).to(read.dtype)
        return -elementary.log(p.gather(1, target.values[:, None])[:, 0].clamp_min(1e-30)), slope / n
    y, p = target.values.to(read.dtype), elementary.sigmoid(read)
    losses = -(y * elementary.log(p.clamp_min(1e-30)) + (1 - y) * elementary.log((1 - p).clamp_min(1e-30)))
    total = losses[:, 0]
    for k in range(1, read.shape[1]):
        total = total + losses[:, k]
    return total / read.shape[1], (p - y) / (n * read.shape[1])


def local_error(layer: Layer, slope: Tensor, u: Tensor, pooled: Tensor, box: float) -> Tensor:
    """e = Theta'(U) c_ro B^T dL/dr per neuron before pooling, equation (6); Theta' = 1 where -box < U <= box.

    A pooled error goes to the first neuron that has the largest potential of its window.
    """
    signs = layer.readout.to(u.dtype)
    carried = slope.new_zeros(len(slope), len(signs))
    for k in range(signs.shape[1]):
        carried = carried + slope[:, k, None] * signs[:, k]
    inside = (pooled > -box) & (pooled <= box)
    e = torch.where(inside, carried * layer.readout_scale, 0.0)
    op = layer.op
    if layer.pool == 1 or isinstance(op, Dense):
        return e
    maps = u.reshape(-1, op.out_height, op.out_width, op.n_filters).permute(0, 3, 1, 2)
    places = functional.max_pool2d(maps, layer.pool, return_indices=True)[1].flatten(2)
    height, width = op.out_height // layer.pool, op.out_width // layer.pool
    error = e.reshape(-1, height * width, op.n_filters).permute(0, 2, 1)
    spread = u.new_zeros(len(u), op.n_filters, op.out_height * op.out_width)
    return spread.scatter_(2, places, error).permute(0, 2, 1).flatten(1)


def gradient(layer: Layer, e: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """dL/dW = c sum over samples of P_i e_j, and that of the biases, equation (6); samples from first to last."""
    op = layer.op
    if isinstance(op, Dense):
        inputs, errors = p[:, None], e[:, None]
    else:
        inputs, errors = _patches(op, p), e.reshape(len(e), -1, op.n_filters)
    g = p.new_zeros(inputs.shape[2], errors.shape[2])
    g_bias = p.new_zeros(errors.shape[2])
    for sample_inputs, sample_errors in zip(inputs, errors, strict=True):
        for place_inputs, place_errors in zip(sample_inputs, sample_errors, strict=True):
            g = g + place_inputs[:, None] * place_errors
            g_bias = g_bias + place_errors
    return (g * layer.scale).reshape(op.weight_shape), g_bias * layer.scale


def sample(latent: Tensor, update: Update, key: int) -> tuple[Tensor, Tensor]:
    """The weights of one step and the factor s of their gradient, equations (9), (10) and (12)."""
    if update.kind == "real":
        return latent, torch.ones_like(latent)
    if update.kind == "straight-through":
        return torch.where(latent >= 0, 1.0, -1.0).to(latent.dtype), torch.ones_like(latent)
    u = torch.from_numpy(counter.uniform(key, latent.numel())).to(latent).reshape(latent.shape)
    return hard(latent, u) if update.kind == "hard" else relaxed(latent, u, update)


def hard(latent: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """W = +1 where u (1 + exp(-2 w)) < 1, else -1: P(W = +1) = sigmoid(2 w); |2 w| counts as 40 at most; s = 1."""
    plus = u * (1.0 + elementary.exp((-2.0 * latent).clip(-40.0, 40.0))) < 1.0
    return torch.where(plus, 1.0, -1.0).to(latent.dtype), torch.ones_like(latent)


def relaxed(latent: Tensor, u: Tensor, update: Update) -> tuple[Tensor, Tensor]:
    """W = tanh(x), x = (w + delta)/tau, and s = exp(2(|w| - |x|)) ((1 + e2)/(1 + e1))^2 / tau, at most `s_max`.

    e1 = exp(-2|x|), e2 = exp(-2|w|), |W| = (1 - e1)/(1 + e1): no cancellation (12). `additive` is the published form,
    s = (1 - W^2 + 1e-10)/(tau (1 - tanh^2 w + 1e-10)), wrong at saturation in float32; for parity in float64.
    """
    delta = 0.5 * elementary.log(u / (1.0 - u))
    x = (latent + delta) / update.tau
    e1, e2 = elementary.exp(-2.0 * x.abs()), elementary.exp(-2.0 * latent.abs())
    weight = torch.copysign((1.0 - e1) / (1.0 + e1), x)
    if update.stabiliser == "additive":
        mu = torch.tanh(latent)
        return weight, (1 - weight * weight + TINY) / (update.tau * (1 - mu * mu + TINY))
    ratio = (1.0 + e2) / (1.0 + e1)
    s = elementary.exp(2.0 * (latent.abs() - x.abs())) * (ratio * ratio) / update.tau
    return weight, s.clip(0.0, update.s_max)


def move(
    latent: Tensor, g: Tensor, factor: Tensor, prior: Tensor | float, moments: Moments | None, update: Update
) -> None:
    """w <- w - lr rho (w - w_0) - lr G in place, G = g s (11) or Adam's step of it; then clip."""
    if update.kind == "relaxed":
        g = g * factor
    change = g * update.lr
    if moments is not None:
        (b1, b2), count = update.betas, update.count + 1
        moments.mean.copy_(moments.mean + (g - moments.mean) * (1 - b1))
        moments.square.copy_(moments.square * b2 + (g * g) * (1 - b2))
        rate, root = update.lr / (1 - b1**count), 1 / math.sqrt(1 - b2**count)
        spread = (
            moments.square.double().sqrt().to(g.dtype)
        )  # correctly rounded, as torch's float32 root is not
        change = (moments.mean * rate) / (spread * root + update.eps)
    if update.rho:
        change = change + (latent - prior) * (update.lr * update.rho)
    latent.copy_(latent - change)
    if update.clip is not None:
        latent.clamp_(-update.clip, update.clip)


def _patches(op: Conv, p: Tensor) -> Tensor:
    """What every place of a convolution reads, `(batch, places, fan-in)`: filter rows, columns, channels."""
    if p.shape[1] != op.n_in:
        raise UsageError(f"inputs have {p.shape[1]} channels; the convolution needs {op.n_in}")
    maps = p.reshape(-1, op.height, op.width, op.channels).permute(0, 3, 1, 2)
    columns = functional.unfold(maps, op.size, padding=op.padding)  # (batch, channels * size^2, places)
    ordered = columns.reshape(len(p), op.channels, op.size * op.size, -1).permute(0, 3, 2, 1)
    return ordered.flatten(2)
