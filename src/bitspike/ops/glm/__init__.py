"""Networks that fire by chance: circuits that are silent or emit one of C values per step (C = 1: GLM neurons)."""

from __future__ import annotations

import importlib
from types import ModuleType


def implementation(backend: str) -> ModuleType:
    """The module whose `learn` runs: `block`, plain PyTorch, or `native`; see `ops.backend.resolve` for the name."""
    return importlib.import_module(f"bitspike.ops.glm.{'native' if backend == 'native' else 'block'}")
