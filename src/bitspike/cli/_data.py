"""Are the data those that a run was trained on?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bitspike.data import Dataset


def changed_parts(run: Path, dataset: Dataset) -> list[str]:
    """Parts of a data set of the run's own name whose SHA-256 is not the one in the run's manifest.

    Nothing is said of another data set, or where a run does not know.
    """
    from bitspike.errors import DataError
    from bitspike.training import RunFolder

    try:
        manifest = RunFolder(run).read_json("manifest.json")
    except DataError:
        return []
    data = manifest.get("data") if isinstance(manifest, dict) else None
    known = data.get("sha256") if isinstance(data, dict) and data.get("name") == dataset.name else None
    if not isinstance(known, dict):
        return []
    return sorted(part for part, digest in dataset.hashes.items() if known.get(part, digest) != digest)
