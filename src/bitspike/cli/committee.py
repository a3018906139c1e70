"""`bitspike committee`: several runs or models in one file, deciding together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro

from bitspike.cli._data import changed_parts
from bitspike.cli._terminal import Command, bind
from bitspike.errors import BitspikeError, DataError, UsageError

if TYPE_CHECKING:
    from bitspike.data import Dataset
    from bitspike.deploy.model import Model
    from bitspike.experiment import Experiment
    from bitspike.networks.base import Network

LEAST_COMMON = 500  # validation inputs that a temperature is fitted to, where the runs hold out so many


def committee(
    members: tyro.conf.Positional[tuple[Path, ...]],
    *,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    average: Literal["probability", "potential"] = "probability",
    draws: int = 0,
    snapshots: bool = False,
    data_dir: Path | None = None,
    plugin: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
) -> dict[str, Any]:
    """Write one model file that holds several, whose probabilities are averaged.

    A run gives its model, as calibrated; a Bayesian one `draws` networks, each calibrated by itself. The committee's
    temperature and its conformal thresholds are fitted to inputs that every run held out for validation.

    example: bitspike committee runs/seed1 runs/seed2 runs/seed3 -o three.bitspike

    example: bitspike committee runs/bayes -o drawn.bitspike --draws 10

    Args:
        members: run folders, model files, or both; of a committee its members
        output: file to write
        average: of the members' probabilities, or of their potentials
        draws: networks drawn from each run, whose weights must be of kind bernoulli; 0 takes the run's model
        snapshots: the models kept after the last epochs of each run (training.keep) instead of the run's model
        data_dir: folder that holds one folder per data set
        plugin: module with classes of your own that the members use; may be given several times
    """
    from bitspike.deploy import pack as deploy
    from bitspike.deploy.load import load
    from bitspike.deploy.model import Model
    from bitspike.packed.committee import CommitteePacked
    from bitspike.packed.contents import Contents

    if not members:
        raise UsageError("which members? bitspike committee RUN_OR_MODEL... -o FILE")
    if draws < 0 or (draws and snapshots):
        raise UsageError(f"draws is {draws}; give 0 or more, and not together with --snapshots")
    if not output.parent.is_dir():
        raise DataError(f"{output.parent} is not a folder; make it, or give another place with -o")
    runs = [_Run.open(path, data_dir, plugin) for path in members if path.is_dir()]
    files = [path for path in members if not path.is_dir()]
    if (draws or snapshots) and files:
        raise UsageError(f"{files[0]} is a model file; --draws and --snapshots need runs")
    models, names = [], {run.experiment.name for run in runs}
    for run in runs:
        models += run.drawn(draws) if draws else run.kept() if snapshots else [run.model()]
    models += [load(path, plugins=plugin) for path in files]
    single = [one for model in models for one in model.network.members or (model.contents,)]
    names |= {one.recipe for one in single}
    first, recipe = single[0], names.pop() if len(names) == 1 else ""
    network = CommitteePacked(tuple(single), average)
    joined = Model(Contents(network, first.input_shape, first.classes, recipe=recipe))
    found: dict[str, Any] = {"temperature": 1.0, "fitted_to": 0}
    if runs and not files and joined.classes:
        joined, found = _calibrated(joined, *_common(runs))
    fault = deploy.verify(joined, None, runs[0].held().inputs[:20]) if runs else None
    if fault is not None:
        raise BitspikeError(f"the engines decide differently, nothing was written: {fault}")
    n_bytes = deploy.save(joined, output)
    return {
        "model": str(output), "bytes": n_bytes, **joined.footprint(), "average": average, **found,
        "backend": joined.backend,
    }  # fmt: skip


@dataclass(frozen=True)
class _Run:
    """A finished run and the data it was trained on."""

    path: Path
    experiment: Experiment
    dataset: Dataset
    plugins: tuple[str, ...] = ()

    @staticmethod
    def open(path: Path, data_dir: Path | None, plugins: tuple[str, ...]) -> _Run:
        from bitspike.data import load
        from bitspike.training import RunFolder

        folder = RunFolder.open(path)
        experiment = folder.experiment(plugins)
        with folder.blamed():
            dataset = load(experiment.data.name, data_dir or experiment.data.dir)
        if changed := changed_parts(path, dataset):
            raise DataError(
                f"{path} was trained on other data of the name {dataset.name} ({', '.join(changed)} changed); the "
                "committee would be fitted to what its members may know: give the run's own data by --data-dir"
            )
        return _Run(path, experiment, dataset, plugins)

    def rows(self) -> Any:
        """The numbers of the training inputs that were held out."""
        from bitspike.data.dataset import held_out

        data = self.experiment.data
        return held_out(len(self.dataset.train_inputs), data.validation, self.experiment.split_seed)[0]

    def held(self, rows: Any = None) -> _Held:
        rows = self.rows() if rows is None else rows
        return _Held(self.dataset.train_inputs[rows], self.dataset.train_labels[rows])

    def model(self) -> Any:
        """The run's model file; packed now where there is none."""
        from bitspike.cli.pack import pack
        from bitspike.deploy.load import load

        file = self.path / "model.bitspike"
        if not file.is_file():
            pack(self.path, plugin=self.plugins)
        return load(file, plugins=self.plugins)

    def drawn(self, draws: int) -> list[Any]:
        """Networks drawn from the run's posterior."""
        from bitspike.networks.posterior import draw
        from bitspike.training.load import load_best
        from bitspike.training.randomness import generator

        experiment, posterior = load_best(self.path, self.plugins)
        if experiment.weights.kind != "bernoulli":
            raise UsageError(
                f"{self.path} has weights of kind {experiment.weights.kind}, no posterior to draw from; train with "
                "--weights.kind bernoulli, or leave out --draws"
            )
        noise = generator(experiment.seed, "draw")
        return self._packed([draw(posterior, noise) for _ in range(draws)])

    def kept(self) -> list[Any]:
        """The run's snapshots."""
        from bitspike.training import load_snapshots

        return self._packed(load_snapshots(self.path, self.plugins)[1])

    def _packed(self, networks: Sequence[Network]) -> list[Any]:
        """Networks, each finished on what this run held out, and packed."""
        import torch

        from bitspike.contracts import Batch
        from bitspike.deploy.pack import pack
        from bitspike.training.encode import encode

        experiment, held = self.experiment, self.held()
        batch = Batch(encode(experiment.coding, held.inputs), torch.from_numpy(held.labels))
        shape = held.inputs.shape[1:] if isinstance(held.inputs, np.ndarray) else ()
        for network in networks:
            network.finish(batch, experiment.training.max_silent)
        return [pack(network, experiment, self.dataset.classes, shape) for network in networks]


