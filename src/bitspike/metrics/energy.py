"""Energy per image, estimated from counted operations and published costs of one operation.

The constants are of one process (45 nm, 0.9 V) and count arithmetic and the read of the weight only: no
clock, no control, no leakage, no write of a result. Ratios between rows mean more than the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from math import prod
from typing import Any, Literal

from bitspike.errors import UsageError

_HOROWITZ = "Horowitz, Computing's energy problem, ISSCC 2014; 45 nm, 0.9 V"
_SZE = "Horowitz, ISSCC 2014, as tabulated by Sze et al., Proc. IEEE 105(12), 2017; 45 nm, 0.9 V"
_DAVIES = "Davies et al., Loihi, IEEE Micro 38(1), 2018, table 2; 14 nm, 0.75 V, minimum"


@dataclass(frozen=True)
class Constant:
    """Energy of one operation in picojoule, and who published it when."""

    name: str
    picojoule: float
    source: str
    year: int


INT8_MULTIPLY = Constant("int8 multiply", 0.2, _HOROWITZ, 2014)
INT16_ADD = Constant("int16 add", 0.05, _SZE, 2017)
INT32_ADD = Constant("int32 add", 0.1, _HOROWITZ, 2014)
FLOAT32_ADD = Constant("float32 add", 0.9, _HOROWITZ, 2014)
FLOAT32_MULTIPLY = Constant("float32 multiply", 3.7, _HOROWITZ, 2014)
SRAM_32_BITS = Constant("32-bit read from 8 KB SRAM", 5.0, _SZE, 2017)
LOIHI_SYNOP = Constant("Loihi synaptic operation", 23.6, _DAVIES, 2018)

_PARTS = {  # what one operation consists of: constant and how often; a weight of b bits costs b/32 of a read
    "binary synop": ((INT16_ADD, 1.0), (SRAM_32_BITS, 1 / 32)),
    "real synop": ((FLOAT32_ADD, 1.0), (SRAM_32_BITS, 1.0)),
    "float32 multiply-add": ((FLOAT32_MULTIPLY, 1.0), (FLOAT32_ADD, 1.0), (SRAM_32_BITS, 1.0)),
    "int8 multiply-add": ((INT8_MULTIPLY, 1.0), (INT32_ADD, 1.0), (SRAM_32_BITS, 8 / 32)),
    "Loihi synop": ((LOIHI_SYNOP, 1.0),),
}


def picojoule(operation: str) -> float:
    """Energy of one operation: the sum of its parts, such as binary synop = int16 add + 1/32 SRAM read."""
    return sum(constant.picojoule * share for constant, share in _PARTS[operation])


def energy_uj(n_synops: float, weights: Literal["binary", "real"] = "binary") -> float:
    """Microjoule per image = n_synops * E(synop) * 1e-6; a synop is one add and one read of one weight."""
    return n_synops * picojoule(f"{weights} synop") * 1e-6


def energy_table(
    n_synops: float,
    weights: Literal["binary", "real"] = "binary",
    widths: Sequence[int] | None = None,
    spiking: bool = True,
) -> dict[str, Any]:
    """The estimate beside others, with every constant used: `{"note", "rows", "constants"}`, JSON-ready.

    Rows are this network, the same synaptic operations on Loihi if it is `spiking` and, with `widths` =
    (inputs, hidden..., classes), the dense MLP of the same shape, one multiply-add per synapse, in float32
    and in int8.
    """
    lines = [("this network", f"{weights} synop", n_synops)]
    if spiking:
        lines.append(("same operations on Loihi", "Loihi synop", n_synops))
    if widths is not None:
        n_macs = float(n_synapses(widths))
        lines += [
            ("dense MLP of the same shape, float32", "float32 multiply-add", n_macs),
            ("dense MLP of the same shape, int8", "int8 multiply-add", n_macs),
        ]
    rows = [
        {
            "system": system,
            "operation": operation,
            "operations": count,
            "picojoule": picojoule(operation),
            "energy_uj": count * picojoule(operation) * 1e-6,
            "parts": " + ".join(_part(constant, share) for constant, share in _PARTS[operation]),
        }
        for system, operation, count in lines
    ]
    used = {constant for _, operation, _ in lines for constant, _ in _PARTS[operation]}
    return {
        "note": "An estimate, not a measurement: counted operations times published constants; "
        "arithmetic and weight reads only.",
        "rows": rows,
        "constants": [asdict(constant) for constant in sorted(used, key=lambda c: (c.year, c.name))],
    }


def n_synapses(widths: Sequence[int]) -> int:
    """Synapses of a fully connected network with the layer widths (inputs, hidden..., classes)."""
    if len(widths) < 2 or any(width < 1 for width in widths):
        raise UsageError(f"widths are {tuple(widths)}; give (inputs, hidden..., classes), each at least 1")
    return sum(prod(pair) for pair in pairwise(widths))


def _part(constant: Constant, share: float) -> str:
    return constant.name if share == 1 else f"{Fraction(share)} x {constant.name}"
