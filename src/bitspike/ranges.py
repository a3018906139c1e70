"""Which values a setting may have, as data: one checker, one sentence for each kind of range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bitspike.errors import UsageError


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; an open end does not belong to it. `whole`: integers only; `none`: or None."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    whole: bool = False
    none: bool = False

    def holds(self, value: Any) -> bool:
        """Is the value in the range? NaN never is; infinity only where an end is infinite and closed."""
        if value is None:
            return self.none
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        ends = []
        if self.low > -math.inf:
            ends.append(f"above {self.low:g}" if self.low_open else f"{self.low:g} or more")
        if self.high < math.inf:
            ends.append(f"below {self.high:g}" if self.high_open else f"at most {self.high:g}")
        text = f"{kind}, {' and '.join(ends)}" if ends else kind
        return f"{text}, or None" if self.none else text


def above(low: float, none: bool = False) -> Range:
    """Finite numbers above `low`."""
    return Range(low, math.inf, low_open=True, high_open=True, none=none)


def at_least(low: float, none: bool = False) -> Range:
    """Finite numbers from `low` on."""
    return Range(low, math.inf, high_open=True, none=none)


def between(low: float, high: float, *, low_open: bool = False, high_open: bool = False, none: bool = False) -> Range:
    """Numbers from `low` to `high`."""
    return Range(low, high, low_open, high_open, none=none)


def count(least: int = 0, most: float = math.inf) -> Range:
    """Whole numbers from `least` to `most`."""
    return Range(least, most, whole=True)


def check(settings: Any, ranges: Mapping[str, Range], where: str) -> None:
    """Refuse, with `UsageError`, a field outside its range; a tuple's entries each must lie within it.

    `where` is what the settings are called on the command line: rule, network, ...
    """
    for name, allowed in ranges.items():
        value = vars(settings)[name]
        for one in value if isinstance(value, tuple) else (value,):
            if not allowed.holds(one):
                raise UsageError(f"{where}.{name} is {value!r}; it must be {allowed}")
