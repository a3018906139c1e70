"""Modules of the user: imported because the user names them, never because a file does."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import TypeVar

from bitspike.errors import UsageError

T = TypeVar("T")


def load_plugins(names: Sequence[str | ModuleType]) -> tuple[ModuleType, ...]:
    """The modules of these names, imported as Python does, also from the current folder; modules stay themselves.

    One that cannot be imported raises `UsageError`.
    """
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        return tuple(_load(name) if isinstance(name, str) else name for name in names)
    finally:
        sys.path.remove(here)


def _load(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(
            f"plug-in {name!r} is not the name of a module; write my_rules for a file my_rules.py"
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"there is no module {error.name!r} for plug-in {name}; run where {name.partition('.')[0]}.py lies, or "
                "install it, or add its folder to PYTHONPATH"
            ) from error
        raise UsageError(f"plug-in {name} needs {error.name}, which is not installed: {error}") from error
    except (ImportError, SyntaxError) as error:
        raise UsageError(f"plug-in {name} cannot be imported: {error}") from error


def classes_of(modules: Iterable[ModuleType], base: type[T]) -> dict[str, type[T]]:
    """Classes below `base` that these modules define, by name."""
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    }


def values_of(modules: Iterable[ModuleType], kind: type[T]) -> list[T]:
    """What stands in these modules under a public name and is a `kind`: recipes, for example."""
    return [
        value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, kind) and not name.startswith("_")
    ]
