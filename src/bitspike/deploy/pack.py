"""From a trained model to a packed one: `pack`, `save`, and `verify`, which proves that both decide alike."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bitspike.coding import EventBins
from bitspike.deploy.load import AnyModel, PackedModel, build
from bitspike.deploy.srm_model import SRMModel
from bitspike.deploy.train_model import TrainModel
from bitspike.errors import UsageError
from bitspike.packed import file as file_format
from bitspike.packed.average import combine
from bitspike.packed.committee import CommitteeModel
from bitspike.packed.conformal import Quantiles
from bitspike.packed.decisions import Decisions
from bitspike.packed.file import Contents
from bitspike.packed.first_spike import reference
from bitspike.packed.first_spike.network import FirstSpikePacked, FirstSpikePackedLayer
from bitspike.packed.lif import reference as train_reference
from bitspike.packed.lif.file import TrainContents
from bitspike.packed.srm import reference as srm_reference
from bitspike.packed.srm.file import SRMContents

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bitspike.experiment import Experiment


def snapped(model: nn.Module) -> nn.Module:
    """A copy of a network that decides exactly as its packed file: real weights on the grid of its `snap`."""
    result: Any = copy.deepcopy(model)
    for network in getattr(result, "members", (result,)):
        if hasattr(network, "snap"):
            network.snap()
    return result  # type: ignore[no-any-return]


def pack(
    model: nn.Module, experiment: Experiment, classes: Sequence[str], input_shape: Sequence[int]
) -> AnyModel:
    """Pack a trained `FirstSpikeNetwork`, `HeavisideNetwork`, `LIFNetwork`, `SRMNetwork`, or `Committee`.

    `classes` names the outputs in order (none of a regression), `input_shape` is that of one image (recordings have
    that of their coding).
    Real weights are rounded by `snap`; the signs of binary ones are kept. A model of another class raises `UsageError`.
    """
    from bitspike.networks.committee import Committee, Ensemble
    from bitspike.networks.first_spike import FirstSpikeNetwork
    from bitspike.networks.lif import LIFNetwork
    from bitspike.networks.srm import SRMNetwork
    from bitspike.rules.bnn import HeavisideNetwork

    names, shape = tuple(str(name) for name in classes), tuple(int(size) for size in input_shape)
    if isinstance(model, FirstSpikeNetwork):
        exact = snapped(model)
        assert isinstance(exact, FirstSpikeNetwork)
        return PackedModel(
            Contents(exact.packed(), "first_spike", shape, names, _short(exact.temperature), experiment.name)
        )
    if isinstance(model, LIFNetwork):
        exact = snapped(model)
        assert isinstance(exact, LIFNetwork)
        shape = _shape(exact.coding, shape)
        return TrainModel(
            TrainContents(exact.packed(), shape, names, _short(exact.temperature), experiment.name)
        )
    if isinstance(model, SRMNetwork):
        shape = _shape(model.coding, shape)
        return SRMModel(SRMContents(model.packed(), shape, names, _short(model.temperature), experiment.name))
    if isinstance(model, Committee):
        members = [_member(member, pack(member, experiment, names, shape)) for member in model.members]
        return CommitteeModel(members, model.average, _short(model.temperature), experiment.name)
    if isinstance(model, Ensemble):
        raise UsageError(
            "an ensemble draws its members anew for every batch; pack a committee that it has drawn"
        )
    if isinstance(model, HeavisideNetwork):
        layers = []
        last = len(model.latents) - 1
        for index in range(last + 1):
            positive = model.signs(index).numpy(force=True) > 0
            # U is an integer, so floor(threshold) decides alike and fits float32 exactly
            threshold = np.floor(float(model.threshold(index))) if index < last else 0.0
            bound = positive.shape[0] * (255 if index == 0 else 1)
            level = np.full(positive.shape[1], np.clip(threshold, -bound - 1, bound), np.float32)
            layers.append(FirstSpikePackedLayer.binary(positive, level))
        scale = float(model.log_alphas[last].detach().exp())  # outputs are scale * U
        return PackedModel(
            Contents(
                FirstSpikePacked(tuple(layers), 1, 0), "pixel", shape, names,
                _short(model.temperature / scale), experiment.name, model.binarise,
            )
        )  # fmt: skip
    raise UsageError(
        f"a {type(model).__name__} cannot be packed; expected a FirstSpikeNetwork, a HeavisideNetwork, a "
        "LIFNetwork, an SRMNetwork or a Committee"
    )


def _shape(coding: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an input: recordings have that of their coding."""
    if coding.of_images:
        return shape
    return (2, coding.height, coding.width) if isinstance(coding, EventBins) else (coding.n_channels,)


