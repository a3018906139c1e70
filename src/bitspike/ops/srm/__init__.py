"""Online layers of the spike response model: one update per time step, no graph across time or layers."""

from __future__ import annotations

import importlib
from types import ModuleType


def implementation(backend: str) -> ModuleType:
    """The module whose `step` runs: `reference` or `native`; see `ops.backend.resolve` for how the name is chosen."""
    return importlib.import_module(f"bitspike.ops.srm.{'native' if backend == 'native' else 'reference'}")
