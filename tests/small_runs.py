"""A small experiment on the embedded digits, what its run leaves, and runs that are interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bitspike.coding import Pixel
from bitspike.experiment import Experiment, Training
from bitspike.recipes.bnn import bnn_digits
from bitspike.rules.bnn import BNN
from bitspike.settings import IF
from bitspike.training import RunFolder


def small(**changes: Any) -> Experiment:
    base = Experiment(
        "small",
        coding=Pixel(),
        network=IF(hidden=(30,)),
        rule=BNN(),
        weights=bnn_digits.weights,
        optimizer=bnn_digits.optimizer,
        training=Training(epochs=3, batch_size=50),
    )
    return replace(base, **changes)


def results(folder: Path) -> dict[str, bytes]:
    """What must not depend on how a run came to its end: results, without times of day."""
    names = ("checkpoint.safetensors", "evaluation.json", "evaluation.safetensors", "experiment.json")
    return {name: (folder / name).read_bytes() for name in names}


def timeless(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Metrics without what a clock says."""
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in lines]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@contextmanager
def interrupted(epoch: int, written: bool) -> Iterator[None]:
    """What runs here ends by Ctrl-C as an epoch's metrics are to be written, after (`written`) or before they are."""
    write = RunFolder.append_metrics

    def interrupt(folder: RunFolder, figures: dict[str, Any]) -> None:
        if figures["epoch"] != epoch or written:
            write(folder, figures)
        if figures["epoch"] == epoch:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "append_metrics", interrupt)
        with pytest.raises(KeyboardInterrupt):
            yield
