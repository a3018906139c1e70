"""bitspike: spiking neural networks of one-bit synapses, trained, trusted, shipped.

Names are imported when first used, so that loading and running a packed model needs numpy but no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bitspike.deploy.load import load
    from bitspike.deploy.model import Model
    from bitspike.deploy.model import Model as PackedModel
    from bitspike.experiment import Experiment
    from bitspike.training import train

__version__ = "0.1.0"

_WHERE = {
    "Experiment": ("bitspike.experiment", "Experiment"),
    "Model": ("bitspike.deploy.model", "Model"),
    "PackedModel": ("bitspike.deploy.model", "Model"),  # its name in the first release
    "load": ("bitspike.deploy.load", "load"),
    "train": ("bitspike.training", "train"),
}

__all__ = ["Experiment", "Model", "PackedModel", "__version__", "load", "train"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'bitspike' has no attribute {name!r}")
    module, there = _WHERE[name]
    return getattr(importlib.import_module(module), there)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
