"""Run every benchmark and write docs/speed.md: `python benchmarks/speed.py`. Leave the machine alone meanwhile."""

from __future__ import annotations

import os
import platform
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

from bitspike.bench import BENCHMARKS
from bitspike.training.manifest import processor

PAGE = Path(__file__).resolve().parent.parent / "docs" / "speed.md"
HEAD = """Written by `python benchmarks/speed.py`; `make bench` prints the same tables, `make bench-rivals` installs
the libraries compared with. All rows of a table were measured in one run, taking turns; figures are medians."""
RIVALS = ("torch", "snntorch", "spikingjelly", "norse")


def table(rows: list[dict[str, Any]]) -> str:
    """Rows with the same keys as a Markdown table; numbers to the right."""
    keys = list(rows[0])
    numeric = [not isinstance(rows[0][key], str) for key in keys]
    lines = [keys, ["---:" if right else "---" for right in numeric]]
    lines += [
        [f"{row[key]:,}" if right else str(row[key]) for key, right in zip(keys, numeric, strict=True)]
        for row in rows
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def versions() -> str:
    """What was installed, rivals included."""
    lines = []
    for name in RIVALS:
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} not installed")
    return ", ".join(lines)


if __name__ == "__main__":
    parts = [
        "# Speed",
        HEAD,
        f"{date.today()}, {processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions()}.",
    ]
    for name, benchmark in BENCHMARKS.items():
        parts += [f"## {name}", (benchmark.__doc__ or "").strip().split("\n")[0], table(benchmark())]
    PAGE.write_text("\n\n".join(parts) + "\n")
    print(PAGE.read_text())
