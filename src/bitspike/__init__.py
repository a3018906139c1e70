"""bitspike: spiking neural networks of one-bit synapses, trained, trusted, shipped.

Names are imported when first used, so that loading and running a packed model needs numpy but no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bitspike.deploy.load import PackedModel, load
    from bitspike.experiment import Experiment
    from bitspike.training import train

__version__ = "0.1.0"

_WHERE = {
    "Experiment": "bitspike.experiment",
    "PackedModel": "bitspike.deploy.load",
    "load": "bitspike.deploy.load",
    "train": "bitspike.training",
}

__all__ = ["Experiment", "PackedModel", "__version__", "load", "train"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'bitspike' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
