"""The arrays of evaluation.safetensors, checked for what the report draws: types, shapes that go together, ranges."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from bitspike.errors import DataError

Array = NDArray[Any]

MAX_CLASSES = 1 << 10
MAX_STEPS = 32767
MAX_VALUE = 1e30
_MEND = "train the run again, or remove the file"


@dataclass(frozen=True)
class _Kind:
    """Arrays of these names: kinds of dtype, shapes by the names of their axes ("*": any), and the range of values.

    `high` may be names of axes: values are below their lengths. "{}" in an axis is the layer's number.
    """

    names: str
    dtypes: str
    shapes: tuple[str, ...]
    low: float = -MAX_VALUE
    high: float | str = MAX_VALUE


_KINDS = (
    _Kind("labels|predicted", "iu", ("n",), 0, "classes"),
    _Kind("labels|predicted", "f", ("n",)),  # of a regression
    _Kind("probabilities", "f", ("n classes",), 0, 1.0),
    _Kind("decision_time", "iu", ("n",), 0, MAX_STEPS),
    _Kind("silent", "b", ("n",)),
    _Kind("n_spikes", "iuf", ("n",)),
    _Kind("members", "f", ("n members",)),
    _Kind("x", "f", ("n",)),
    _Kind(r"mode_\w+_correct", "b", ("n",)),
    _Kind(r"mode_\w+_confidence(_raw)?", "f", ("n",), 0, 1.0),
    _Kind("example_(labels|predicted)", "iu", ("examples",), 0, "classes outputs"),
    _Kind(
        "example_images", "u", ("examples width", "examples height width", "examples height width channels")
    ),
    _Kind("example_events", "iu", ("examples two height width",), 0),
    _Kind("example_(input|hidden)_times", "iu", ("examples *",), 0, MAX_STEPS),
    _Kind("example_output_times", "iu", ("examples outputs",), 0, MAX_STEPS),
    _Kind(r"layer(\d+)_shown", "iu", ("shown{}",), 0),
    _Kind(r"example_layer(\d+)_spikes", "u", ("examples steps *",)),
    _Kind(r"example_layer(\d+)_counts", "iu", ("examples neurons{}",), 0),
    _Kind(r"example_layer(\d+)_traced", "iu", ("examples traced{}",), 0),
    _Kind(r"example_layer(\d+)_membrane", "f", ("examples steps traced{}",)),
    _Kind(r"layer(\d+)_histogram", "iuf", ("*",), 0),
    _Kind(r"layer(\d+)_mean_counts", "f", ("neurons{}",), 0),
    _Kind(r"surface_\w+", "f", ("side side",), 0),
    _Kind("points_train", "f", ("trained two",)),
    _Kind("points_train_labels", "iu", ("trained",)),
    _Kind("points_test", "f", ("n two",)),
    _Kind("points_train_x|points_train_targets", "f", ("known",)),
)


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of a run, none where the file is absent; what the report cannot draw raises `DataError`."""
    if not path.exists():
        return {}
    if not path.is_file():
        raise DataError(f"{path} is not a file; {_MEND}")
    try:
        arrays: dict[str, Array] = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a readable safetensors file: {error}; {_MEND}") from error
    lengths = {"two": 2}
    ranges = [_fit(name, array, lengths, path) for name, array in arrays.items()]
    if lengths.get("classes", 0) > MAX_CLASSES:
        raise DataError(f"{path}: {lengths['classes']} classes; reports show at most {MAX_CLASSES}")
    for (name, array), kind in zip(arrays.items(), ranges, strict=True):
        if kind is not None:
            _check_range(name, array, kind, lengths, path)
    return arrays


def _fit(name: str, array: Array, lengths: dict[str, int], path: Path) -> _Kind | None:
    """The kind of an array; its axes enter `lengths`, or must be as long as they are there."""
    kinds = [kind for kind in _KINDS if re.fullmatch(kind.names, name)]
    kind = next((kind for kind in kinds if array.dtype.kind in kind.dtypes), None)
    if not kinds:
        return None  # nobody reads it
    found = f"{path}: {name} is {array.dtype} {array.shape}"
    if kind is None:
        raise DataError(f"{found}; expected another type; {_MEND}")
    shapes = [shape.split() for shape in kind.shapes]
    axes = next((axes for axes in shapes if len(axes) == array.ndim), None)
    if axes is None:
        raise DataError(f"{found}; expected ({', '.join(shapes[-1])}); {_MEND}")
    digits = re.search(r"layer(\d+)_", name)
    for axis, length in zip(axes, array.shape, strict=True):
        if axis == "*":
            continue
        full = axis.format(digits[1] if digits else "")
        if lengths.setdefault(full, length) != length:
            raise DataError(
                f"{found}, but another array has {lengths[full]} there: they differ in length; {_MEND}"
            )
    return kind


def _check_range(name: str, array: Array, kind: _Kind, lengths: Mapping[str, int], path: Path) -> None:
    if not array.size or array.dtype.kind == "b":
        return
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{path}: {name} has a value that is NaN or infinite; {_MEND}")
    high = kind.high
    if isinstance(high, str):
        high = min(lengths.get(axis, MAX_CLASSES) for axis in high.split()) - 1
    low, most = float(array.min()), float(array.max())
    if low < kind.low or most > high * (1 + 1e-5):  # probabilities in float32
        raise DataError(
            f"{path}: {name} has values from {low:g} to {most:g}; expected {kind.low:g} to {high:g}; {_MEND}"
        )
