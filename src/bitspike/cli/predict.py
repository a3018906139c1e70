"""`bitspike predict`: decide on images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import tyro

from bitspike.cli._terminal import Command, bind, table


def predict(
    model: tyro.conf.Positional[Path],
    files: tyro.conf.Positional[tuple[Path, ...]],
    *,
    backend: Literal["auto", "native", "reference"] = "auto",
) -> dict[str, Any]:
    """Decide on the images of png, npy or idx files with a packed model: label, probability, decision time.

    example: bitspike predict runs/first/model.bitspike seven.png more.npy

    Args:
        model: a model file
        files: png (one image), npy or idx (one or many)
        backend: what runs the model
    """
    from bitspike.data.images import read_inputs
    from bitspike.deploy.engine import load
    from bitspike.errors import UsageError

    if not files:
        raise UsageError("which images? bitspike predict MODEL FILE...")
    packed = load(model, backend)
    height, width = (1, *packed.contents.input_shape)[-2:]  # a model of plain features takes rows
    inputs = [(file, read_inputs(file, (height, width))) for file in files]
    rows = []
    for file, images in inputs:
        flat = images.reshape(len(images), -1)
        decided, probabilities = packed.decide(flat), packed.predict_proba(flat)
        for index, label in enumerate(decided.labels.tolist()):
            rows.append(
                {
                    "file": str(file),
                    "image": index,
                    "label": packed.classes[label],
                    "probability": round(float(probabilities[index, label]), 6),
                    "decision_time": int(decided.decision_time[index]),
                    "silent": bool(decided.silent[index]),
                }
            )
    return {"predictions": rows}


def command(arguments: list[str]) -> Command:
    return bind(predict, arguments, "bitspike predict")


def show(result: dict[str, Any]) -> None:
    rows: list[dict[str, Any]] = result["predictions"]
    table(
        ["file", "image", "label", "probability", "decision time", "silent"], (row.values() for row in rows)
    )
