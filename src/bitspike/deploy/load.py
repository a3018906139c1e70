"""`bitspike.load(path).predict(inputs)`: inference of a packed model, with numpy alone."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from bitspike.contracts import Coding
from bitspike.deploy.model import Backend, Model
from bitspike.packed import file
from bitspike.packed.base import Known, Packed, import_path
from bitspike.packed.kinds import KNOWN
from bitspike.plugins import classes_of, load_plugins

T = TypeVar("T")


def load(
    path: Path | str,
    backend: Backend = "auto",
    isa: str | None = None,
    plugins: Sequence[ModuleType | str] = (),
) -> Model:
    """Load a model file. `backend` "auto" takes the fastest engine there is; `isa` names an instruction set.

    `plugins`: modules, or their names, whose packed networks and codings the file may name too; nothing else is
    imported for a file. A file that breaks the format raises `FormatError`, a back end that is not there
    `BackendError`.
    """
    return Model(file.read(path, with_plugins(plugins)), backend, isa)


def with_plugins(plugins: Sequence[ModuleType | str]) -> Known:
    """What files may name: all of this library, and the public `Packed` and `Coding` classes that these modules define.

    A module that cannot be imported raises `UsageError`.
    """
    modules = load_plugins(plugins)
    kinds, codings = _public(modules, Packed), _public(modules, Coding)  # type: ignore[type-abstract]
    return Known((*KNOWN.kinds, *kinds), {**KNOWN.codings, **{import_path(kind): kind for kind in codings}})


def _public(modules: Sequence[ModuleType], base: type[T]) -> list[type[T]]:
    return [
        kind
        for name, kind in classes_of(modules, base).items()
        if not name.startswith("_") and not inspect.isabstract(kind)
    ]
