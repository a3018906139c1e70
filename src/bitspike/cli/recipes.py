"""`bitspike recipes`: what there is to train."""

from __future__ import annotations

import shutil
import sys
from typing import Any

from bitspike.cli._terminal import Command, bind, cell, table

GAP = 3  # characters between columns of a table


def recipes() -> dict[str, Any]:
    """List the recipes.

    Each is a complete experiment; every field can be changed on the command line of `train`.

    example: bitspike recipes --json
    """
    from bitspike.recipes import RECIPES

    rows = {
        name: {
            "data": recipe.data.name,
            "rule": type(recipe.rule).__name__,
            "weights": recipe.weights.kind,
            "hidden": list(recipe.network.hidden),
            "coding": type(recipe.coding).__name__,
            "steps": recipe.coding.n_steps,
            "epochs": recipe.training.epochs,
        }
        for name, recipe in RECIPES.items()
    }
    return {"recipes": rows}


def command(arguments: list[str]) -> Command:
    return bind(recipes, arguments, "bitspike recipes")


COLUMNS = (
    "data",
    "rule",
    "weights",
    "epochs",
    "steps",
    "hidden",
    "coding",
)  # the first are shown in any window


def show(result: dict[str, Any]) -> None:
    rows = {
        name: {**row, "hidden": "-".join(map(str, row["hidden"]))} for name, row in result["recipes"].items()
    }
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    columns = fitting(rows, width)
    table(["recipe", *columns], ([name, *(row[column] for column in columns)] for name, row in rows.items()))
    if len(columns) < len(COLUMNS):
        print(f"bitspike recipes --json has {', '.join(COLUMNS[len(columns) :])} as well", file=sys.stderr)


def fitting(rows: dict[str, dict[str, Any]], width: int | None) -> tuple[str, ...]:
    """The columns that fit beside the names without a line break in a window of `width` characters; None: all."""
    used, columns = max(map(len, rows)), list[str]()
    for column in COLUMNS:
        used += GAP + max(len(column), *(len(cell(row[column])) for row in rows.values()))
        if width is not None and used > width:
            break
        columns.append(column)
    return tuple(columns)
