"""Ben's Spiker Algorithm: a signal as the spikes whose sum of kernels comes near it.

B. Schrauwen and J. Van Campenhout, "BSA, a fast and accurate spike train encoding scheme", IJCNN 2003; kernel,
threshold and repetition as in the speech front end of HM2-BP (specification, section 7.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TAPS = np.exp(-np.square(np.arange(24) - 12.0) / 25)
KERNEL = _TAPS / _TAPS.sum()


def bsa(
    signals: Sequence[NDArray[Any]], gain: float, repeat: int, threshold: float, n_steps: int
) -> list[NDArray[np.bool_]]:
    """Spikes `(n_steps, channels)` of each signal `(frames, channels)`; all signals share their channels.

    Every value is taken times `gain` and `repeat` times over, 24 zeros follow. For n = 0, 1, … up to length - 25, with
    the window z = signal[n : n + 24]: if sum |z - h| < sum |z| - threshold, a spike at n + 1, and z - h replaces the
    window; h_i = exp(-(i - 12)^2 / 25) / sum. Spikes at or after `n_steps` are dropped.

    Since |z| - |z - h| = 2 min(max(z, 0), h) - h and h sums to 1, the condition is computed as
    sum min(max(z, 0), h) > (1 + threshold) / 2.
    """
    taps, channels = len(KERNEL), signals[0].shape[1]
    lengths = np.repeat([repeat * len(signal) for signal in signals], channels)
    rest = np.zeros((max(lengths) + taps, len(signals) * channels))
    for k, signal in enumerate(signals):
        scaled = np.repeat(signal.astype(np.float64) * gain, repeat, axis=0)
        rest[: len(scaled), k * channels : (k + 1) * channels] = scaled
    spikes = np.zeros((n_steps, rest.shape[1]), np.bool_)
    kernel = KERNEL[:, None]
    shared = np.empty((taps, rest.shape[1]))
    for n in range(min(max(lengths), n_steps - 1)):
        window = rest[n : n + taps]
        np.clip(window, 0, kernel, out=shared)
        fires = (shared.sum(axis=0) > (1 + threshold) / 2) & (n < lengths)
        spikes[n + 1] = fires
        if fires.any():
            window[:, fires] -= kernel
    return [spikes[:, k * channels : (k + 1) * channels] for k in range(len(signals))]
