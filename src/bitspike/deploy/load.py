"""`bitspike.load(path).predict(inputs)`: inference of a packed model, with numpy alone."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from bitspike.contracts import Coding
from bitspike.deploy.model import Backend, Model
from bitspike.packed import file
from bitspike.packed.base import MOST, Demand, Known, Packed, import_path
from bitspike.packed.kinds import KNOWN
from bitspike.plugins import load_plugins

T = TypeVar("T")


def load(
    path: Path | str,
    backend: Backend = "auto",
    isa: str | None = None,
    plugins: Sequence[ModuleType | str] = (),
    most: Demand = MOST,
) -> Model:
    """Load a model file. `backend` "auto" takes the fastest engine there is; `isa` names an instruction set.

    `plugins`: modules, or their names, to import first; the file may name packed networks and codings of every module
    that is imported, and nothing is imported because a file names it. A file that breaks the format raises
    `FormatError`, a back end that is not there `BackendError`. `most`: what a decision may ask for; a file that asks
    for more is refused before anything is prepared for it.
    """
    return Model(file.read(path, replace(with_plugins(plugins), most=most)), backend, isa)


def with_plugins(plugins: Sequence[ModuleType | str]) -> Known:
    """What files may name: all of this library, and the `Packed` and `Coding` classes of modules that are imported.

    `plugins`, modules or their names, are imported first; one that cannot be raises `UsageError`.
    """
    given = {module.__name__: module for module in load_plugins(plugins)}
    modules = {**sys.modules, **given}
    packed = _below(Packed, modules)  # type: ignore[type-abstract]
    kinds = tuple(kind for kind in packed if kind not in KNOWN.kinds)
    codings = {import_path(kind): kind for kind in _below(Coding, modules)}
    return Known((*KNOWN.kinds, *kinds), {**codings, **KNOWN.codings})


def _below(base: type[T], modules: Mapping[str, ModuleType]) -> list[type[T]]:
    """All classes below `base` that these modules define and that can be instantiated."""
    found = list[type[T]]()
    for kind in base.__subclasses__():
        owner = modules.get(kind.__module__)
        defined = owner is not None and vars(owner).get(kind.__qualname__) is kind
        found += [kind] if defined and not inspect.isabstract(kind) else []
        found += _below(kind, modules)
    return found
