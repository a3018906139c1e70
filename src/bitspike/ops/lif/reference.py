"""The slow truth of spike trains: loops over steps in plain PyTorch, in the dtype of the weights.

Section and equation numbers are those of the HM2-BP specification (docs/methods/hm2bp.md).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight

from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.lif.settings import Adjoint
from bitspike.ops.lif.signals import Current, Result, Signal, Spikes, pack, unpack
from bitspike.ops.operators import Conv, Dense, Operator


def apply(op: Operator, x: Tensor, weight: Tensor | None) -> Tensor:
    """The operator on dense inputs `(m, n_in)`: `(m, n_out)`; differentiable."""
    if isinstance(op, Dense):
        assert weight is not None
        return x @ weight
    maps = x.reshape(-1, op.height, op.width, op.channels).permute(0, 3, 1, 2)
    if isinstance(op, Conv):
        assert weight is not None
        out = functional.conv2d(maps, weight.permute(3, 2, 0, 1), padding=op.padding)
    else:
        out = functional.avg_pool2d(maps, op.size, divisor_override=1)
    return out.permute(0, 2, 3, 1).flatten(1)


def transpose(op: Operator, y: Tensor, weight: Tensor | None) -> Tensor:
    """The transposed operator: `(m, n_out)` to `(m, n_in)`."""
    if isinstance(op, Dense):
        assert weight is not None
        return y @ weight.T
    maps = y.reshape(-1, op.out_height, op.out_width, y.shape[1] // (op.out_height * op.out_width))
    if isinstance(op, Conv):
        assert weight is not None
        kernel = weight.permute(3, 2, 0, 1)
        x = functional.conv_transpose2d(maps.permute(0, 3, 1, 2), kernel, padding=op.padding)
        return x.permute(0, 2, 3, 1).flatten(1)
    spread = maps.repeat_interleave(op.size, 1).repeat_interleave(op.size, 2)
    rest = (op.height - spread.shape[1], op.width - spread.shape[2])
    return functional.pad(spread, (0, 0, 0, rest[1], 0, rest[0])).flatten(1)


def weight_gradient(op: Operator, x: Tensor, y: Tensor) -> Tensor:
    """Gradient of sum(y * apply(op, x, weight)) by the weight; `x` `(m, n_in)`, `y` `(m, n_out)`."""
    if isinstance(op, Dense):
        return x.T @ y
    assert isinstance(op, Conv)
    maps = x.reshape(-1, op.height, op.width, op.channels).permute(0, 3, 1, 2)
    errors = y.reshape(-1, op.out_height, op.out_width, op.n_filters).permute(0, 3, 1, 2)
    shape = (op.n_filters, op.channels, op.size, op.size)
    gradient: Tensor = conv2d_weight(  # type: ignore[no-untyped-call]
        maps, shape, errors, padding=op.padding
    )
    return gradient.permute(2, 3, 1, 0).contiguous()


def input_current(op: Operator, x: Signal, weight: Tensor | None) -> Tensor:
    """I(t), `(batch, n_steps, n_out)`: acts on the neurons one step later."""
    if isinstance(x, Current):
        return apply(op, x.values, weight)[:, None].expand(-1, x.n_steps, -1)
    dtype = torch.float32 if weight is None else weight.dtype
    dense = unpack(x, dtype)
    return apply(op, dense.flatten(0, 1), weight).reshape(*dense.shape[:2], op.n_out)


def scan(current: Tensor, neuron: Neuron) -> Result:
    """Run the neurons of `Neuron` on `current` `(batch, n_steps, n)`."""
    batch, n_steps, n = current.shape
    v, counts, tpsp = (current.new_zeros((batch, n)) for _ in range(3))
    spikes = current.new_zeros((batch, n_steps, n), dtype=torch.bool)
    for v_pre, fired in _steps(current, neuron, spikes):
        counts += fired
        tpsp += torch.where(fired, v_pre, 0)
        v = torch.where(fired, 0, v_pre)
    return Result(pack(spikes), counts, tpsp, v)


def membrane(current: Tensor, neuron: Neuron) -> Tensor:
    """v_pre(t) of the neurons that `scan` runs: before the reset of a spike, 0 at t = 0; `(batch, n_steps, n)`."""
    spikes = current.new_zeros(current.shape, dtype=torch.bool)
    traces = [v_pre for v_pre, _ in _steps(current, neuron, spikes)]
    return torch.stack([torch.zeros_like(traces[0]), *traces], dim=1)


def _steps(current: Tensor, neuron: Neuron, spikes: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """v_pre(t) and who fires, for t = 1, 2, ...; notes the latter in `spikes` `(batch, n_steps, n)`."""
    batch, n_steps, n = current.shape
    v, x = current.new_zeros((2, batch, n))
    limit = torch.tensor(neuron.threshold, dtype=current.dtype) - torch.tensor(
        neuron.epsilon, dtype=current.dtype
    )
    rate = torch.tensor(1 / neuron.tau_s, dtype=current.dtype)
    beta_m, beta_s = (torch.tensor(beta, dtype=current.dtype) for beta in (neuron.beta_m, neuron.beta_s))
    for t in range(1, n_steps):
        v, x = v * beta_m, x * beta_s
        step = current[:, t - 1]
        if neuron.lateral:
            before = spikes[:, t - 1].to(current.dtype)
            step = step - neuron.lateral * (before.sum(1, keepdim=True) - before)
        x = x + step
        v = v + x * rate
        recent = spikes[:, max(0, t - neuron.refractory) : t].any(1)
        v = torch.where(recent, 0, v)
        fired = v > limit
        spikes[:, t] = fired
        yield v, fired
        v = torch.where(fired, 0, v)


def forward(op: Operator, x: Signal, weight: Tensor | None, neuron: Neuron) -> Result:
    """A layer: the operator's current through its neurons."""
    return scan(input_current(op, x, weight), neuron)


