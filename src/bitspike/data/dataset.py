"""What every data set becomes: images or recordings with labels, checked, and their split."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitspike.data.points import Line, Plane
from bitspike.data.recordings import Audio, Events
from bitspike.errors import DataError, UsageError

Images = NDArray[np.uint8]
Inputs = Any  # Images, Events or Audio: they share len(), .shape and indexing by rows
Labels = NDArray[Any]  # int64, places in the classes; float64 targets in [0, 1] where there are no classes


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images, 0 dark to 255 bright, or recordings; labels int64 `(n,)`, places in `classes`.

    Images are uint8 `(n, height, width)`, or `(n, height, width, channels)` in colour.
    Without classes it is a regression set: labels are targets, float64 `(n,)` in [0, 1].
    `hashes`: SHA-256 of each part's content. `note` names what is special (a subset, lossy), else empty.
    `plane`, `line`: the points that coded inputs stand for, where they have two coordinates or are one x; else None.
    """

    name: str
    train_inputs: Inputs
    train_labels: Labels
    test_inputs: Inputs
    test_labels: Labels
    classes: tuple[str, ...]
    hashes: dict[str, str] = field(default_factory=dict)
    note: str = ""
    plane: Plane | None = None
    line: Line | None = None

    def __post_init__(self) -> None:
        if len(self.classes) == 1:
            raise DataError(f"{self.name}: 1 class; at least 2 are needed to tell apart")
        for part in ("train", "test"):
            inputs, labels = getattr(self, f"{part}_inputs"), getattr(self, f"{part}_labels")
            _check(f"{self.name}, {part} data", inputs, labels, len(self.classes))
        if self.train_inputs.shape[1:] != self.test_inputs.shape[1:]:
            raise DataError(
                f"{self.name}: training inputs are {self.train_inputs.shape[1:]}, test inputs "
                f"{self.test_inputs.shape[1:]}; both must have one shape, channels included"
            )
        unseen = np.setdiff1d(self.test_labels, self.train_labels)
        if self.classes and unseen.size:
            raise DataError(
                f"{self.name}: test labels {unseen[:5].tolist()} have no training input to learn from"
            )
        n = len(self.train_labels), len(self.test_labels)
        for points in (
            self.plane and (len(self.plane.train), len(self.plane.test)),
            self.line and (len(self.line.train_x), len(self.line.test_x)),
        ):
            if points not in (None, n):
                raise DataError(f"{self.name}: {points} points stand behind {n} inputs; give one each")

    @property
    def noun(self) -> str:
        """What one input is called: "point" of a plane or line, "recording" of events and sound, else "image"."""
        if self.plane is not None or self.line is not None:
            return "point"
        return "recording" if isinstance(self.train_inputs, (Events, Audio)) else "image"

    @property
    def shape(self) -> tuple[int, ...]:
        """(height, width[, channels]) of an image, (polarities, height, width) of events, () of sound."""
        return tuple(self.train_inputs.shape[1:])

    @property
    def n_classes(self) -> int:
        """0 for a regression set."""
        return len(self.classes)

    @property
    def n_outputs(self) -> int:
        """What a network needs: an output per class, one for a target."""
        return len(self.classes) or 1


@dataclass(frozen=True, eq=False)
class Split:
    """Training, validation and test parts: inputs and labels as in `Dataset`."""

    train_inputs: Inputs
    train_labels: Labels
    validation_inputs: Inputs
    validation_labels: Labels
    test_inputs: Inputs
    test_labels: Labels


def split(dataset: Dataset, validation: float, seed: int) -> Split:
    """Hold out round(validation * n) training inputs, drawn by `seed`; both parts keep the original order.

    The test part is passed on untouched. A share that leaves either part empty raises `UsageError`.
    """
    held, kept = held_out(len(dataset.train_inputs), validation, seed)
    inputs, labels = dataset.train_inputs, dataset.train_labels
    return Split(
        inputs[kept], labels[kept], inputs[held], labels[held], dataset.test_inputs, dataset.test_labels
    )


def held_out(n: int, validation: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers, rising, of the training inputs that `split` holds out of n, and of those it keeps."""
    n_validation = round(validation * n) if 0 < validation < 1 else 0
    if not 0 < n_validation < n:
        raise UsageError(
            f"validation is {validation}; of {n} training inputs it must leave some for both parts"
        )
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[:n_validation]), np.sort(order[n_validation:])


def as_images(array: NDArray[Any], where: str) -> Images:
    """An array of images `(n, h, w)` or `(n, h, w, c)`; rows `(n, f)` become `(n, 1, f)`. Otherwise `DataError`.

    Square images whose channels come first, `(n, 1 | 3 | 4, h, h)` with h above 4, are refused as such.
    """
    if array.dtype != np.uint8:
        raise DataError(f"{where}: images are {array.dtype}; they must be uint8, 0 dark to 255 bright")
    if array.ndim == 2:
        array = array[:, None, :]
    if array.ndim not in (3, 4):
        raise DataError(
            f"{where}: images have shape {array.shape}; give (n, height, width) or (n, height, width, channels)"
        )
    if array.ndim == 4 and array.shape[1] in (1, 3, 4) and 4 < array.shape[2] == array.shape[3]:
        raise DataError(
            f"{where}: images have shape {array.shape}, channels first; channels come last, as after "
            "array.transpose(0, 2, 3, 1)"
        )
    return array


def as_labels(array: NDArray[Any], where: str) -> Labels:
    """An integer vector as int64 labels. Otherwise `DataError`."""
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(
            f"{where}: labels are {array.dtype} of shape {array.shape}; give integers of shape (n,)"
        )
    return array.astype(np.int64)


def _check(where: str, inputs: Inputs, labels: Labels, n_classes: int) -> None:
    if not isinstance(inputs, (Events, Audio)) and (
        inputs.ndim not in (3, 4) or inputs.dtype != np.uint8 or inputs.size == 0
    ):
        raise DataError(
            f"{where}: images are {inputs.dtype} of shape {inputs.shape}; give uint8 (n, height, width) or "
            "(n, height, width, channels)"
        )
    kind = np.dtype(np.int64 if n_classes else np.float64)
    if labels.shape != (len(inputs),) or labels.dtype != kind or not len(labels):
        meant = "int64 label" if n_classes else "float64 target (no classes are named)"
        raise DataError(
            f"{where}: {len(inputs)} inputs, labels of shape {labels.shape}, {labels.dtype}; give one {meant} each"
        )
    most = n_classes - 1 if n_classes else 1
    good = (labels >= 0) & (labels <= most)  # False for NaN
    if not good.all():
        index = int(np.argmin(good))
        raise DataError(f"{where}: label {labels[index]} of input {index} is outside 0..{most}")
