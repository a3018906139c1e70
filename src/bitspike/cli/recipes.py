"""`bitspike recipes`: what there is to train."""

from __future__ import annotations

from typing import Any

from bitspike.cli._terminal import Command, bind, table


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


def show(result: dict[str, Any]) -> None:
    rows: dict[str, dict[str, Any]] = result["recipes"]
    widths = {name: "-".join(map(str, row["hidden"])) for name, row in rows.items()}
    fields = list(next(iter(rows.values())))
    table(
        ["recipe", *fields],
        ([name, *(row | {"hidden": widths[name]}).values()] for name, row in rows.items()),
    )
