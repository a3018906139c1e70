"""`bitspike pack`: the model file of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from bitspike.cli._terminal import Command, bind
from bitspike.errors import BitspikeError, DataError, FormatError, UsageError

if TYPE_CHECKING:
    from bitspike.coding import SpikeList
    from bitspike.contracts import Coding
    from bitspike.deploy.model import Model
    from bitspike.experiment import Experiment
    from bitspike.networks.base import Network
    from bitspike.prediction import Prediction


def pack(
    run: tyro.conf.Positional[Path],
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    plugin: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
) -> dict[str, Any]:
    """Write the packed model of a finished run, and prove that both decide alike.

    The proof runs on the example images of the run; for recordings and regressions, on trains or inputs drawn at random
    (`bitspike eval RUN --verify` proves it on the whole test data).

    example: bitspike pack runs/first -o digits.bitspike

    Args:
        run: a run folder
        output: file to write; default RUN/model.bitspike
        plugin: module with classes of your own that the run uses; may be given several times
    """
    from bitspike.deploy import pack as deploy
    from bitspike.training import load_shipped

    path = output or run / "model.bitspike"
    if not path.parent.is_dir():
        raise DataError(f"{path.parent} is not a folder; make it, or give another place with -o")
    experiment, network = load_shipped(run, plugin)
    try:
        packed = _proved(run, network, experiment)
    except UsageError as error:
        raise DataError(f"{run} cannot be packed: {error}") from error
    n_bytes = deploy.save(packed, path)
    return {"model": str(path), "bytes": n_bytes, **packed.footprint(), "backend": packed.backend}


def _proved(run: Path, network: Network, experiment: Experiment) -> Model:
    """The packed model of a run, which decides as the trained one does on inputs that the run kept, or drawn ones."""
    from bitspike.deploy import pack as deploy
    from bitspike.metrics.conformal import GRID
    from bitspike.packed.conformal import read_quantiles
    from bitspike.report.record import read_record
    from bitspike.training import RunFolder
    from bitspike.training.checkpoint import load_checkpoint

    record, coding = read_record(run), experiment.coding
    if "classes" not in record.data:  # a regression has none
        raise DataError(f"{run}: manifest.json does not name the classes; train the run again")
    classes = record.data["classes"]
    images = record.arrays.get("example_images")  # uint8 (n, h, w)
    if images is None and not classes:
        images = _features(load_checkpoint(RunFolder.open(run).checkpoint).facts.input_shape)
    if coding.of_images and images is None:
        raise DataError(f"{run}: evaluation.safetensors has no example images; train the run again")
    packed = deploy.pack(network, experiment, classes, () if images is None else images.shape[1:])
    uncertainty = record.evaluation.get("uncertainty", {})
    if uncertainty.get("conformal_thresholds"):
        try:
            known = read_quantiles(uncertainty["conformal_thresholds"])
        except FormatError as error:
            raise DataError(f"{run / 'evaluation.json'}: {error}; train the run again") from error
        packed = deploy.with_conformal(packed, tuple(pair for pair in known if pair[0] in GRID))
    inputs = _drawn(coding) if images is None else images
    trained = plain(network, coding)
    fault = deploy.verify(packed, lambda x: trained(x).decisions(), inputs)
    if fault is not None:
        raise BitspikeError(f"{run}: the packed model decides differently, nothing was written: {fault}")
    return packed


def plain(network: Network, coding: Coding) -> Callable[[Any], Prediction]:
    """The trained network in plain PyTorch, without the engine it is compared with: inputs to a `Prediction`.

    Recordings may be coded already, as a `SpikeList`.
    """
    import copy

    from bitspike.coding import SpikeList
    from bitspike.training.encode import encode

    exact = copy.deepcopy(network)
    exact.snap()
    for part in exact.parts:
        part.backend = "reference"

    def predict(inputs: Any) -> Prediction:
        return exact.decide(inputs if isinstance(inputs, SpikeList) else encode(coding, inputs))

    return predict


def _features(shape: tuple[int, ...]) -> Any:
    """A dozen inputs at random, always the same, of a run that keeps none: a regression."""
    return np.random.default_rng(0).integers(0, 256, (12, *shape)).astype(np.uint8)


def _drawn(coding: Any) -> SpikeList:
    """A dozen spike trains of rising density, always the same."""
    from bitspike.coding import SpikeList

    rng = np.random.default_rng(0)
    share = np.geomspace(0.002, 0.3, 12)
    steps, channels = [], []
    for density in share:
        rows = np.flatnonzero(rng.random((coding.n_steps - 1) * coding.n_channels) < density)
        steps.append(rows // coding.n_channels + 1)
        channels.append(rows % coding.n_channels)
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in steps])])
    return SpikeList(
        np.concatenate(steps).astype(np.int16), np.concatenate(channels).astype(np.int32),
        offsets, coding.n_steps, coding.n_channels,
    )  # fmt: skip


def command(arguments: list[str]) -> Command:
    return bind(pack, arguments, "bitspike pack")


def show(result: dict[str, Any]) -> None:
    print(f"{result['model']}: {result['bytes']:,} bytes, {result['synapses']:,} synapses")
