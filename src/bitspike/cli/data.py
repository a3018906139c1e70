"""`bitspike data`: which data sets there are, and whether their files are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import tyro

from bitspike.cli._terminal import Command, bind, table
from bitspike.errors import BitspikeError, UsageError


def data(
    action: tyro.conf.Positional[Literal["list", "get", "verify"]],
    name: tyro.conf.Positional[str | None] = None,
    *,
    data_dir: Path | None = None,
) -> dict[str, Any]:
    """List data sets, fetch one, or compare files with the published SHA-256.

    Files are looked for in the data folder given, in the folder named by BITSPIKE_DATA, and in the cache of
    downloads. `verify` without a name checks every data set of which something is there.

    example: bitspike data get mnist && bitspike data verify mnist

    Args:
        action: list, get or verify
        name: a data set; see `bitspike data list`
        data_dir: folder that holds one folder per data set
    """
    from bitspike.data import CATALOG, get, verify

    if action == "list":
        return {"data": {known: _facts(known, data_dir) for known in CATALOG}}
    if action == "get":
        if name is None:
            raise UsageError(f"which data set? bitspike data get {{{','.join(CATALOG)}}}")
        return {"name": name, "files": {file: str(path) for file, path in get(name, data_dir).items()}}
    checks = {known: verify(known, data_dir) for known in ([name] if name else CATALOG)}
    there = {known: found for known, found in checks.items() if name or any(check.path for check in found)}
    wrong = [f"{c.path or c.file}: {c.message}" for found in there.values() for c in found if not c.ok]
    if wrong:
        raise BitspikeError("\n  ".join(["files that are not as published:", *wrong]))
    return {"verified": {known: {c.file: c.message for c in found} for known, found in there.items()}}


def _facts(name: str, data_dir: Path | None) -> dict[str, Any]:
    from bitspike.data import CATALOG
    from bitspike.data.files import locate

    known = CATALOG[name]
    return {
        "there": all(locate(known, file, data_dir) for file in known.files),
        "megabytes": round(known.n_bytes / 1e6, 1),
        "title": known.title,
        "licence": known.licence,
        "note": known.note,
    }


def command(arguments: list[str]) -> Command:
    return bind(data, arguments, "bitspike data")


def show(result: dict[str, Any]) -> None:
    if "data" in result:
        rows = result["data"].items()
        table(
            ["name", "there", "MB", "what", "licence"],
            ([name, *list(row.values())[:4]] for name, row in rows),
        )
    elif "files" in result:
        for path in result["files"].values() or ["embedded, nothing to fetch"]:
            print(path)
    else:
        rows = [(n, f, message) for n, files in result["verified"].items() for f, message in files.items()]
        table(["data set", "file", "content"], rows)
