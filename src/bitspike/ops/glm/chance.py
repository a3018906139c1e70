"""What a circuit emits with which chance, of numpy or torch arrays: training and decisions draw the same spikes.

In float32 exp is that of `ops.elementary`, and sums have one order. VOWEL specification, equation (3). Needs no torch.
"""

from __future__ import annotations

from typing import Any

from bitspike.ops import elementary


def exponentials(u: Any) -> tuple[Any, Any, Any]:
    """e_c = exp(u_c - m) `(..., values, n)`, e_0 + e_1 + ... + e_C with e_0 = exp(-m), and m = max(0, u): `(..., n)`.

    `u` `(..., values, n)`; p_c = e_c / (e_0 + ... + e_C) is a softmax with logit 0 for silence. In float32 an exponent
    below -87 counts as -87.
    """
    m = (u.max(-2) if elementary.library(u).__name__ == "numpy" else u.amax(-2)).clip(0)
    e, total = elementary.exp(u - m[..., None, :]), elementary.exp(-m)
    for c in range(u.shape[-2]):
        total = total + e[..., c, :]
    return e, total, m


def emit(p: Any, uniform: Any) -> Any:
    """Spikes `(..., values, n)`: the first value c with uniform < p_1 + ... + p_c, added in this order; else none."""
    total, before, spikes = uniform * 0, uniform < 0, []
    for c in range(p.shape[-2]):
        total = total + p[..., c, :]
        spikes.append((uniform < total) & ~before)
        before = before | spikes[-1]
    return elementary.library(p).stack(spikes, -2) * (p * 0 + 1)
