"""`bitspike.load(path).predict(inputs)`: inference of a packed model, with numpy alone."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from bitspike.contracts import Coding
from bitspike.deploy.model import Backend, Model
from bitspike.errors import UsageError
from bitspike.packed import file
from bitspike.packed.base import Known, Packed, import_path
from bitspike.packed.kinds import KNOWN


def load(
    path: Path | str,
    backend: Backend = "auto",
    isa: str | None = None,
    plugins: Iterable[ModuleType | str] = (),
) -> Model:
    """Load a model file. `backend` "auto" takes the fastest engine there is; `isa` names an instruction set.

    `plugins`: modules, or their names, whose packed networks and codings the file may name too; nothing else is
    imported for a file. A file that breaks the format raises `FormatError`, a missing back end `BackendError`.
    """
    return Model(file.read(path, with_plugins(plugins)), backend, isa)


def with_plugins(plugins: Iterable[ModuleType | str]) -> Known:
    """What files may name: all of this library, and the public `Packed` and `Coding` classes of these modules."""
    kinds, codings = list(KNOWN.kinds), dict(KNOWN.codings)
    for plugin in plugins:
        for one in _classes(plugin if isinstance(plugin, ModuleType) else _imported(plugin)):
            if issubclass(one, Packed):
                kinds.append(one)
            elif issubclass(one, Coding):
                codings[import_path(one)] = one
    return Known(tuple(kinds), codings)


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"plugin {name!r} cannot be imported ({error}); is its folder on PYTHONPATH?"
        ) from error


def _classes(module: ModuleType) -> list[type[Any]]:
    """The public classes that a module defines."""
    return [
        value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and not name.startswith("_")
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    ]
