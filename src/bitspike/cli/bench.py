"""`bitspike bench`: figures measured side by side in one run; nothing is quoted that was not measured."""

from __future__ import annotations

from typing import Any

import tyro

from bitspike.cli._terminal import Command, bind, table
from bitspike.errors import UsageError, nearest


def bench(name: tyro.conf.Positional[str | None] = None) -> dict[str, Any]:
    """Run one benchmark, or all of them, or list those there are.

    example: bitspike bench inference

    Args:
        name: a benchmark, or `all`; without it they are listed
    """
    from bitspike.bench import BENCHMARKS

    if name is None:
        lines = {title: (benchmark.__doc__ or "").split("\n")[0] for title, benchmark in BENCHMARKS.items()}
        return {"benchmarks": lines}
    if name != "all" and name not in BENCHMARKS:
        raise UsageError(
            f"there is no benchmark {name!r}{nearest(name, BENCHMARKS)}; bitspike bench lists them"
        )
    chosen = BENCHMARKS if name == "all" else {name: BENCHMARKS[name]}
    return {"results": {title: benchmark() for title, benchmark in chosen.items()}}


def command(arguments: list[str]) -> Command:
    return bind(bench, arguments, "bitspike bench")


def show(result: dict[str, Any]) -> None:
    if "results" not in result:
        table(["benchmark", "what it measures"], result["benchmarks"].items())
        return
    rows: list[dict[str, Any]]
    for name, rows in result["results"].items():
        print(f"\n{name}")
        table(list(rows[0]), (row.values() for row in rows))
