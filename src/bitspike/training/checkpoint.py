"""One safetensors file that holds all a run needs to go on: the network, the best one so far, what the learner carries.

The rest (epoch, best score) is JSON in the file's metadata, so that one rename replaces all of it at once. There is no
state of random generators to keep: each epoch makes its generators anew from the seed, the purpose and its number
(`bitspike.training.randomness`). Nothing is pickled.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from bitspike.contracts import Learner
from bitspike.errors import DataError
from bitspike.files import parse_json, write_atomically
from bitspike.packed.fields import MAX_NEURONS
from bitspike.training.finite import first_not_finite
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
            known = parse_json((file.metadata() or {})["bitspike"])
            if known["version"] not in (2, VERSION):
                raise DataError(
                    f"{path}: checkpoint version {known['version']}; this bitspike reads versions 2 and {VERSION}"
                )
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        if (odd := first_not_finite(tensors)) is not None:
            raise DataError(
                f"{path}: {odd} holds NaN or infinite numbers; delete the file to start the run again"
            )
        states = _version_2(known, tensors) if known["version"] == 2 else _states(tensors)
        return Checkpoint(
            epoch=_count(known["epoch"]),
            best_epoch=_count(known["best_epoch"]),
            best_score=float(known["best_accuracy" if known["version"] == 2 else "best_score"]),
            facts=_facts(known),
            **states,
        )
    except DataError:
        raise
    except (
        SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError,
    ) as error:  # fmt: skip
        raise DataError(
            f"{path}: not a checkpoint of bitspike, or a damaged one ({type(error).__name__}: {error}); "
            "delete it to start the run again"
        ) from error


def require_fit(path: Path, network: nn.Module, state: State) -> None:
    """Refuse, with `DataError`, a `state`, read from `path`, that is not one of the network."""
    own = network.state_dict()
    given = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()}
    needed = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in own.items()}
    if given != needed:
        odd = sorted(name for name in given.keys() | needed.keys() if given.get(name) != needed.get(name))
        raise DataError(f"{path}: the checkpoint does not fit the experiment's network, first at {odd[0]!r}")


def restore_network(path: Path, network: nn.Module, state: State) -> None:
    """Copy `state`, read from `path`, into the network; one of another shape raises `DataError`."""
    require_fit(path, network, state)
    network.load_state_dict(state)


def restore_learner(path: Path, learner: Learner, state: State) -> None:
    """Copy what a learner carried, read from `path`, back; whatever it cannot take raises `DataError`."""
    try:
        learner.load_state_dict(state)
    except (DataError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
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


def _count(value: Any, most: int = 1 << 62) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r} is not a count, 0 to {most}")
    return value


def _facts(known: dict[str, Any]) -> Facts:
    """What a network is built for; more neurons than one may have are refused before it is built."""
    shape = tuple(_count(size, MAX_NEURONS) for size in known["input_shape"])
    _count(math.prod(shape), MAX_NEURONS)
    n_inputs, n_classes = (_count(known[name], MAX_NEURONS) for name in ("n_inputs", "n_classes"))
    return Facts(n_inputs, n_classes, shape, _count(known["n_train"]))
