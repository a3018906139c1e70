"""`bitspike eval`: how right, how sure and how costly on test data."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tyro

from bitspike.cli import _uncertainty
from bitspike.cli._data import calibration_samples, changed_parts
from bitspike.cli._terminal import Command, bind, figures
from bitspike.errors import BitspikeError, UsageError

if TYPE_CHECKING:
    from bitspike.data import Dataset
    from bitspike.deploy.model import Model
    from bitspike.experiment import Data
    from bitspike.packed.operations import Operations
    from bitspike.prediction import Prediction

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
    plugin: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
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
        plugin: module with classes of your own that the model or the run uses; may be given several times
    """
    from bitspike.deploy.load import load
    from bitspike.metrics import model_bytes
    from bitspike.recipes import RECIPES
    from bitspike.training import RunFolder

    file, trained_on = model, None
    if model.is_dir():
        file, trained_on = model / "model.bitspike", RunFolder.open(model).experiment(plugin).data
    elif reference or verify:
        option = "--reference" if reference else "--verify"
        raise UsageError(f"{model} is not a run folder; {option} needs one, for the trained model lies there")
    strange = None if ood is None else _dataset(trained_on, ood, data_dir, model)
    packed = None if reference else load(file, backend, plugins=plugin)
    recipe = None if packed is None else RECIPES.get(packed.contents.recipe)
    dataset = _dataset(trained_on or (recipe.data if recipe else None), data, data_dir, model)
    proof = {"verified": _verified(model, file, dataset, plugin)} if verify else {}
    changed = [] if trained_on is None else changed_parts(model, dataset)
    own = trained_on is not None and data in (None, trained_on.name) and not changed
    found = (
        _trained(model, dataset, strange, plugin)
        if packed is None
        else _packed(packed, dataset, strange, file, calibration_samples(model) if own else None)
    )
    if changed:
        parts = ", ".join(changed)
        print(
            f"warning: these are not the data that {model} was trained on: {parts} changed", file=sys.stderr
        )
    return {
        "model": str(model),
        **found,
        **proof,
        **({"changed_data": changed} if changed else {}),
        "model_bytes": model_bytes(file) if file.is_file() else None,
    }


@dataclass(frozen=True)
class _Decided:
    """Decisions on the test inputs of a data set, and what they were made by."""

    prediction: Prediction
    dataset: Dataset
    n_steps: int
    backend: str
    seconds: float

    def figures(self, one_bit: bool, work: Operations) -> dict[str, Any]:
        """Those of a classification."""
        import torch

        from bitspike.metrics import summarise

        kind: Literal["binary", "real"] = "binary" if one_bit else "real"
        labels = torch.from_numpy(self.dataset.test_labels)
        summary = summarise(self.prediction, labels, self.n_steps, kind, **asdict(work))
        return {**self._about, **summary, "seconds": round(self.seconds, 6)}

    def regression(self) -> dict[str, Any]:
        """Root mean square and mean absolute error of the scaled targets, and the spread of a committee's members."""
        from bitspike.metrics.summary import summarise_regression

        targets = self.dataset.test_labels
        return {
            **self._about,
            **summarise_regression(self.prediction, targets),
            "n": len(targets),
            "n_steps": self.n_steps,
            "seconds": round(self.seconds, 6),
        }

    @property
    def _about(self) -> dict[str, Any]:
        return {"data": self.dataset.name, "note": self.dataset.note, "backend": self.backend}


def _packed(
    packed: Model, dataset: Dataset, strange: Dataset | None, file: Path, n_samples: int | None
) -> dict[str, Any]:
    _same_classes(len(packed.classes), dataset, file)
    _uncertainty.require_same_shape(dataset, strange)
    inputs = _rows(dataset.test_inputs)
    began = time.perf_counter()
    decided = packed.decide(inputs)
    seconds = time.perf_counter() - began
    needs_members = strange is not None or not dataset.classes
    prediction = (
        _predict(packed, inputs) if needs_members and packed.network.members else _alone(packed, decided)
    )
    made = _Decided(prediction, dataset, packed.n_steps, packed.backend, seconds)
    if not dataset.classes:
        return made.regression()
    found = made.figures(packed.one_bit, packed.network.operations(packed.inputs(inputs)))
    return found | _uncertainty.measure(
        prediction,
        dataset,
        packed.contents.conformal,
        n_samples,
        strange,
        lambda x: _predict(packed, _rows(x)),
    )


def _predict(packed: Model, inputs: Any) -> Prediction:
    """Decisions of a packed model, a committee's with those of its members."""
    decided, members = packed.decide_all(inputs)
    return _alone(packed, decided, None if members is None else members.swapaxes(0, 1))


def _alone(packed: Model, decided: Any, members: Any = None) -> Prediction:
    from bitspike.prediction import Prediction

    return Prediction.of(decided, packed.probabilities(decided), members)


def _rows(inputs: Any) -> Any:
    """Images as rows of pixels; recordings as they are."""
    return inputs.reshape(len(inputs), -1) if isinstance(inputs, np.ndarray) else inputs


def _trained(
    run: Path, dataset: Dataset, strange: Dataset | None, plugins: tuple[str, ...]
) -> dict[str, Any]:
    from bitspike.cli.pack import plain
    from bitspike.training import load_shipped
    from bitspike.training.encode import encode

    experiment, network = load_shipped(run, plugins)
    _uncertainty.require_same_shape(dataset, strange)
    predict = plain(network, experiment.coding)
    began = time.perf_counter()
    prediction = predict(dataset.test_inputs)
    seconds = time.perf_counter() - began
    _same_classes(network.n_classes if network.n_classes > 1 else 0, dataset, run)
    made = _Decided(prediction, dataset, experiment.coding.n_steps, "trained model", seconds)
    if not dataset.classes:
        return made.regression()
    work = network.work(encode(experiment.coding, dataset.test_inputs))
    found = made.figures(experiment.weights.one_bit, work)
    return found | _uncertainty.measure(prediction, dataset, (), None, strange, predict)


def _verified(run: Path, file: Path, dataset: Dataset, plugins: tuple[str, ...]) -> list[str]:
    """What was compared and found equal; a difference raises `BitspikeError` naming sample and quantity."""
    from bitspike.cli.pack import plain
    from bitspike.deploy import pack as deploy
    from bitspike.deploy.load import load
    from bitspike.ops.native import instruction_sets
    from bitspike.training import load_shipped

    experiment, network = load_shipped(run, plugins)
    engines = [load(file, plugins=plugins)]
    if engines[0].backend != "reference":
        engines = [load(file, isa=isa, plugins=plugins) for isa in instruction_sets()]
    raw = dataset.test_inputs
    inputs = engines[0].inputs(raw)  # recordings are coded once
    trained = plain(network, experiment.coding)(raw if isinstance(raw, np.ndarray) else inputs).decisions()
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


def _dataset(trained_on: Data | None, name: str | None, data_dir: Path | None, model: Path) -> Dataset:
    from bitspike.data import load
    from bitspike.training import RunFolder

    if name is None and trained_on is None:
        raise UsageError(
            f"{model} does not say what it was trained on; give --data NAME or --data idx:FOLDER"
        )
    if name is None and trained_on is not None:
        with RunFolder(model).blamed() if model.is_dir() else nullcontext():
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
