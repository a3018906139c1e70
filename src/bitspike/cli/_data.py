"""What a run knows of its data: are these the same, and how many of them were held out to calibrate on?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bitspike.data import Dataset


def changed_parts(run: Path, dataset: Dataset) -> list[str]:
    """Parts of a data set of the run's own name whose SHA-256 is not the one in the run's manifest.

    Nothing is said of another data set, or where a run does not know.
    """
    from bitspike.training import RunFolder

    if not (run / "manifest.json").exists():
        return []
    data = RunFolder(run).manifest().get("data", {})
    known = data.get("sha256", {}) if data.get("name") == dataset.name else {}
    return sorted(part for part, digest in dataset.hashes.items() if known.get(part, digest) != digest)


def calibration_samples(run: Path) -> int | None:
    """How many samples the conformal thresholds of a run come from; None where it does not say."""
    from bitspike.training import RunFolder

    if not (run / "evaluation.json").exists():
        return None
    return RunFolder(run).evaluation().get("uncertainty", {}).get("conformal_samples") or None
