"""Online layers of the spike response model: one update per time step, no graph across time or layers."""

from __future__ import annotations

from typing import Any


def implementation(backend: str) -> Any:
    """The module whose `step` runs: `reference` or `native`."""
    from bitspike.ops.srm import reference

    if backend == "reference":
        return reference
    from bitspike.ops.srm import native

    return native
