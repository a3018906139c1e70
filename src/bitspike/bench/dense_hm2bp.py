"""HM2-BP as one writes it in plain PyTorch: dense products over all steps, loops of tensor operations over time.

The same algorithm as `rules.hm2bp` with its default settings, for one hidden layer; a rival in the benchmarks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.ops.lif.neuron import Neuron
from bitspike.rules.hm2bp import HM2BP


def scan(current: Tensor, neuron: Neuron) -> Tensor:
    """Spikes, 0 and 1, of neurons driven by `current`, both `(n_steps, batch, n)`."""
    v, x = torch.zeros_like(current[0]), torch.zeros_like(current[0])
    fired = torch.zeros(current.shape, dtype=torch.bool)
    for t in range(1, len(current)):
        x.mul_(neuron.beta_s).add_(current[t - 1])
        v.mul_(neuron.beta_m).add_(x, alpha=1 / neuron.tau_s)
        for before in range(max(0, t - neuron.refractory), t):
            v.masked_fill_(fired[before], 0)
        torch.gt(v, neuron.threshold, out=fired[t])
        v.masked_fill_(fired[t], 0)
    return fired.to(current.dtype)


def adjoint(spikes: Tensor, neuron: Neuron, scale: Tensor, total: bool = False) -> Tensor:
    """scale * R(t), `(n_steps, batch, n)`, as in `reference.adjoint`; its sum over time where `total`."""
    lam, mu = torch.zeros_like(spikes[0]), torch.zeros_like(spikes[0])
    fired = spikes.bool()
    result = torch.zeros_like(spikes[0]) if total else torch.empty_like(spikes)
    for t in range(len(spikes) - 1, -1, -1):
        if total:
            result.add_(mu)
        else:
            torch.mul(mu, scale, out=result[t])
        lam.mul_(neuron.beta_m)
        for before in range(max(0, t - neuron.refractory), t):
            lam.masked_fill_(fired[before], 0)
        lam.masked_fill_(fired[t], 1)
        mu.mul_(neuron.beta_s).add_(lam, alpha=1 / neuron.tau_s)
    return result.mul_(scale) if total else result


@torch.no_grad()
def gradients(
    x: Tensor, labels: Tensor, weights: list[Tensor], neurons: tuple[Neuron, ...], n_steps: int, rule: HM2BP
) -> list[Tensor]:
    """Gradients of the two weight matrices, mean over the batch.

    `x`: spikes `(n_steps, batch, n_in)`, or a constant input `(batch, n_in)`.
    """
    first, last = neurons
    constant, n = x.dim() == 2, len(labels)
    current = (x @ weights[0]).expand(n_steps, -1, -1) if constant else _through(x, weights[0])
    hidden = scan(current, first)
    output = scan(_through(hidden, weights[1]), last)
    counts, out_counts = hidden.sum(0), output.sum(0)

    targets = torch.full_like(out_counts, rule.undesired).scatter_(1, labels[:, None], rule.desired)
    error = out_counts - targets
    delta = torch.where(error.abs() > rule.margin, error, 0) / (n * last.threshold)
    interval = rule.injected_every(n_steps, last.refractory)
    if interval is not None:  # a silent target gets a regular train
        rows = (out_counts.gather(1, labels[:, None])[:, 0] == 0).nonzero()[:, 0]
        output[interval::interval, rows, labels[rows]] = 1
        out_counts = output.sum(0)

    r = adjoint(output, last, torch.ones_like(delta))
    e = torch.bmm(r.permute(1, 2, 0), hidden.transpose(0, 1))  # (batch, n_out, n_hidden)
    fires, active = (out_counts > 0)[:, :, None], (counts > 0)[:, None]
    d_second = torch.einsum("bi,bij->ji", delta, torch.where(fires, e, rule.silent_e * active))
    ratio = torch.where(fires & active, e / counts.clamp(min=1)[:, None], 1)
    delta = torch.einsum("bi,bij,ji->bj", delta, ratio, weights[1]) / first.threshold

    fire = (counts > 0).to(delta.dtype)
    if constant:
        d_first = x.T @ adjoint(hidden, first, delta * fire, total=True)
        seen = x > 0
    else:
        d_first = x.flatten(0, 1).T @ adjoint(hidden, first, delta * fire).flatten(0, 1)
        seen = x.any(0)
    d_first.addmm_(seen.to(delta.dtype).T, rule.silent_e * delta * (1 - fire))
    return [d_first, d_second]


def _through(spikes: Tensor, weight: Tensor) -> Tensor:
    return (spikes.flatten(0, 1) @ weight).reshape(*spikes.shape[:2], -1)
