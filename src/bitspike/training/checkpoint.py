"""One safetensors file that holds all a run needs to go on: the model, the best model so far, the optimiser.

The rest (epoch, best accuracy, optimiser settings) is JSON in the file's metadata, so that one rename
replaces all of it at once. There is no state of random generators to keep: each epoch makes its generators
anew from the seed, the purpose and the number of the epoch (`bitspike.training.randomness`). Nothing is
pickled.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from bitspike.errors import DataError
from bitspike.files import write_atomically

VERSION = 2
State = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """A run after `epoch` epochs. When `finished`, `model` is the best one, calibrated."""

    epoch: int
    model: State
    best: State
    best_epoch: int
    best_accuracy: float
    optimiser: dict[str, Any]  # a state_dict
    n_inputs: int
    n_classes: int
    input_shape: tuple[int, ...] = ()
    n_train: int = 0
    finished: bool = False


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint at `path`; when that fails (`BitspikeError`) the previous one is still there."""
    tensors = {f"model.{name}": tensor for name, tensor in checkpoint.model.items()}
    tensors |= {f"best.{name}": tensor for name, tensor in checkpoint.best.items()}
    numbers: dict[str, dict[str, Any]] = {}
    for index, state in checkpoint.optimiser["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser.{index}.{name}"] = value
            else:
                numbers.setdefault(str(index), {})[name] = value
    facts = {
        "version": VERSION,
        "epoch": checkpoint.epoch,
        "best_epoch": checkpoint.best_epoch,
        "best_accuracy": checkpoint.best_accuracy,
        "n_inputs": checkpoint.n_inputs,
        "n_classes": checkpoint.n_classes,
        "input_shape": list(checkpoint.input_shape),
        "n_train": checkpoint.n_train,
        "finished": checkpoint.finished,
        "optimiser_groups": checkpoint.optimiser["param_groups"],
        "optimiser_numbers": numbers,
    }
    owned = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    metadata = {"bitspike": json.dumps(facts, allow_nan=False, sort_keys=True)}
    write_atomically(path, to_safetensors(owned, metadata))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote; a missing, truncated or foreign file raises `DataError`."""
    if not path.is_file():
        raise DataError(f"{path}: there is no checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["bitspike"])
            if facts["version"] != VERSION:
                raise DataError(
                    f"{path}: checkpoint version {facts['version']}; this bitspike reads version {VERSION}"
                )
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        state: dict[int, dict[str, Any]] = {int(i): dict(v) for i, v in facts["optimiser_numbers"].items()}
        parts: dict[str, State] = {"model": {}, "best": {}}
        for full_name, tensor in tensors.items():
            part, name = full_name.split(".", 1)
            if part == "optimiser":
                index, key = name.split(".", 1)
                state.setdefault(int(index), {})[key] = tensor
            else:
                parts[part][name] = tensor
        return Checkpoint(
            epoch=_count(facts["epoch"]),
            model=parts["model"],
            best=parts["best"],
            best_epoch=_count(facts["best_epoch"]),
            best_accuracy=float(facts["best_accuracy"]),
            optimiser={"state": state, "param_groups": list(facts["optimiser_groups"])},
            n_inputs=_count(facts["n_inputs"]),
            n_classes=_count(facts["n_classes"]),
            input_shape=tuple(_count(size) for size in facts["input_shape"]),
            n_train=_count(facts["n_train"]),
            finished=bool(facts["finished"]),
        )
    except DataError:
        raise
    except (
        SafetensorError,
        OSError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ) as error:
        raise DataError(
            f"{path}: not a checkpoint of bitspike, or a damaged one ({type(error).__name__}: {error}); "
            "delete it to start the run again"
        ) from error


def restore_model(path: Path, model: nn.Module, state: State) -> None:
    """Copy `state`, read from `path`, into the model; a model of another shape raises `DataError`."""
    own = model.state_dict()
    given = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()}
    wanted = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in own.items()}
    if given != wanted:
        odd = sorted(name for name in given.keys() | wanted.keys() if given.get(name) != wanted.get(name))
        raise DataError(f"{path}: the checkpoint does not fit the experiment's network, first at {odd[0]!r}")
    model.load_state_dict(state)


def restore_optimiser(path: Path, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Copy an optimiser's state_dict, read from `path`, back; one that does not fit raises `DataError`."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    fits = all(
        set(old) == set(new) for old, new in zip(optimiser.param_groups, state["param_groups"], strict=False)
    )
    for index, values in state["state"].items():
        fits &= 0 <= index < len(parameters) and all(
            value.dtype.is_floating_point and value.shape in (torch.Size(()), parameters[index].shape)
            for value in values.values()
            if isinstance(value, Tensor)
        )
    try:
        if not fits:
            raise ValueError("other settings or shapes")
        optimiser.load_state_dict(state)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: the checkpoint does not fit the experiment's optimiser ({error})"
        ) from error


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not a count")
    return value
