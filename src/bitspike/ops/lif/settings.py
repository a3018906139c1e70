"""How the backward pass of spike trains reads spike times, and HM2-BP's options. Importing this needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from bitspike.errors import UsageError
from bitspike.ranges import Range, at_least, between, count


@dataclass(frozen=True)
class Adjoint:
    """How the backward pass reads spike times (specification, sections 5.2, 5.3, 8.1, 8.3).

    `trace`: the simulator's own dynamics; `closed`: the authors' closed form, without its cut-off at 4 tau_m. `bin`:
    steps over which R is averaged and spikes are summed before they are multiplied; 1 is exact.
    """

    spsp: Literal["trace", "closed"] = "trace"
    bin: int = 1

    def __post_init__(self) -> None:
        if self.bin < 1:
            raise UsageError(f"backward_bin is {self.bin}; it counts steps, 1 or more")


@dataclass(frozen=True)
class Micro:
    """Options of HM2-BP's backward pass; in brackets what the paper's code uses where it differs from the default.

    The equations are in `ops.lif.function`, sections are those of the HM2-BP specification.
    """

    spsp: Literal["trace", "closed"] = "trace"
    """S-PSP by the simulator's dynamics, or in closed form (closed)"""
    backward_bin: int = 1
    """steps whose gradient is averaged; 1 is exact"""
    cutoff: float | None = None
    """only in closed form and in the slow reference: spikes older than so many tau_m are ignored (4)"""
    side_effect: bool = False
    """the factor 1 + S (on)"""
    silent_side: Literal["none", "code"] = "none"
    """S of silent neurons (code)"""
    silent_e: float = 0.1
    """S-PSP of silent neurons"""
    ratio: bool = True
    """pass down e/o_j instead of 1"""
    silent_ratio: float = 1.0
    """the ratio through a silent neuron: 1 in the paper, more than any that fires passes on (its e/o_j is about 0.3)"""
    saturation: float | None = None
    """a neuron with this share of the spikes its window holds has no error that asks for more (beyond the paper)"""
    pool_scale: Literal["threshold", "area"] = "threshold"
    """divide a pool's error by its threshold or by its area (area)"""
    lateral_factor: Literal["off", "clamped", "code"] = "off"
    """correction for the inhibition between outputs (code)"""

    micro_ranges: ClassVar[dict[str, Range]] = {
        "backward_bin": count(1),
        "silent_e": at_least(0),
        "silent_ratio": between(0, 1),
        "saturation": between(0, 1, low_open=True, none=True),
    }

    @property
    def adjoint(self) -> Adjoint:
        """How spike times are read."""
        return Adjoint(self.spsp, self.backward_bin)
