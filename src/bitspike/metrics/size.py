"""How large a model is, in true bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bitspike.errors import DataError
from bitspike.metrics.energy import n_synapses


@dataclass(frozen=True)
class Footprint:
    """Counts and bits of a fully connected network, before padding and header."""

    synapses: int
    synapse_bits: int  # 1 per binary synapse, 32 per real one
    thresholds: int  # one per neuron that is not an input
    threshold_bits: int

    @property
    def bytes(self) -> int:
        """Synapses and thresholds together, rounded up to whole bytes."""
        return -(-(self.synapse_bits + self.threshold_bits) // 8)


def footprint(
    widths: Sequence[int], weights: Literal["binary", "real"] = "binary", bits_per_threshold: int = 32
) -> Footprint:
    """Bits of a network with layer widths (inputs, hidden..., classes)."""
    synapses, thresholds = n_synapses(widths), sum(widths[1:])
    bits = 1 if weights == "binary" else 32
    return Footprint(synapses, synapses * bits, thresholds, thresholds * bits_per_threshold)


def model_bytes(path: Path) -> int:
    """True size of a model file in bytes: header, padding and all."""
    if not path.is_file():
        raise DataError(f"{path} is not a file; pack the model first")
    return path.stat().st_size
