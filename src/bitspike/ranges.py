"""Which values a setting may have: ranges as data, with one checker, and types by annotation."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bitspike.errors import UsageError

PLAIN = (bool, int, float, str)


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


def between(
    low: float, high: float, *, low_open: bool = False, high_open: bool = False, none: bool = False
) -> Range:
    """Numbers from `low` to `high`."""
    return Range(low, high, low_open, high_open, none=none)


def count(least: int = 0, most: float = math.inf) -> Range:
    """Whole numbers from `least` to `most`."""
    return Range(least, most, whole=True)


def check(settings: Any, ranges: Mapping[str, Range], where: str) -> None:
    """Refuse, with `UsageError`, a field outside its range; a tuple's entries each must lie within it.

    `where` is what the settings are called on the command line: rule, network, ...; "" for fields without a prefix.
    """
    for name, allowed in ranges.items():
        value = vars(settings)[name]
        for one in value if isinstance(value, tuple) else (value,):
            if not allowed.holds(one):
                each = "each of them must be" if isinstance(value, tuple) else "it must be"
                raise UsageError(f"{where}.{name} is {value!r}; {each} {allowed}".removeprefix("."))


def _instance(classes: tuple[type, ...], value: Any, where: str) -> Any:
    if not isinstance(value, classes):
        raise UsageError(f"{where}: {value!r} is not of type {' or '.join(c.__name__ for c in classes)}")
    return value


def conform(
    hint: Any, value: Any, where: str, of_class: Callable[[tuple[type, ...], Any, str], Any] = _instance
) -> Any:
    """`value` as the annotation `hint` has it: whole numbers become floats, lists tuples; else `UsageError` at `where`.

    Annotations are bool, int, float (finite), str, Literal, tuples, None, unions of these, and classes: what stands for
    one of some classes is read by `of_class`, by default an instance. True is not 1.
    """
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _union(parts, value, where, of_class)
    if hint is None or hint is types.NoneType:
        if value is not None:
            raise UsageError(f"{where}: {value!r} is not None")
        return None
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UsageError(f"{where}: expected a list, not {value!r}")
        items = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        if len(items) != len(value):
            raise UsageError(f"{where}: expected {len(items)} values, not {len(value)}")
        return tuple(conform(item, entry, where, of_class) for item, entry in zip(items, value, strict=True))
    if origin is Literal:
        if not any(type(value) is type(option) and value == option for option in parts):
            raise UsageError(f"{where}: {value!r} is not one of {parts}")
        return value
    if hint in PLAIN:
        return _plain(hint, value, where)
    if isinstance(hint, type) and origin is None:
        return of_class((hint,), value, where)
    raise UsageError(
        f"{where} is declared {hint}; settings are bool, int, float, str, Literal, tuples of these or dataclasses"
    )


def _plain(kind: Any, value: Any, where: str) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind is float and whole and abs(value) < 2**1023:
        return float(value)
    fits = whole if kind is int else isinstance(value, kind)
    if not fits or (kind is float and not math.isfinite(value)):
        raise UsageError(f"{where}: {value!r} is not of type {kind.__name__}")
    return kind(value)


def _union(parts: tuple[Any, ...], value: Any, where: str, of_class: Callable[..., Any]) -> Any:
    if value is None and types.NoneType in parts:
        return None
    classes = tuple(part for part in parts if isinstance(part, type) and part not in (*PLAIN, types.NoneType))
    plain = [part for part in parts if part is not types.NoneType and part not in classes]
    refused = []
    for part in plain:
        try:
            return conform(part, value, where)
        except UsageError as error:
            refused.append(error)
    if classes:
        return of_class(classes, value, where)
    raise refused[0]
