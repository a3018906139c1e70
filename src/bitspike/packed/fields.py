"""Settings in a file's metadata: dataclasses as JSON objects, operators, limits of size."""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, get_args, get_origin, get_type_hints

from bitspike.errors import FormatError, UsageError
from bitspike.ops.operators import Operator

MAX_NEURONS = 1 << 22  # of a network, inputs included
MAX_STATES = 1 << 31  # neurons times steps
MAX_WEIGHTS = 1 << 28  # of a layer, filters rounded up to 16
MAX_NUMBER = 1e15
_PATH = re.compile(r"[A-Za-z_][\w.]{0,200}:[A-Za-z_][\w.]{0,200}", re.ASCII)


def plain(settings: Any) -> dict[str, Any]:
    """The fields of a frozen dataclass for JSON, numbers each of its declared type, tuples as lists."""
    hints = get_type_hints(type(settings))
    return {
        field.name: _plain(getattr(settings, field.name), hints[field.name]) for field in fields(settings)
    }


def read_settings(kind: type[Any], entry: Any, where: str) -> Any:
    """A dataclass from its JSON object; whatever it refuses raises `FormatError`."""
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    if type(entry) is not dict or set(entry) != set(names):
        raise FormatError(f"{where} is {entry!r:.200}; expected the fields {names}")
    given = {}
    for name in names:
        try:
            given[name] = _read(entry[name], hints[name])
        except (ValueError, RecursionError):
            raise FormatError(
                f"{where}: {name} is {entry[name]!r:.100}; expected {_shown(hints[name])}"
            ) from None
    try:
        return kind(**given)
    except (UsageError, ArithmeticError) as error:
        raise FormatError(f"{where}: {error}") from error


def _plain(value: Any, hint: Any) -> Any:
    if hint in (int, float, bool, str):
        return hint(value)
    if isinstance(value, tuple):
        return [_plain(item, type(item)) for item in value]
    if value is None or type(value) in (int, float, bool, str):
        return value
    raise UsageError(
        f"{value!r:.100} cannot stand in a model file; use numbers, text, None and tuples of them"
    )


def _read(value: Any, hint: Any) -> Any:
    """The value if it is of the declared type, else `ValueError`."""
    if hint in (int, float, bool, str):
        if type(value) is hint and (hint in (bool, str) or abs(value) <= MAX_NUMBER):
            return value
        raise ValueError
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for one in arguments:
            try:
                return _read(value, one)
            except ValueError:
                continue
    elif origin is typing.Literal:
        if any(type(value) is type(one) and value == one for one in arguments):
            return value
    elif hint is type(None) and value is None:
        return None
    elif origin is tuple and type(value) is list:
        if arguments[1:] == (...,):
            arguments = arguments[:1] * len(value)
        if len(arguments) == len(value):
            return tuple(_read(item, one) for item, one in zip(value, arguments, strict=True))
    raise ValueError


def _shown(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)


def unknown(what: str, name: Any, expected: Sequence[str]) -> FormatError:
    """The error to raise where a file names what this reader does not have; an import path says how to give it."""
    if isinstance(name, str) and _PATH.fullmatch(name):
        module = name.split(":")[0]
        return FormatError(
            f"the file needs {name}; import it and give plugins=[{module}], or --plugin {module} on the command line"
        )
    return FormatError(f"{what} {name!r:.100} is unknown; expected one of {list(expected)}")


def read_operator(
    entry: dict[str, Any], kinds: Mapping[str, type[Operator]], others: set[str], where: str
) -> Any:
    """The operator of a layer's entry, which has one of the fields `kinds` and just the `others`."""
    names = [name for name in kinds if name in entry]
    if len(names) != 1 or set(entry) != {*others, names[0]}:
        expected = f"{', '.join(sorted(others))} and one of {sorted(kinds)}"
        raise FormatError(f"{where} has fields {sorted(entry)}; expected {expected}")
    return read_settings(kinds[names[0]], entry[names[0]], f"{where}, {names[0]}")


def operator_field(op: Operator, kinds: Mapping[str, type[Operator]]) -> dict[str, Any]:
    """The field of a layer's entry that holds its operator."""
    name = next(name for name, kind in kinds.items() if type(op) is kind)
    return {name: plain(op)}


def check_size(operators: Sequence[Operator], n_steps: int) -> None:
    """Refuse networks so large that deciding would ask for gigabytes; files can claim any size."""
    if not 1 <= len(operators) <= 64:
        raise UsageError(f"{len(operators)} layers; 1 to 64 are possible")
    neurons = operators[0].n_in + sum(op.n_out for op in operators)
    if min(op.n_in for op in operators) < 1 or neurons > MAX_NEURONS or neurons * n_steps > MAX_STATES:
        raise UsageError(
            f"{neurons} neurons in {n_steps} steps; at most {MAX_NEURONS}, times steps {MAX_STATES}"
        )
    for number, op in enumerate(operators, start=1):
        shape = op.weight_shape or (1, 1)
        if math.prod(shape[:-1]) * -(-shape[-1] // 16) * 16 > MAX_WEIGHTS:
            raise UsageError(f"layer {number} has weights of shape {shape}; at most {MAX_WEIGHTS}")
