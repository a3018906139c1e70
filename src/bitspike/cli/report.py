"""`bitspike report`: one page about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tyro

from bitspike.cli._terminal import Command, bind


def report(run: tyro.conf.Positional[Path]) -> dict[str, Any]:
    """Write report.html into a run folder: one self-contained page, nothing is loaded from elsewhere.

    example: bitspike report runs/first

    Args:
        run: a run folder
    """
    from bitspike.report import write_report

    return {"report": str(write_report(run))}


def command(arguments: list[str]) -> Command:
    return bind(report, arguments, "bitspike report")


def show(result: dict[str, Any]) -> None:
    print(result["report"])
