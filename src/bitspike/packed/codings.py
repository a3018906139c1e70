"""Codings in model files: those of the library by name, others by their import path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from bitspike.coding import Cochlea, Direct, EventBins, Latency, Poisson
from bitspike.contracts import Coding
from bitspike.errors import UsageError
from bitspike.packed.base import Known, import_path
from bitspike.packed.fields import read_settings, unknown

CODINGS: dict[str, type[Any]] = {
    "direct": Direct,
    "poisson": Poisson,
    "events": EventBins,
    "sound": Cochlea,
    "latency": Latency,
}


def coding_name(coding: Any) -> str:
    """A coding's name in the file; what is no coding raises `UsageError`."""
    names = [name for name, kind in CODINGS.items() if type(coding) is kind]
    if names:
        return names[0]
    if not is_dataclass(coding) or not isinstance(coding, Coding):
        raise UsageError(
            f"coding is {type(coding).__name__}; it must be one of {sorted(CODINGS)}, or a coding of yours"
        )
    return import_path(type(coding))


def read_coding(metadata: Mapping[str, Any], known: Known) -> Any:
    """The coding of a file's fields `coding` and `settings`."""
    name = metadata["coding"]
    if name not in known.codings:
        raise unknown("coding", name, sorted(known.codings))
    return read_settings(known.codings[name], metadata["settings"], "settings")
