"""What a run depended on beside its experiment: versions, machine, data, back end, command."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitspike import codec
from bitspike.errors import DataError
from bitspike.training.run_folder import RunFolder


def manifest(seed: int, data: dict[str, Any], backend: str, device: str, n_processes: int) -> dict[str, Any]:
    """Everything as JSON-ready values; `data` holds the data set's name, sizes and SHA-256 sums."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "seed": seed,
        "data": data,
        "backend": backend,
        "device": device,
        "processes": n_processes,
        "threads": torch.get_num_threads(),
        "versions": {
            "bitspike": _version("bitspike"),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "git": git_revision(Path(__file__).parent),
        "machine": {
            "system": platform.platform(),
            "processor": processor(),
            "cores": os.cpu_count(),
            "instruction_set": torch.backends.cpu.get_cpu_capability(),
        },
    }


def write_manifest(
    folder: RunFolder,
    seed: int,
    data: dict[str, Any],
    backend: str,
    device: str,
    n_processes: int,
    epoch: int,
    changes: dict[str, Any],
    ended: bool = False,
) -> None:
    """Write manifest.json, or, after `epoch` > 0, note in it that the run goes on; other data raise `DataError`.

    Of a run that has `ended` nothing is written. `changes`: what holds from here on, by dotted name, (before, after).
    """
    now = manifest(seed, data, backend, device, n_processes)
    if epoch:
        before = folder.manifest()
        if not _same_data(before.get("data"), data):
            raise DataError(f"{folder.path}: the data are not those that the run began with")
        if ended:
            return
        now |= {"after_epoch": epoch}
        if changes:
            now["changes"] = {name: codec.plain(pair) for name, pair in changes.items()}
        now = before | {"resumed": [*before.get("resumed", []), now]}
    folder.write_json("manifest.json", now)


def _same_data(before: Any, now: dict[str, Any]) -> bool:
    """Are these the same data? Older manifests say less of them."""
    return isinstance(before, dict) and before == {name: now[name] for name in before if name in now}


def git_revision(folder: Path) -> str | None:
    """Revision of the repository that tracks `folder` (`-dirty` when changed), None if none does."""
    command = ["git", "-C", str(folder)]
    try:
        tracked = subprocess.run(
            [*command, "ls-files", "--error-unmatch", "."], capture_output=True, timeout=10
        )
        if tracked.returncode != 0:
            return None
        described = subprocess.run(
            [*command, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "source"


def processor() -> str:
    """The name of this machine's processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
