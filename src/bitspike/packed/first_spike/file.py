"""Layers of first spikes, and of the network without time, in the file `model.bitspike` (docs/format.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bitspike.errors import FormatError
from bitspike.ops.operators import Dense
from bitspike.packed.container import Tensors, weight_name, weight_tensor
from bitspike.packed.decisions import Array
from bitspike.packed.first_spike.layers import FirstSpikePackedLayer

FIELDS: dict[str, Any] = {
    "coding": str, "n_steps": int, "delay": int, "input": [int], "widths": [int], "kinds": [str], "classes": [str],
}  # fmt: skip


def layers_to_parts(
    layers: Sequence[FirstSpikePackedLayer], reaches: Sequence[int], shape: tuple[int, ...]
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Fields from `input` on, and tensors; `reaches` is the largest input of every layer.

    Hidden binary layers keep the integer from which they fire, other layers their thresholds.
    """
    tensors = dict[str, Array]()
    for number, (layer, reach) in enumerate(zip(layers, reaches, strict=True), start=1):
        tensors[f"{number}.{weight_name(layer.kind)}"] = weight_tensor(layer.weights)
        if layer.kind == "real" or number == len(layers):
            tensors[f"{number}.thresholds"] = layer.thresholds
        else:
            bound = layer.n_in * reach
            tensors[f"{number}.fires_at"] = layer.fires_at(bound).astype(_threshold_dtype(bound))
    fields = {
        "input": list(shape),
        "widths": [layers[0].n_in, *(layer.n_out for layer in layers)],
        "kinds": [layer.kind for layer in layers],
    }
    return fields, tensors


def layers_from_parts(
    metadata: Mapping[str, Any], tensors: Tensors, brightest: int
) -> tuple[FirstSpikePackedLayer, ...]:
    """The layers of a file; `brightest` is the largest input of the first one, that of others is 1."""
    widths, kinds = metadata["widths"], metadata["kinds"]
    if len(widths) != len(kinds) + 1 or not 1 <= len(kinds) <= 64:
        raise FormatError(
            f"{len(widths)} widths and {len(kinds)} layers; expected 1 to 64 layers and one width more"
        )
    if min(widths) < 1 or max(widths) >= 2**24:
        raise FormatError("a width lies outside 1..2^24 - 1")
    layers = []
    for number, (kind, n_in, n_out) in enumerate(zip(kinds, widths, widths[1:], strict=False), start=1):
        weights = tensors.take_weights(kind, str(number), (n_in, n_out))
        if kind == "real" or number == len(kinds):
            thresholds = tensors.take(f"{number}.thresholds", (n_out,), np.float32)
        else:
            bound = n_in * (brightest if number == 1 else 1)
            fires_at = tensors.take(f"{number}.fires_at", (n_out,), _threshold_dtype(bound)).astype(np.int64)
            if fires_at.min() < -bound or fires_at.max() > bound + 1:
                raise FormatError(f"layer {number} has a threshold outside {-bound}..{bound + 1}")
            thresholds = (fires_at - 1).astype(np.float32)  # U > F - 1 is U >= F
        layers.append(FirstSpikePackedLayer(Dense(n_in, n_out), weights, thresholds))
    return tuple(layers)


def _threshold_dtype(bound: int) -> type:
    """int16 where every threshold that makes a difference fits, else int32."""
    return np.int16 if bound + 1 <= 32767 else np.int32
