"""S-PSP by its definition, spike pair by spike pair: the form of the published code, cut-off included. Slow."""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.lif.settings import Adjoint
from bitspike.ops.lif.signals import Spikes, unpack


def spsp(
    post: Spikes,
    pre: Spikes,
    neuron: Neuron,
    how: Adjoint,
    cutoff: float | None = None,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """e_{i|j} = sum over spikes f of i and g of j of eps(t_f - reset before f, t_f - t_g), `(batch, n_post, n_pre)`.

    `trace`: eps_E(s, n) = beta_s^max(n-s, 0) / (1 - tau_s/tau_m) * (beta_m^m - beta_s^m), m = min(s, n), n = t_f - t_g
    >= 1, s infinite before the first spike (section 5.3). `closed`: the same with beta = exp(-1/tau), n = t_f - t_g -
    refractory >= 0, s = t_f - 1 before the first spike, and only spikes with t_g >= max(1, floor(t_f - cutoff * tau_m))
    (section 5.2). The reset before spike f is t_{f-1} + refractory. Silent neurons get 0.
    """
    if how.spsp == "trace":
        decay_m, decay_s = neuron.beta_m, neuron.beta_s
    else:
        decay_m, decay_s = (
            float(torch.tensor(-1 / tau, dtype=torch.float64).exp()) for tau in (neuron.tau_m, neuron.tau_s)
        )
    result = torch.zeros((post.bits.shape[0], post.n, pre.n), dtype=dtype, device=post.bits.device)
    s_post, s_pre = unpack(post, torch.bool), unpack(pre, torch.bool)
    for sample in range(len(result)):
        j, t_g = s_pre[sample].T.nonzero().T
        for i in s_post[sample].any(0).nonzero().flatten().tolist():
            t_f = s_post[sample, :, i].nonzero().flatten()
            before = torch.cat([t_f.new_ones(1), t_f[:-1] + neuron.refractory])
            s = (t_f - before).to(dtype)[:, None].expand(-1, len(t_g)).clone()
            n = (t_f[:, None] - t_g).to(dtype)
            if how.spsp == "trace":
                s[0] = torch.inf
                valid = n >= 1
            else:
                n = n - neuron.refractory
                oldest = torch.ones_like(t_f)
                if cutoff is not None:
                    oldest = (t_f - cutoff * neuron.tau_m).floor().clamp(min=1).long()
                valid = (n >= 0) & (t_g >= oldest[:, None]) & (t_g < t_f[:, None])
            m = torch.minimum(s, n).clamp(min=0)
            late = (n - s).clamp(min=0)
            eps = decay_s**late / (1 - neuron.tau_s / neuron.tau_m) * (decay_m**m - decay_s**m)
            result[sample, i].index_add_(0, j, torch.where(valid, eps, 0).sum(0))
    return result