@dataclass(frozen=True)
class _Held:
    inputs: Any
    labels: Any


def _common(runs: list[_Run]) -> tuple[Any, Any]:
    """Inputs and labels that every run held out."""
    first = runs[0]
    for run in runs[1:]:
        if run.dataset.hashes != first.dataset.hashes or run.dataset.name != first.dataset.name:
            raise UsageError(
                f"{first.path} was trained on {first.dataset.name}, {run.path} on {run.dataset.name}"
            )
    rows, fewest = first.rows(), len(first.rows())
    for run in runs[1:]:
        rows, fewest = np.intersect1d(rows, run.rows()), min(fewest, len(run.rows()))
    if len(rows) < min(LEAST_COMMON, fewest):
        raise UsageError(
            f"the runs have {len(rows)} validation inputs in common, too few to fit a temperature to; train the "
            "members with the same --data.split"
        )
    held = first.held(rows)
    return held.inputs, held.labels


def _calibrated(model: Model, inputs: Any, labels: Any) -> tuple[Model, dict[str, Any]]:
    """The committee with a temperature and conformal thresholds fitted to held-out inputs, and what was found."""
    import torch

    from bitspike.deploy.model import Model
    from bitspike.metrics.calibration import fit_temperature
    from bitspike.metrics.conformal import conformal_grid, label_scores

    decided, truth = model.decide(inputs), torch.from_numpy(labels)
    temperature = fit_temperature(torch.from_numpy(decided.potentials), truth)
    warm = model.with_contents(replace(model.contents, temperature=temperature))
    quantiles = conformal_grid(label_scores(torch.from_numpy(warm.probabilities(decided)), truth))
    alone = [float((Model(one).predict(inputs) == labels).mean()) for one in model.network.members]
    return warm.with_contents(replace(warm.contents, conformal=tuple(quantiles))), {
        "temperature": temperature,
        "fitted_to": len(labels),
        "validation_accuracy": float((decided.labels == labels).mean()),
        "validation_accuracy_alone": alone,
    }


def command(arguments: list[str]) -> Command:
    return bind(committee, arguments, "bitspike committee")


def show(result: dict[str, Any]) -> None:
    print(
        f"{result['model']}: {result['bytes']:,} bytes, {result['members']} members, average of {result['average']}"
    )
    if not result["fitted_to"]:
        print("temperature 1: fitted to nothing, for what a model file has not been trained on is not known")
        return
    alone = result["validation_accuracy_alone"]
    print(f"temperature {result['temperature']:.3g}, fitted to {result['fitted_to']:,} held-out inputs")
    print(
        f"accuracy on them {100 * result['validation_accuracy']:.2f} %, of the members alone "
        f"{100 * min(alone):.2f} to {100 * max(alone):.2f} %"
    )
