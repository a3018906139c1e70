"""Energy per image, estimated from counted operations and published costs of one operation.

The constants are of one process (45 nm, 0.9 V) and count arithmetic and the read of the weight only: no
clock, no control, no leakage, no reads and writes of a neuron's state. What else is left out: docs/metrics.md. Ratios
between rows mean more than the figures.
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

Weights = Literal["binary", "real"]

_PARTS = {  # what one operation consists of: constant and how often; a weight of b bits costs b/32 of a read
    "binary synop": ((INT16_ADD, 1.0), (SRAM_32_BITS, 1 / 32)),
    "real synop": ((FLOAT32_ADD, 1.0), (SRAM_32_BITS, 1.0)),
    "float32 multiply-add": ((FLOAT32_MULTIPLY, 1.0), (FLOAT32_ADD, 1.0), (SRAM_32_BITS, 1.0)),
    "int8 multiply-add": ((INT8_MULTIPLY, 1.0), (INT32_ADD, 1.0), (SRAM_32_BITS, 8 / 32)),
    "Loihi synop": ((LOIHI_SYNOP, 1.0),),
    # a grey level times a weight, added to a sum, once per image; times +1 or -1 it is the level or its negative
    "binary input": ((INT32_ADD, 1.0), (SRAM_32_BITS, 1 / 32)),
    "real input": ((FLOAT32_MULTIPLY, 1.0), (FLOAT32_ADD, 1.0), (SRAM_32_BITS, 1.0)),
    # v beta_m, x beta_s, x / tau_s; x + I, v + x / tau_s, and the comparison with the threshold
    "neuron update": ((FLOAT32_MULTIPLY, 3.0), (FLOAT32_ADD, 3.0)),
    # a alpha, b beta, R gamma, c (a + bias); a + b, b + I, R + s, a + bias, - R, and the comparison with 0
    "SRM update": ((FLOAT32_MULTIPLY, 4.0), (FLOAT32_ADD, 6.0)),
}


def picojoule(operation: str) -> float:
    """Energy of one operation: the sum of its parts, such as binary synop = int16 add + 1/32 SRAM read."""
    return sum(constant.picojoule * share for constant, share in _PARTS[operation])


@dataclass(frozen=True)
class Work:
    """Operations of one decision, means over inputs.

    `input_macs`: products of non-zero grey levels and weights where pixels enter as numbers, made once per image; they
    are among the `synops`. `neuron_updates`, `srm_updates`: neurons of spike trains times steps.
    """

    synops: float
    input_macs: float = 0.0
    neuron_updates: float = 0.0
    srm_updates: float = 0.0

    def operations(self, weights: Weights) -> list[tuple[str, str, float]]:
        """(what, operation, how many), only those that occur."""
        rows = [
            ("synaptic operations", f"{weights} synop", self.synops - self.input_macs),
            ("products of the input", f"{weights} input", self.input_macs),
            ("neuron updates", "neuron update", self.neuron_updates),
            ("neuron updates", "SRM update", self.srm_updates),
        ]
        return rows[:1] + [row for row in rows[1:] if row[2]]


def energy_uj(work: Work, weights: Weights = "binary") -> float:
    """Microjoule per input: the sum over kinds of operations of their number * E(operation) * 1e-6."""
    return sum(count * picojoule(operation) * 1e-6 for _, operation, count in work.operations(weights))


def energy_table(
    work: Work, weights: Weights = "binary", n_macs: float | None = None, spiking: bool = True
) -> dict[str, Any]:
    """The estimate beside others, with every constant used: `{"note", "rows", "constants"}`, JSON-ready.

    Rows are this network, one per kind of operation and their sum, the same synaptic operations on Loihi if it is
    `spiking` and, with `n_macs`, a dense network of the same shape with so many multiply-adds, in float32 and in int8.
    """
    own = work.operations(weights)
    alone = len(own) == 1
    lines = [
        ("this network" if alone else f"this network: {what}", operation, count)
        for what, operation, count in own
    ]
    after: list[tuple[str, str, float]] = []
    if spiking:
        label = "same operations on Loihi" if alone else "the same additions on Loihi, nothing else counted"
        after.append((label, "Loihi synop", own[0][2]))
    if n_macs is not None:
        after += [
            ("dense network of the same shape, float32", "float32 multiply-add", n_macs),
            ("dense network of the same shape, int8", "int8 multiply-add", n_macs),
        ]
    rows = [_row(*line) for line in (*lines, *after)]
    if not alone:
        total = {
            "system": "this network, in all",
            "operation": "",
            "operations": None,
            "picojoule": None,
            "parts": "",
        }
        rows.insert(len(own), total | {"energy_uj": energy_uj(work, weights)})
    used = {constant for _, operation, _ in (*own, *after) for constant, _ in _PARTS[operation]}
    return {
        "note": "An estimate, not a measurement: counted operations times published constants; "
        f"arithmetic and weight reads only. {_left_out(work, weights)}".rstrip(),
        "rows": rows,
        "constants": [asdict(constant) for constant in sorted(used, key=lambda c: (c.year, c.name))],
    }


def _left_out(work: Work, weights: Weights) -> str:
    """What a network computes and the sum does not hold, where it could matter."""
    if work.srm_updates:
        return "The softmax of every step is left out."
    if work.neuron_updates:
        return ""
    compare = INT16_ADD if weights == "binary" else FLOAT32_ADD
    return (
        "Comparisons with thresholds are left out: at most one per synaptic operation, "
        f"{compare.picojoule:g} pJ each ({compare.name})."
    )


def _row(system: str, operation: str, count: float) -> dict[str, Any]:
    return {
        "system": system,
        "operation": operation,
        "operations": count,
        "picojoule": picojoule(operation),
        "energy_uj": count * picojoule(operation) * 1e-6,
        "parts": " + ".join(_part(constant, share) for constant, share in _PARTS[operation]),
    }


def n_synapses(widths: Sequence[int]) -> int:
    """Synapses of a fully connected network with the layer widths (inputs, hidden..., classes)."""
    if len(widths) < 2 or any(width < 1 for width in widths):
        raise UsageError(f"widths are {tuple(widths)}; give (inputs, hidden..., classes), each at least 1")
    return sum(prod(pair) for pair in pairwise(widths))


def _part(constant: Constant, share: float) -> str:
    return constant.name if share == 1 else f"{Fraction(share)} x {constant.name}"
