"""First-spike layers in plain PyTorch: the truth. Works in float64 and on any device.

The signal between layers is the step s_i(a) = [slot_i <= a] (specification of deep first-spike networks, equations 1
to 8): V(a) = W^T s(a); M(a) = max over b <= a of V(b); the neuron has fired by slot a iff M(a) > threshold.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.ops.first_spike.spikes import Spikes


def sort_times(times: Tensor, n_steps: int) -> Spikes:
    """Active-step form of spike times `(batch, n)`, integer, `n_steps` means never."""
    batch, n = times.shape
    occupied = torch.zeros((batch, n_steps + 1), dtype=torch.bool, device=times.device)
    occupied.scatter_(1, times.long().clamp(max=n_steps), True)
    occupied[:, n_steps] = False
    slot_of_step = occupied.cumsum(1) - 1  # (batch, n_steps + 1)
    n_active = occupied.sum(1).clamp(min=1).to(torch.int32)
    n_slots = int(n_active.max()) if batch else 1
    bins = torch.full((batch, n_slots), n_steps, dtype=torch.int16, device=times.device)
    row, step = occupied.nonzero(as_tuple=True)
    bins[row, slot_of_step[row, step]] = step.to(torch.int16)
    slots = slot_of_step.gather(1, times.long().clamp(max=n_steps))
    slots = torch.where(times.long() >= n_steps, n_slots, slots).to(torch.int16)
    return Spikes(n_active=n_active, bins=bins, n_inputs=n, slots=slots)


def hidden_spikes(spikes: Spikes, crossing: Tensor, steps: Tensor | None) -> Spikes:
    """The output of a layer as the input of the next, which shares its slots."""
    return Spikes(spikes.n_active, spikes.bins, crossing.shape[1], slots=crossing, steps=steps)


def _steps(spikes: Spikes, dtype: torch.dtype) -> Tensor:
    assert spikes.slots is not None
    slot = torch.arange(spikes.n_slots, device=spikes.slots.device)
    fired = (spikes.slots[:, None, :] <= slot[:, None]) & (spikes.slots < spikes.n_active[:, None])[
        :, None, :
    ]
    return fired.to(dtype)


def _active(spikes: Spikes) -> Tensor:
    return (
        torch.arange(spikes.n_slots, device=spikes.bins.device) < spikes.n_active[:, None]
    )  # (batch, n_slots)


def layer_forward(spikes: Spikes, weight: Tensor, threshold: Tensor, binary: bool) -> tuple[Tensor, Tensor]:
    """Running maxima M `(batch, n_slots, n_out)` and slot of the first M > threshold `(batch, n_out)` int16."""
    maxima = (_steps(spikes, weight.dtype) @ weight).cummax(1).values
    late = (maxima <= threshold) & _active(spikes)[:, :, None]
    return maxima, late.sum(1).to(torch.int16)


def layer_backward(
    spikes: Spikes, maxima: Tensor, threshold: Tensor, gradient: Tensor, above: Tensor | None,
    keep: Tensor | None, width: float, binary: bool, potential: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:  # fmt: skip
    """From dL/ds `(batch, n_slots, n_out)`: dL/dW, dL/dthreshold and, if asked for, dL/dV.

    With `above`, the weights `(n_out, n_next)` of the next layer, `gradient` is that layer's dL/dV
    `(batch, n_slots, n_next)` and dL/ds = gradient above^T   (4). Neurons not in
    `keep` `(batch, n_out)` bool lost their spike and get no gradient.

    D(a) = dL/ds(a) psi((M(a) - threshold)/width), psi(x) = max(0, 1 - |x|)   (5)
    dL/dthreshold = -sum D   (6);   dL/dV(b) = sum of the D(a) whose maximum was attained in slot b, first on ties   (7)
    dL/dW = sum_a s(a) dL/dV(a)   (8)
    """
    if above is not None:
        gradient = gradient @ above.T
    if keep is not None:
        gradient = gradient * keep[:, None, :]
    psi = (1 - ((maxima - threshold) / width).abs()).clamp(min=0)
    d = gradient * psi * _active(spikes)[:, :, None].to(gradient.dtype)
    before = torch.cat([torch.full_like(maxima[:, :1], -torch.inf), maxima[:, :-1]], 1)
    slot = torch.arange(spikes.n_slots, device=maxima.device)[None, :, None]
    attained = torch.where(maxima > before, slot, 0).cummax(1).values  # where M(a) was reached
    d_potential = torch.zeros_like(d).scatter_add_(1, attained, d)
    d_weight = torch.einsum("bai,baj->ij", _steps(spikes, d.dtype), d_potential)
    return d_weight, -d.sum((0, 1)), d_potential if potential else None


def readout_forward(spikes: Spikes, weight: Tensor, threshold: Tensor) -> Tensor:
    """Potential minus threshold at the end of every slot, `(batch, n_slots, n_out)`."""
    return _steps(spikes, weight.dtype) @ weight - threshold


def readout_backward(spikes: Spikes, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """dL/dW `(n_in, n_out)` and dL/dthreshold from dL/dmargins `(batch, n_slots, n_out)`."""
    return torch.einsum("bai,bao->io", _steps(spikes, gradient.dtype), gradient), -gradient.sum((0, 1))


def race_loss(
    margins: Tensor, n_active: Tensor, labels: Tensor, tau_c: float, tau_h: float, beta: float, skip: float
) -> tuple[Tensor, Tensor]:
    """Competing-risk loss `(batch,)` and its gradient in the margins m = V - threshold, by autograd.

    lambda(a) = sum_o exp(min(m_o(a)/tau_h, 12));  S(a) = exp(-sum_{b<=a} lambda(b));  omega(a) = S(a-1) - S(a)
    p_y(a) = softmax_o(m_o(a)/tau_c)_y;  P = sum_a omega(a) p_y(a) + beta S(A-1) p_y(A-1);  loss = -log max(P, 1e-6)

    Samples with tau_c max|gradient| < skip get a zero gradient. Survival below 1e-4 ends the sum, as in the kernels.
    """
    with torch.enable_grad():
        m = margins.detach().requires_grad_()
        hazard = (m / tau_h).clamp(max=12).exp().sum(2)  # (batch, n_slots)
        active = torch.arange(m.shape[1], device=m.device) < n_active[:, None]
        survival = (-(hazard * active).cumsum(1)).exp()
        before = torch.cat([torch.ones_like(survival[:, :1]), survival[:, :-1]], 1)
        running = active & (before >= 1e-4)
        truth = (m / tau_c).softmax(2).gather(2, labels[:, None, None].expand(-1, m.shape[1], 1))[..., 0]
        last = running.sum(1, keepdim=True) - 1
        likelihood = ((before - survival) * truth * running).sum(1)
        likelihood = likelihood + beta * (survival * truth).gather(1, last)[:, 0]
        loss = -likelihood.clamp(min=1e-6).log()
        # The clamp keeps the value finite; the gradient keeps its direction, bounded by the same floor.
        surrogate = likelihood / likelihood.detach().clamp(min=1e-6)
        (gradient,) = torch.autograd.grad(-surrogate.sum(), m)
    quiet = gradient.abs().amax((1, 2)) * tau_c < skip
    return loss.detach(), gradient.masked_fill(quiet[:, None, None], 0.0)


def decided(margins: Tensor, n_active: Tensor) -> Tensor:
    """Labels `(batch,)` int64: the largest margin in the first slot where any margin > 0, else in the last slot."""
    slot = torch.arange(margins.shape[1], device=margins.device)
    crossed = (margins.amax(2) > 0) & (slot < n_active[:, None])
    at = torch.where(crossed.any(1), crossed.to(torch.uint8).argmax(1), n_active.long() - 1)
    return margins[torch.arange(len(at), device=at.device), at].argmax(1)
