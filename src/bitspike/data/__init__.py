"""Inputs and labels: `load` a data set by name, `split` off validation data. Importable without torch."""

from bitspike.data.catalog import CATALOG, Archive, Entry
from bitspike.data.dataset import Dataset, Split, split
from bitspike.data.files import Check
from bitspike.data.idx import read_idx, write_idx
from bitspike.data.loading import get, load, names, verify
from bitspike.data.points import Line, Plane

__all__ = [
    "CATALOG",
    "Archive",
    "Check",
    "Dataset",
    "Entry",
    "Line",
    "Plane",
    "Split",
    "get",
    "load",
    "names",
    "read_idx",
    "split",
    "verify",
    "write_idx",
]