def adjoint(spikes: Spikes, neuron: Neuron, how: Adjoint, dtype: torch.dtype = torch.float32) -> Tensor:
    """R(t) = d a / d I(t) with spike times and resets held fixed, `(batch, n_steps, n)` (section 8.1).

    From the last step down, lam = mu = 0 at first:
        R(t) = mu;  lam <- decay_m * lam;  lam <- 0 if a spike occurred in t-1 .. t-refractory;  lam <- 1 if s(t) = 1;
        mu <- decay_s * mu + gain * lam
    `trace`: decay = 1 - 1/tau, gain = 1 / tau_s. `closed`: decay = exp(-1/tau), gain = (decay_m - decay_s) /
    (1 - tau_s/tau_m), and R(t) = mu(t + 1 + refractory), 0 beyond the window.
    """
    s = unpack(spikes, torch.bool)
    decay_m, decay_s, gain, late = adjoint_constants(neuron, how)
    batch, n_steps, n = s.shape
    lam, mu = torch.zeros((2, batch, n), dtype=dtype, device=s.device)
    result = torch.zeros((batch, n_steps, n), dtype=dtype, device=s.device)
    for t in range(n_steps - 1, -1, -1):
        if t - late >= 0:
            result[:, t - late] = mu  # mu of step t + 1, `late` steps earlier
        recent = s[:, max(0, t - neuron.refractory) : t].any(1)
        lam = torch.where(recent, 0, lam * decay_m)
        lam = torch.where(s[:, t], 1, lam)
        mu = mu * decay_s + lam * gain
    return result


def adjoint_constants(neuron: Neuron, how: Adjoint) -> tuple[float, float, float, int]:
    """Decay of lam, decay of mu, gain, and the steps by which R is read later than mu."""
    import math

    if how.spsp == "trace":
        return neuron.beta_m, neuron.beta_s, 1 / neuron.tau_s, 0
    m, s = math.exp(-1 / neuron.tau_m), math.exp(-1 / neuron.tau_s)
    return m, s, (m - s) / (1 - neuron.tau_s / neuron.tau_m), neuron.refractory


def in_bins(x: Tensor, size: int, mean: bool) -> Tensor:
    """Sums, or means, over bins of `size` steps of `(batch, n_steps, n)`; the last bin may be shorter."""
    if size == 1:
        return x
    batch, n_steps, n = x.shape
    n_bins = -(-n_steps // size)
    padded = functional.pad(x, (0, 0, 0, n_bins * size - n_steps)).reshape(batch, n_bins, size, n).sum(2)
    if not mean:
        return padded
    lengths = torch.full((n_bins, 1), float(size), dtype=x.dtype, device=x.device)
    lengths[-1] = n_steps - (n_bins - 1) * size
    return padded / lengths


def counts(spikes: Spikes) -> Tensor:
    """Spikes per neuron, `(batch, n)` float32."""
    return unpack(spikes).sum(1)


def backward(
    op: Operator,
    x: Signal,
    weight: Tensor | None,
    out: Spikes,
    neuron: Neuron,
    how: Adjoint,
    weight_scale: Tensor | None,
    error_scale: Tensor | None,
) -> tuple[Tensor | None, Tensor | None]:
    """The two sums over time of the backward pass (section 8.2); each is None where its scale is None.

    d_weight = gradient, by the weight, of sum_{b,t} weight_scale_b * R_b(t) * (op s_b(t)); dense: sum s_j(t) R_i(t) g_i
    error = sum_t s_bj(t) * (transposed op of error_scale_b * R_b(t))_j, `(batch, n_in)`; None for a constant current
    `weight_scale`, `error_scale` `(batch, n_out)`.
    """
    dtype = next(scale.dtype for scale in (weight_scale, error_scale) if scale is not None)
    r = adjoint(out, neuron, how, dtype)
    d_weight = error = None
    if isinstance(x, Current):
        if weight_scale is not None:
            d_weight = weight_gradient(op, x.values, weight_scale * r.sum(1))
        return d_weight, None
    r, s = in_bins(r, how.bin, mean=True), in_bins(unpack(x, dtype), how.bin, mean=False)
    if weight_scale is not None:
        d_weight = weight_gradient(op, s.flatten(0, 1), (r * weight_scale[:, None]).flatten(0, 1))
    if error_scale is not None:
        below = transpose(op, (r * error_scale[:, None]).flatten(0, 1), weight)
        error = (s * below.reshape(s.shape)).sum(1)
    return d_weight, error


def tpsp(op: Operator, x: Signal, weight: Tensor | None, out: Spikes, neuron: Neuron, how: Adjoint) -> Tensor:
    """a_i = sum_t R_i(t) I_i(t) for spikes `out` that need not be the layer's own, `(batch, n_out)`."""
    current = input_current(op, x, weight)
    return (adjoint(out, neuron, how, current.dtype) * current).sum(1)
