"""exp and log in float32 from additions and multiplications alone: numpy, torch and C++ give the same bits.

So the same draws are made and the same decisions taken everywhere. Arrays of another type (float64, in which the
equations are tested) go through the library's own functions. Importing this needs no torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Cephes, expf and logf (S. Moshier): relative error about 1e-7. Every constant is rounded to float32.
LOG2E = 1.44269504
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4
EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
SQRT_HALF = 0.707106781
LIMIT = 87.0  # exp takes its argument into [-LIMIT, LIMIT], so that 2^n stays a normal number


def exp(x: Any) -> Any:
    """e^x of a numpy or torch array; in float32 x is first clipped to [-87, 87].

    n = rint(x * log2 e), r = (x - n * LN2_HIGH) - n * LN2_LOW, y = Horner(EXP, r), then ((y * (r * r) + r) + 1) * 2^n.
    """
    kit = library(x)
    if x.dtype != kit.float32:
        return kit.exp(x)
    x = x.clip(-LIMIT, LIMIT)
    n = (x * LOG2E).round()
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    y = _horner(EXP, r)
    return ((y * (r * r) + r) + 1.0) * ((_int32(n, kit) + 127) << 23).view(kit.float32)


def log(x: Any) -> Any:
    """ln x of a numpy or torch array of positive normal numbers.

    float32: x = 2^e m, 1/2 <= m < 1; where m < SQRT_HALF: e -= 1, f = (m + m) - 1, else f = m - 1; z = f * f,
    y = ((Horner(LOG, f) * f) * z + e * LN2_LOW) - 0.5 * z, then (f + y) + e * LN2_HIGH.
    """
    kit = library(x)
    if x.dtype != kit.float32:
        return kit.log(x)
    bits = x.view(kit.int32)
    m = ((bits & 0x7FFFFF) | 0x3F000000).view(kit.float32)
    low = m < SQRT_HALF
    e = _float32((bits >> 23) - 126, kit) - _float32(low, kit)
    f = kit.where(low, m + m, m) - 1.0
    z = f * f
    y = ((_horner(LOG, f) * f) * z + e * LN2_LOW) - 0.5 * z
    return (f + y) + e * LN2_HIGH


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + exp(-x))


def softmax(x: Any) -> Any:
    """exp(x - max) over the last axis, divided by its sum, which is taken from the first class to the last."""
    values = exp(
        x - (x.max(axis=-1, keepdims=True) if isinstance(x, np.ndarray) else x.amax(-1, keepdim=True))
    )
    total = values[..., 0]
    for index in range(1, values.shape[-1]):
        total = total + values[..., index]
    return values / total[..., None]


def _horner(coefficients: tuple[float, ...], x: Any) -> Any:
    y = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        y = y * x + coefficient
    return y


def library(x: Any) -> Any:
    """numpy or torch, whose array this is."""
    if isinstance(x, np.ndarray):
        return np
    import torch

    return torch


def _int32(x: Any, kit: Any) -> Any:
    return x.astype(np.int32) if kit is np else x.to(kit.int32)


def _float32(x: Any, kit: Any) -> Any:
    return x.astype(np.float32) if kit is np else x.to(kit.float32)
