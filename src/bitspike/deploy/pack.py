"""From a trained network to a packed model: `pack`, `save`, and `verify`, which proves that both decide alike."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bitspike.deploy.model import Model
from bitspike.packed import file
from bitspike.packed.conformal import Quantiles
from bitspike.packed.contents import Contents
from bitspike.packed.decisions import Decisions

if TYPE_CHECKING:
    from bitspike.experiment import Experiment
    from bitspike.networks.base import Network


def snapped(network: Network) -> Network:
    """A copy of a network that decides exactly as its packed file: real weights on the grid on which they ship."""
    result = copy.deepcopy(network)
    result.snap()
    return result


def pack(
    network: Network, experiment: Experiment, classes: Sequence[str], input_shape: Sequence[int]
) -> Model:
    """Pack a trained network, or a committee of them.

    `classes` names the outputs in order (none of a regression), `input_shape` is that of one image (recordings have
    that of their coding). Real weights are rounded by `snap`; the signs of binary ones are kept. A network that does
    not ship raises `UsageError`.
    """
    names, shape = tuple(str(name) for name in classes), tuple(int(size) for size in input_shape)
    contents: Contents = snapped(network).contents(shape, names, experiment.name)
    return Model(contents)


def with_conformal(model: Model, quantiles: Quantiles) -> Model:
    """The same model with these (alpha, threshold) pairs, alpha rising, in its file; see `Model.sets`."""
    return model.with_contents(dataclasses.replace(model.contents, conformal=tuple(quantiles)))


def save(model: Model, path: Path | str) -> int:
    """Write the model file, whole or not at all; returns its size in bytes."""
    return file.write(model.contents, path)


def verify(model: Model, reference_predict: Callable[[Any], Decisions] | None, inputs: Any) -> str | None:
    """Compare the packed model with the numpy reference and, if given, with another predictor, sample by sample.

    `reference_predict` takes uint8 images `(n, features)`, or recordings, and returns `Decisions`. Returns None when
    every decision, time, tie, potential and count is equal, else a sentence that names the first sample and quantity
    that differ. (A network without exact potentials: they are compared with the numpy reference only.)
    """
    decided = model.decide(inputs)
    fault = difference(decided, truth(model, inputs), f"{model.backend} and the numpy reference")
    if fault is None and reference_predict is not None:
        flat = inputs.reshape(len(decided.labels), -1) if isinstance(inputs, np.ndarray) else inputs
        fault = difference(
            decided, reference_predict(flat), "the packed model and the given predictor", unlike(model)
        )
    return fault


def truth(model: Model, inputs: Any) -> Decisions:
    """The decisions of the numpy reference, whatever back end the model has."""
    return model.network.decide(model.inputs(inputs))


def unlike(model: Model) -> frozenset[str]:
    """The quantities that packed and trained network do not share."""
    return frozenset() if model.network.exact_potentials else frozenset({"potentials"})


def difference(a: Decisions, b: Decisions, who: str, skip: frozenset[str] = frozenset()) -> str | None:
    """The first sample and quantity in which two sets of decisions differ, in a sentence; None where they are equal."""
    found: list[tuple[int, str]] = []
    for field in dataclasses.fields(Decisions):
        if field.name in skip:
            continue
        x, y = getattr(a, field.name), getattr(b, field.name)
        if x.shape != y.shape:
            return f"{field.name}: {who} give shapes {x.shape} and {y.shape}"
        different = (x != y).reshape(len(x), -1).any(axis=1)
        if different.any():
            sample = int(different.argmax())
            found.append((sample, f"sample {sample}, {field.name}: {who} give {x[sample]} and {y[sample]}"))
    return min(found, key=lambda item: item[0])[1] if found else None
