"""An experiment as JSON, and back without loss.

Classes are named as in `bitspike.kinds`; a class of the user's own by its import path, `module:Class`. Such a class is
read where its module is imported already, or named by the user (`plugins`): nothing is imported because a file says so.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import typing
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from bitspike.errors import UsageError, nearest
from bitspike.experiment import Experiment
from bitspike.files import parse_json
from bitspike.kinds import AXES
from bitspike.plugins import load_plugins
from bitspike.ranges import conform

Plugins = Sequence[str | ModuleType]

ALIASES = {"Network": "IF"}  # names in older files
NAMES = {kind: name for table in AXES.values() for name, kind in table.items()}


def to_json(experiment: Experiment) -> str:
    """The experiment as JSON; `from_json` gives back an equal value. What cannot be written raises `UsageError`."""
    try:
        return json.dumps(_encode(experiment, "experiment"), indent=2, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"the experiment cannot be saved ({error}); settings are bool, int, finite float, str, tuples of these, or "
            "frozen dataclasses"
        ) from error


def from_json(text: str, plugins: Plugins = ()) -> Experiment:
    """Read what `to_json` wrote, also by an older version: a field that is missing takes its default.

    Therefore a new field's default is what was done before it. `plugins`: modules, or their names, that define classes
    of the user's own; such a class is found there or in a module that is imported already. Unknown fields and classes,
    and fields without a default that are missing, raise `UsageError` with their place.
    """
    try:
        tree = parse_json(text)
    except ValueError as error:
        raise UsageError(f"experiment.json is not JSON: {error}") from error
    named = {module.__name__: module for module in load_plugins(plugins)}  # these import others of the user's
    modules = {**sys.modules, **named}
    experiment = _decode((Experiment,), tree, "experiment", modules)
    assert isinstance(experiment, Experiment)
    return experiment


def plain(value: Any) -> Any:
    """A setting, or a part of an experiment, as the lists, objects and plain values that `to_json` writes for it."""
    return _encode(value, "experiment")


def require_savable(experiment: Experiment) -> None:
    """Refuse, with `UsageError`, an experiment that would not come back equal from its JSON."""
    again = from_json(to_json(experiment))
    if again != experiment:
        raise UsageError(
            f"experiment {experiment.name!r} changes when it is saved and read: "
            f"{', '.join(experiment.changes(again)) or 'its parts have no equality'}; compare by value"
        )


def _encode(value: Any, where: str) -> Any:
    if isinstance(value, tuple):
        return [_encode(item, where) for item in value]
    if not dataclasses.is_dataclass(value) and not isinstance(value, tuple(AXES)):
        return value
    kind: Any = type(value)
    _check_class(kind, where)
    parts = {f.name: _encode(getattr(value, f.name), f"{where}.{f.name}") for f in dataclasses.fields(kind)}
    return {"kind": _name(kind), **parts}


def _name(kind: type) -> str:
    """The name in files: that of `kinds`, of other classes of an axis the import path, of plain parts the class's."""
    if kind in NAMES:
        return NAMES[kind]
    return f"{kind.__module__}:{kind.__qualname__}" if issubclass(kind, tuple(AXES)) else kind.__name__


def _check_class(kind: type, where: str) -> None:
    """Refuse a class whose values could not be read again."""
    named = f"{where}: {kind.__module__}:{kind.__qualname__} cannot be saved"
    parameters: Any = vars(kind).get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        raise UsageError(f"{named}: decorate it with @dataclass(frozen=True)")
    if kind.__module__ == "__main__":
        raise UsageError(
            f"{named}: it is defined in the script that runs; move it to a module, such as my_rules.py, and import it"
        )
    if _find(sys.modules.get(kind.__module__), kind.__qualname__) is not kind:
        raise UsageError(f"{named}: define it at the top level of its module, under its own name")
    if issubclass(kind, tuple(AXES)) and any(f.name == "kind" for f in dataclasses.fields(kind)):
        raise UsageError(f"{named}: the field name `kind` is taken by the class; choose another")
    if not all(f.init for f in dataclasses.fields(kind)):
        raise UsageError(f"{named}: it has a field with init=False; make it a property")
    _hints(kind, where)


def _find(owner: Any, path: str) -> Any:
    """What stands at `path` below a module; read from dictionaries, for attributes may import."""
    for part in path.split("."):
        owner = vars(owner).get(part) if isinstance(owner, ModuleType | type) else None
    return owner


def _hints(kind: type, where: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except (NameError, TypeError) as error:
        raise UsageError(
            f"{where}: an annotation of {kind.__module__}:{kind.__qualname__} cannot be read ({error}); import what it "
            "names at run time"
        ) from error


def _decode(classes: tuple[type, ...], tree: Any, where: str, modules: Mapping[str, ModuleType]) -> Any:
    """The dataclass that `tree` stands for, one of `classes` or below it."""
    kind = _class(classes, tree, where, modules)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    given = set(tree) - (
        {"kind"} - set(fields)
    )  # `Weights` has a field of that name, which stands in its place
    unset = dataclasses.MISSING
    missing = {n for n, f in fields.items() if f.default is unset and f.default_factory is unset} - given
    if unknown := sorted(given - set(fields)):
        raise UsageError(f"{where}: unknown fields {unknown}{nearest(unknown[0], fields)}")
    if missing:
        raise UsageError(f"{where}: missing fields {sorted(missing)}")
    hints = _hints(kind, where)

    def below(inner: tuple[type, ...], part: Any, place: str) -> Any:
        return _decode(inner, part, place, modules)

    ordered = [name for name in fields if name in given]  # so that equal files give equal errors
    return kind(**{name: conform(hints[name], tree[name], f"{where}.{name}", below) for name in ordered})


def _class(classes: tuple[type, ...], tree: Any, where: str, modules: Mapping[str, ModuleType]) -> Any:
    named = tree.get("kind") if isinstance(tree, dict) else None
    named = ALIASES.get(named, named) if isinstance(named, str) else None
    base = classes[0]
    if base in AXES:
        table = AXES[base]
        if named in table:
            return table[named]
        if named is None or ":" not in named:
            near = nearest(named or "", table)
            raise UsageError(f"{where}: kind {named!r} is unknown; one of {sorted(table)}{near}")
        return _own(named, base, where, modules)
    saved = [kind for kind in classes if dataclasses.is_dataclass(kind)]
    if len(saved) < len(classes):
        raise UsageError(
            f"{where} is declared {classes}; settings are plain values, tuples of these or frozen dataclasses"
        )
    for kind in saved:
        has_field = any(f.name == "kind" for f in dataclasses.fields(kind))
        if isinstance(tree, dict) and (named == kind.__name__ or (has_field and len(saved) == 1)):
            return kind
    raise UsageError(f"{where}: expected an object of kind {' or '.join(kind.__name__ for kind in saved)}")


def _own(named: str, base: type, where: str, modules: Mapping[str, ModuleType]) -> Any:
    """The class `module:Class` of a module that is imported already."""
    module, _, path = named.partition(":")
    if module not in modules:
        raise UsageError(f"{where} needs {named}; import {module} first, or add --plugin {module}")
    found = _find(modules[module], path)
    if not (isinstance(found, type) and issubclass(found, base) and dataclasses.is_dataclass(found)):
        raise UsageError(f"{where} needs {named}, but {module} defines no {base.__name__} of that name")
    return found
