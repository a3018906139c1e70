"""One safetensors file that holds all a run needs to go on: the network, the best one so far, what the learner carries.

The rest (epoch, best score) is JSON in the file's metadata, so that one rename replaces all of it at once. There is no
state of random generators to keep: each epoch makes its generators anew from the seed, the purpose and its number
(`bitspike.training.randomness`). Nothing is pickled.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from bitspike.contracts import Learner
from bitspike.errors import DataError
from bitspike.files import write_atomically
from bitspike.training.trainer import Facts

VERSION = 3
State = dict[str, Tensor]
PARTS = ("network", "best", "learner", "final")
# What version 2 kept among a network's tensors and now belongs to the learner.
_CARRIED = re.compile(r"(?:^|\.)(alpha|fired|quota|seen|wrong|prior\d+|boost\.(?:q|label|wrong))$")


@dataclass(frozen=True)
class Checkpoint:
    """A run after `epoch` epochs: the network as trained, the best one, what the learner carries.

    `final`: of a finished run what decides, calibrated; else empty. Finished runs of older versions have no `network`.
    """

    epoch: int
    network: State
    best: State
    best_epoch: int
    best_score: float
    learner: State
    facts: Facts
    final: State = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Is there a network that decides?"""
        return bool(self.final)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint at `path`; when that fails (`BitspikeError`) the previous one is still there."""
    states = {part: vars(checkpoint)[part] for part in PARTS}
    owned = {
        f"{part}.{name}": tensor.detach().cpu().contiguous()
        for part, state in states.items()
        for name, tensor in state.items()
    }
    known = {
        "version": VERSION,
        "epoch": checkpoint.epoch,
        "best_epoch": checkpoint.best_epoch,
        "best_score": checkpoint.best_score,
        "n_inputs": checkpoint.facts.n_inputs,
        "n_classes": checkpoint.facts.n_classes,
        "input_shape": list(checkpoint.facts.input_shape),
        "n_train": checkpoint.facts.n_train,
    }
    metadata = {"bitspike": json.dumps(known, allow_nan=False, sort_keys=True)}
    write_atomically(path, to_safetensors(owned, metadata))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote, also of version 2; a missing, truncated or foreign file raises `DataError`."""
    if not path.is_file():
        raise DataError(f"{path}: there is no checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            known = json.loads((file.metadata() or {})["bitspike"])
            if known["version"] not in (2, VERSION):
                raise DataError(
                    f"{path}: checkpoint version {known['version']}; this bitspike reads versions 2 and {VERSION}"
                )
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        states = _version_2(known, tensors) if known["version"] == 2 else _states(tensors)
        return Checkpoint(
            epoch=_count(known["epoch"]),
            best_epoch=_count(known["best_epoch"]),
            best_score=float(known["best_accuracy" if known["version"] == 2 else "best_score"]),
            facts=Facts(
                n_inputs=_count(known["n_inputs"]),
                n_classes=_count(known["n_classes"]),
                input_shape=tuple(_count(size) for size in known["input_shape"]),
                n_train=_count(known["n_train"]),
            ),
            **states,
        )
    except DataError:
        raise
    except (
        SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError,
    ) as error:  # fmt: skip
        raise DataError(
            f"{path}: not a checkpoint of bitspike, or a damaged one ({type(error).__name__}: {error}); "
            "delete it to start the run again"
        ) from error


def restore_network(path: Path, network: nn.Module, state: State) -> None:
    """Copy `state`, read from `path`, into the network; one of another shape raises `DataError`."""
    own = network.state_dict()
    given = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()}
    needed = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in own.items()}
    if given != needed:
        odd = sorted(name for name in given.keys() | needed.keys() if given.get(name) != needed.get(name))
        raise DataError(f"{path}: the checkpoint does not fit the experiment's network, first at {odd[0]!r}")
    network.load_state_dict(state)


def restore_learner(path: Path, learner: Learner, state: State) -> None:
    """Copy what a learner carried, read from `path`, back; what does not fit raises `DataError`."""
    try:
        learner.load_state_dict(state)
    except DataError as error:
        raise DataError(f"{path}: the checkpoint does not fit the experiment's rule: {error}") from error


def _states(tensors: State) -> dict[str, State]:
    states: dict[str, State] = {part: {} for part in PARTS}
    for full_name, tensor in tensors.items():
        part, name = full_name.split(".", 1)
        states[part][name] = tensor
    return states


def _version_2(known: dict[str, Any], tensors: State) -> dict[str, State]:
    """A network's tensors without what the learner carries, which goes to the learner; so the optimiser's state."""
    states: dict[str, State] = {part: {} for part in PARTS}
    for full_name, tensor in tensors.items():
        part, name = full_name.split(".", 1)
        if part == "optimiser":
            states["learner"][full_name] = tensor
            continue
        carried = _CARRIED.search(name)
        if carried is None:
            states[{"model": "network", "best": "best"}[part]][name] = tensor
        elif part == "model" and carried.start() == 0:
            states["learner"][carried.group(1)] = tensor
    if bool(known["finished"]):
        states["final"], states["network"] = states["network"], {}
    return states


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not a count")
    return value
