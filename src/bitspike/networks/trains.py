"""Spike trains of a network as reports and disturbances need them: rasters, counts, lists.

With k examples and n neurons in layer l (0: the input): `layerL_shown` (m,), numbers of the neurons drawn, at most
`SHOWN`, evenly chosen; `example_layerL_spikes` uint8 (k, n_steps, ceil(m / 8)), their spikes as bits, lowest first;
`example_layerL_counts` (k, n). Over all inputs `layerL_histogram`: how many pairs of neuron and input have 0, 1, ...
spikes, and `layerL_mean_counts` (n,).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.coding import SpikeList
from bitspike.ops.lif.signals import Signal, Spikes, unpack
from bitspike.packed import window

SHOWN = 256
AT_ONCE = 100  # inputs whose spikes are unpacked at a time


def raster(layer: int, spikes: Spikes, counts: Tensor) -> dict[str, Tensor]:
    """The arrays `layerL_shown`, `example_layerL_spikes` and `example_layerL_counts`."""
    shown = torch.linspace(0, spikes.n - 1, min(spikes.n, SHOWN)).round().long()
    dense = unpack(spikes, torch.uint8)[:, :, shown]
    return {
        f"layer{layer}_shown": shown,
        f"example_layer{layer}_spikes": torch.from_numpy(
            np.packbits(dense.numpy(force=True), axis=2, bitorder="little")
        ),
        f"example_layer{layer}_counts": counts.to(torch.int16),
    }


def listed(signal: Callable[[Any], Signal], inputs: Tensor) -> SpikeList:
    """The trains that `signal` makes of inputs, as a list."""
    parts = []
    for part in torch.split(inputs, AT_ONCE):
        spikes = signal(part)
        assert isinstance(spikes, Spikes)
        parts.append(window.listed(unpack(spikes, torch.bool).numpy(force=True)))
    return SpikeList.concatenate(parts)


class Activity:
    """How often the neurons of layers of these widths fire, summed up over batches.

    `mean_count`: spikes per neuron and input; `rate` = mean_count / n_steps; `silent`: share of pairs of neuron and
    input without a spike; `never`: share of neurons that fire on none of the inputs.
    """

    def __init__(self, widths: list[int], n_steps: int) -> None:
        self.n_steps = n_steps
        self.totals = [torch.zeros(width, dtype=torch.int64) for width in widths]
        self.histograms = torch.zeros((len(widths), n_steps + 1), dtype=torch.int64)

    def add(self, counts: list[Tensor]) -> None:
        """Spikes per neuron `(batch, n)` of the last layers; layers before them are not counted."""
        for layer, count in enumerate(counts, start=len(self.totals) - len(counts)):
            whole = count.long().cpu()
            self.totals[layer] += whole.sum(0)
            self.histograms[layer] += torch.bincount(whole.flatten(), minlength=self.n_steps + 1)

    def figures(self, n: int) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
        """Figures of every layer over `n` inputs, none of a layer that was not counted, and the arrays."""
        found: list[dict[str, float]] = []
        arrays: dict[str, Tensor] = {}
        for layer, (total, histogram) in enumerate(zip(self.totals, self.histograms, strict=True)):
            figures: dict[str, float] = {}
            if histogram.any():
                mean = total.double() / n
                figures = {
                    "mean_count": float(mean.mean()),
                    "rate": float(mean.mean()) / self.n_steps,
                    "silent": float(histogram[0] / histogram.sum()),
                    "never": float((total == 0).double().mean()),
                }
                arrays[f"layer{layer}_histogram"] = histogram[: int(histogram.nonzero().max()) + 1]
                arrays[f"layer{layer}_mean_counts"] = mean.float()
            found.append(figures)
        return found, arrays
