"""`bitspike pack`: the model file of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from bitspike.cli._terminal import Command, bind
from bitspike.errors import BitspikeError, DataError

if TYPE_CHECKING:
    from torch import nn

    from bitspike.experiment import Experiment


def pack(
    run: tyro.conf.Positional[Path],
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
) -> dict[str, Any]:
    """Write the packed model of a finished run, and prove on its example images that both decide alike.

    example: bitspike pack runs/first -o digits.bitspike

    Args:
        run: a run folder
        output: file to write; default RUN/model.bitspike
    """
    from bitspike.deploy import pack as deploy
    from bitspike.report.record import read_record
    from bitspike.training import load_model

    experiment, model = load_model(run)
    record = read_record(run)
    if not record.has("example_images"):
        raise DataError(f"{run}: evaluation.safetensors has no example images; train the run again")
    images = record.arrays["example_images"]  # uint8 (n, h, w)
    classes = record.manifest.get("data", {}).get("classes")
    if not classes:
        raise DataError(f"{run}: manifest.json does not name the classes; train the run again")
    packed = deploy.pack(model, experiment, classes, images.shape[1:])
    fault = deploy.verify(packed, plain(experiment, model), images)
    if fault is not None:
        raise BitspikeError(f"{run}: the packed model decides differently, nothing was written: {fault}")
    path = output or run / "model.bitspike"
    if not path.parent.is_dir():
        raise DataError(f"{path.parent} is no folder; make it, or give another place with -o")
    n_bytes = deploy.save(packed, path)
    return {"model": str(path), "bytes": n_bytes, **packed.footprint(), "backend": packed.backend}


def plain(experiment: Experiment, model: nn.Module) -> Callable[[Any], Any]:
    """The trained model in plain PyTorch, without the engine it is compared with: uint8 images to a `Prediction`."""
    import torch

    from bitspike.deploy.pack import snapped
    from bitspike.training.evaluate import encode, predict_all

    exact: Any = snapped(model)
    exact.backend = "reference"

    def predict(images: Any) -> Any:
        return predict_all(
            experiment.rule, exact, encode(experiment, torch.tensor(images)), torch.Generator()
        )

    return predict


def command(arguments: list[str]) -> Command:
    return bind(pack, arguments, "bitspike pack")


def show(result: dict[str, Any]) -> None:
    print(f"{result['model']}: {result['bytes']:,} bytes, {result['synapses']:,} synapses")
