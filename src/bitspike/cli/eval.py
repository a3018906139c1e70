"""`bitspike eval`: how right, how sure and how costly on test data."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tyro

from bitspike.cli import _uncertainty
from bitspike.cli._terminal import Command, bind, figures
from bitspike.errors import BitspikeError, UsageError

if TYPE_CHECKING:
    from bitspike.contracts import Prediction
    from bitspike.data import Dataset
    from bitspike.experiment import Data

Backend = Literal["auto", "native", "reference"]


def evaluate(
    model: tyro.conf.Positional[Path],
    *,
    data: str | None = None,
    data_dir: Path | None = None,
    backend: Backend = "auto",
    reference: bool = False,
    verify: bool = False,
    ood: str | None = None,
) -> dict[str, Any]:
    """Evaluate a packed model, or that of a run, on the test data. docs/metrics.md defines the figures.

    example: bitspike eval runs/first --json

    example: bitspike eval digits.bitspike --data idx:my-digits

    example: bitspike eval runs/mnist --ood fashion

    Args:
        model: a run folder or a model file
        data: data set, or idx:FOLDER; default the one it was trained on
        data_dir: folder that holds one folder per data set
        backend: what runs the packed model
        reference: evaluate the trained model in plain PyTorch instead of the packed one (run folders only)
        verify: prove first that the packed model decides every test input as the trained one does in plain PyTorch,
            and as the numpy reference, for every instruction set of this machine (run folders only)
        ood: another data set of inputs of the same shape, or idx:FOLDER: are its test inputs told from the others?
    """
    from bitspike.metrics import model_bytes
    from bitspike.training import RunFolder

    file, trained_on = model, None
    if model.is_dir():
        file, trained_on = model / "model.bitspike", RunFolder.open(model).experiment().data
    elif reference or verify:
        option = "--reference" if reference else "--verify"
        raise UsageError(f"{model} is no run folder; {option} needs one, for the trained model lies there")
    strange = None
    if ood is not None:
        strange = _dataset(trained_on, ood, data_dir, model)
    proof = (
        {"verified": _verified(model, file, _dataset(trained_on, data, data_dir, model))} if verify else {}
    )
    if reference:
        found = _trained(model, _dataset(trained_on, data, data_dir, model), strange)
    else:
        found = _packed(file, trained_on, data, data_dir, backend, strange)
    return {
        "model": str(model),
        **found,
        **proof,
        "model_bytes": model_bytes(file) if file.is_file() else None,
    }


def _packed(
    file: Path, trained_on: Data | None, data: str | None, data_dir: Path | None, backend: Backend,
    strange: Dataset | None,
) -> dict[str, Any]:  # fmt: skip
    from bitspike.deploy.load import load
    from bitspike.recipes import RECIPES

    packed = load(file, backend)
    recipe = RECIPES.get(packed.contents.recipe)
    dataset = _dataset(trained_on or (recipe.data if recipe else None), data, data_dir, file)
    _same_classes(len(packed.classes), dataset, file)
    _uncertainty.require_same_shape(dataset, strange)
    inputs = dataset.test_inputs
    prediction, seconds = _decide(packed, inputs, strange is not None or not dataset.classes)
    if not dataset.classes:
        return _regression(prediction, dataset, packed.n_steps, packed.backend, seconds)
    work, kind = _packed_work(packed, inputs), "binary" if packed.one_bit else "real"
    found = _figures(prediction, dataset, packed.n_steps, kind, packed.backend, seconds, work)
    quantiles = packed.contents.conformal
    return found | _uncertainty.measure(
        prediction, dataset, quantiles, strange, lambda x: _decide(packed, x, True)[0]
    )


def _packed_work(model: Any, inputs: Any) -> dict[str, float]:
    """What `training.work.work_of` says of the trained model, said of the packed one."""
    from bitspike.coding import Direct
    from bitspike.metrics.spikes import train_work
    from bitspike.packed.lif.network import LIFPacked
    from bitspike.packed.srm.network import SRMPacked

    members = getattr(model, "members", None)
    if members is not None:
        parts = [_packed_work(member, inputs) for member in members]
        return {name: sum(part.get(name, 0.0) for part in parts) for name in set().union(*parts)}
    network = model.network
    if not isinstance(network, LIFPacked | SRMPacked):
        return {}
    images = inputs.reshape(len(inputs), -1) if isinstance(network.coding, Direct) else None
    return train_work([layer.operator for layer in network.layers], network.n_steps, images)


def _decide(packed: Any, inputs: Any, with_members: bool) -> tuple[Prediction, float]:
    """Decisions of a packed model, a committee's with those of its members, and the seconds that deciding took."""
    import torch

    from bitspike.contracts import Prediction

    if isinstance(inputs, np.ndarray):
        inputs = inputs.reshape(len(inputs), -1)
    began = time.perf_counter()
    decided = packed.decide(inputs)
    seconds = time.perf_counter() - began
    arrays = {name: torch.from_numpy(value) for name, value in vars(decided).items()}
    if with_members and hasattr(packed, "member_probabilities"):
        arrays["members"] = torch.from_numpy(packed.member_probabilities(inputs)).transpose(0, 1)
    return Prediction(probabilities=torch.from_numpy(packed.probabilities(decided)), **arrays), seconds


