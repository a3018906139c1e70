"""Images and labels: `load` a data set by name, `split` off validation data. Importable without torch."""

from bitspike.data.dataset import Dataset, Split, split
from bitspike.data.idx import read_idx, write_idx

__all__ = ["Dataset", "Split", "read_idx", "split", "write_idx"]