def _member(network: Any, packed: AnyModel) -> AnyModel:
    """A member with the very temperature that it has in training, for averages depend on its last bits."""
    if unlike(packed):
        return packed
    return build(dataclasses.replace(packed.contents, temperature=float(network.temperature)))


def with_conformal(model: AnyModel, quantiles: Quantiles) -> AnyModel:
    """The same model with these (alpha, threshold) pairs, alpha rising, in its file; see `Model.sets`."""
    return build(dataclasses.replace(model.contents, conformal=quantiles))


def _short(value: Tensor) -> float:
    """A float32 by its shortest decimal, which spares the header some bytes."""
    return float(str(np.float32(value.item())))


def save(model: AnyModel, path: Path | str) -> int:
    """Write the model file (beside its place, then renamed); returns its size in bytes."""
    return file_format.write(model.contents, path)


def verify(model: AnyModel, reference_predict: Callable[[Any], Any] | None, inputs: Any) -> str | None:
    """Compare the packed model with the numpy reference and, if given, with another predictor, sample by sample.

    `reference_predict` takes uint8 images `(n, features)`, or recordings, and returns an object with the attributes of
    `Prediction`. Returns None when every decision, time, tie, potential and count is equal, else a sentence
    that names the first sample and quantity that differ. (Coding "pixel": potentials are compared with the
    numpy reference only, for the training model scales them.)
    """
    decided = model.decide(inputs)
    fault = difference(decided, truth(model, inputs), f"{model.backend} and the numpy reference")
    if fault is None and reference_predict is not None:
        flat = inputs.reshape(len(decided.labels), -1) if isinstance(inputs, np.ndarray) else inputs
        fault = difference(
            decided, reference_predict(flat), "the packed model and the given predictor", unlike(model)
        )
    return fault


def truth(model: AnyModel, inputs: Any) -> Decisions:
    """The decisions of the numpy reference, whatever back end the model has."""
    if isinstance(model, CommitteeModel):
        parts = [truth(member, inputs) for member in model.members]
        return combine(parts, [member.temperature for member in model.members], model.contents.average)
    if isinstance(model, SRMModel):
        return srm_reference.decide(model.network, model.inputs(inputs))
    if isinstance(model, TrainModel):
        return train_reference.decide(model.network, model.inputs(inputs))
    flat = np.asarray(inputs).reshape(-1, model.network.n_in)
    if model.contents.coding == "pixel":
        return reference.decide_pixels(model.network, flat, model.contents.binarise)
    return reference.decide(model.network, model.times(flat))


def unlike(model: AnyModel) -> set[str]:
    """The quantities that packed and trained model do not share: potentials of coding "pixel"."""
    if isinstance(model, CommitteeModel):
        return set().union(*map(unlike, model.members))
    pixel = isinstance(model, PackedModel) and model.contents.coding == "pixel"
    return {"potentials"} if pixel else set()


def difference(a: Decisions, b: Any, who: str, skip: set[str] = frozenset()) -> str | None:  # type: ignore[assignment]
    """The first sample and quantity in which two sets of decisions differ, in a sentence; None where they are equal."""
    found: list[tuple[int, str]] = []
    for field in dataclasses.fields(Decisions):
        if field.name in skip:
            continue
        x, y = getattr(a, field.name), getattr(b, field.name)
        y = np.asarray(y.numpy(force=True) if hasattr(y, "numpy") else y)
        if x.shape != y.shape:
            return f"{field.name}: {who} give shapes {x.shape} and {y.shape}"
        different = (x != y).reshape(len(x), -1).any(axis=1)
        if different.any():
            sample = int(different.argmax())
            found.append((sample, f"sample {sample}, {field.name}: {who} give {x[sample]} and {y[sample]}"))
    return min(found, key=lambda item: item[0])[1] if found else None