def _trained(run: Path, dataset: Dataset, strange: Dataset | None) -> dict[str, Any]:
    from bitspike.cli.pack import plain
    from bitspike.training import load_shipped
    from bitspike.training.work import work_of

    experiment, model = load_shipped(run)
    _uncertainty.require_same_shape(dataset, strange)
    predict = plain(experiment, model)
    began = time.perf_counter()
    prediction = predict(dataset.test_inputs)
    seconds = time.perf_counter() - began
    n_classes = prediction.probabilities.shape[1]
    _same_classes(n_classes if n_classes > 1 else 0, dataset, run)
    kind, n_steps = "binary" if experiment.weights.one_bit else "real", experiment.coding.n_steps
    if not dataset.classes:
        return _regression(prediction, dataset, n_steps, "trained model", seconds)
    images = dataset.test_inputs
    work = work_of(model, images.reshape(len(images), -1) if isinstance(images, np.ndarray) else None)
    found = _figures(prediction, dataset, n_steps, kind, "trained model", seconds, work)
    return found | _uncertainty.measure(prediction, dataset, (), strange, predict)


def _verified(run: Path, file: Path, dataset: Dataset) -> list[str]:
    """What was compared and found equal; a difference raises `BitspikeError` naming sample and quantity."""
    from bitspike.cli.pack import plain
    from bitspike.deploy import pack as deploy
    from bitspike.deploy.load import load
    from bitspike.deploy.srm_model import SRMModel
    from bitspike.deploy.train_model import TrainModel
    from bitspike.ops.native import instruction_sets
    from bitspike.training import load_shipped

    experiment, model = load_shipped(run)
    engines = [load(file)]
    if engines[0].backend != "reference":
        engines = [load(file, isa=isa) for isa in instruction_sets()]
    inputs = dataset.test_inputs
    if isinstance(engines[0], TrainModel | SRMModel):
        inputs = engines[0].inputs(inputs)  # recordings are coded once
    trained = plain(experiment, model)(inputs)
    truth = deploy.truth(engines[0], inputs)
    for engine in engines:
        decided = engine.decide(inputs)
        fault = deploy.difference(decided, truth, f"{engine.backend} and the numpy reference")
        fault = fault or deploy.difference(
            decided, trained, f"{engine.backend} and the trained model", deploy.unlike(engine)
        )
        if fault is not None:
            raise BitspikeError(f"{run}: {fault}")
    return [engine.backend for engine in engines]


def _figures(
    prediction: Any,
    dataset: Dataset,
    n_steps: int,
    weights: Any,
    backend: str,
    seconds: float,
    work: dict[str, float],
) -> dict[str, Any]:
    import torch

    from bitspike.metrics import summarise

    summary = summarise(prediction, torch.from_numpy(dataset.test_labels), n_steps, weights, **work)
    about = {"data": dataset.name, "note": dataset.note, "backend": backend}
    return {**about, **summary, "seconds": round(seconds, 6)}


def _regression(
    prediction: Any, dataset: Dataset, n_steps: int, backend: str, seconds: float
) -> dict[str, Any]:
    """Root mean square and mean absolute error of the scaled targets, and the spread of a committee's members."""
    value, targets = prediction.potentials[:, 0].double().numpy(), dataset.test_labels
    figures = {
        "rmse": float(np.sqrt(np.square(value - targets).mean())), "mae": float(np.abs(value - targets).mean()),
        "spikes": float(prediction.n_spikes.double().mean()),
        "synops": float(prediction.n_synops.double().mean()), "n": len(targets), "n_steps": n_steps,
    }  # fmt: skip
    if prediction.members is not None:
        figures["spread"] = float(prediction.members[:, :, 0].double().std(1).mean())
    about = {"data": dataset.name, "note": dataset.note, "backend": backend}
    return {**about, **figures, "seconds": round(seconds, 6)}


def _dataset(trained_on: Data | None, name: str | None, data_dir: Path | None, model: Path) -> Dataset:
    from bitspike.data import load

    if name is None and trained_on is None:
        raise UsageError(
            f"{model} does not say what it was trained on; give --data NAME or --data idx:FOLDER"
        )
    if name is None and trained_on is not None:
        return load(trained_on.name, data_dir or trained_on.dir)
    return load(str(name), data_dir or (trained_on.dir if trained_on else None))


def _same_classes(n_classes: int, dataset: Dataset, model: Path) -> None:
    if n_classes != dataset.n_classes:
        raise UsageError(
            f"{dataset.name} has {dataset.n_classes} classes, {model} knows {n_classes}; give other --data"
        )


def command(arguments: list[str]) -> Command:
    return bind(evaluate, arguments, "bitspike eval")


def show(result: dict[str, Any]) -> None:
    uncertainty = result.get("uncertainty", {})
    figures(result | uncertainty)
    _uncertainty.show(uncertainty)
    if "verified" in result:
        print(f"verified on every input: {', '.join(result['verified'])} = plain PyTorch = numpy reference")
