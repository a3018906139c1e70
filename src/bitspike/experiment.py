"""An experiment is a value: data x coding x network x weights x rule x optimiser x training.

Every part is a frozen dataclass, checked once when built, and written to JSON without loss. A recipe is a
constant of type `Experiment`; the command line derives its options from the fields below.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from bitspike.coding import Cochlea, Direct, EventBins, FirstSpike, Pixel, Poisson
from bitspike.data.augment import Augment
from bitspike.data.distortion import Distortion
from bitspike.errors import UsageError
from bitspike.rules.bisnn import BiSNN
from bitspike.rules.bnn import BNN
from bitspike.rules.first_spike_race import FirstSpikeRace
from bitspike.rules.hm2bp import HM2BP
from bitspike.rules.s4nn import S4NN
from bitspike.settings import IF, LIF, SRM, Optimizer, Predict
from bitspike.weights import Weights

ALIASES = {"Network": "IF"}  # names of older files


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UsageError(message)


@dataclass(frozen=True)
class Data:
    """Which data: a catalogue name, `idx:FOLDER` or `events:NAME`; `validation`: share of the training data held out.

    `split` is the seed that draws what is held out (None: the experiment's), so that runs of several seeds can share
    their validation data: members of a committee must, for its temperature and its sets are fitted there.
    """

    name: str = "digits"
    dir: str | None = None
    validation: float = 1 / 6
    split: int | None = None

    def __post_init__(self) -> None:
        _require(
            0 < self.validation < 1, f"data.validation is {self.validation}; it must lie between 0 and 1"
        )


@dataclass(frozen=True)
class Training:
    """How long and how: epochs, batch size, and the share of silent images allowed when choosing the threshold.

    `mode_epochs`: weights of kind bernoulli are trained as binary ones, at their mode, for so many epochs, then by
    draws; both parts have the whole schedule of step sizes. `keep`: the models after the last so many epochs stay in
    the run folder, as snapshots. `tasks`: classes learned one group after the other, such as ("0,1", "2,3"), the epochs
    shared evenly among them (continual learning); `coreset`: batches of every past task seen again in each epoch.
    """

    epochs: int = 10
    batch_size: int = 100
    shuffle: Literal["permutation", "replacement", "none"] = "permutation"
    max_silent: float = 0.05
    evaluate_every: int = 1
    mode_epochs: int = 0
    keep: int = 0
    tasks: tuple[str, ...] = ()
    coreset: int = 0

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, f"training.epochs is {self.epochs}; at least 1 is needed")
        _require(self.batch_size >= 1, f"training.batch_size is {self.batch_size}; at least 1 is needed")
        _require(
            0 <= self.max_silent <= 1, f"training.max_silent is {self.max_silent}; it is a share, 0 to 1"
        )
        _require(self.evaluate_every >= 1, "training.evaluate_every counts epochs; at least 1 is needed")
        _require(
            0 <= self.mode_epochs < self.epochs,
            f"training.mode_epochs is {self.mode_epochs}; fewer than epochs",
        )
        _require(0 <= self.keep <= self.epochs, f"training.keep is {self.keep}; 0 to training.epochs")
        _require(self.coreset >= 0, f"training.coreset is {self.coreset}; it counts batches, 0 or more")
        groups = self.classes()
        _require(
            len({label for group in groups for label in group}) == sum(map(len, groups)),
            "training.tasks has a class twice",
        )
        _require(
            not groups or self.epochs % len(groups) == 0,
            f"training.epochs is {self.epochs}; {len(groups)} tasks want a multiple of their number",
        )

    def classes(self) -> tuple[tuple[int, ...], ...]:
        """The classes of every task."""
        try:
            return tuple(tuple(int(label) for label in task.split(",")) for task in self.tasks)
        except ValueError as error:
            raise UsageError(
                f'training.tasks is {self.tasks}; write classes by number, such as "0,1"'
            ) from error


@dataclass(frozen=True)
class Experiment:
    """One point of the space of systems. `name` is the recipe it came from."""

    name: str
    data: Data = field(default_factory=Data)
    augment: Augment | Distortion = field(default_factory=Augment)
    coding: FirstSpike | Pixel | Direct | Poisson | EventBins | Cochlea = field(default_factory=FirstSpike)
    network: IF | LIF | SRM = field(default_factory=IF)
    weights: Weights = field(default_factory=Weights)
    rule: FirstSpikeRace | S4NN | BNN | HM2BP | BiSNN = field(default_factory=FirstSpikeRace)
    optimizer: Optimizer = field(default_factory=Optimizer)
    training: Training = field(default_factory=Training)
    predict: Predict = field(default_factory=Predict)
    seed: int = 1
    backend: Literal["auto", "native", "reference"] = "auto"

    def __post_init__(self) -> None:
        _require(self.seed >= 0, f"seed is {self.seed}; it must not be negative")
        draws = self.weights.kind == "bernoulli"
        _require(
            draws or self.predict.mode == "map",
            f"predict.mode {self.predict.mode} draws networks from a posterior; set weights.kind to bernoulli, or map",
        )
        _require(
            draws or self.training.mode_epochs == 0,
            "training.mode_epochs belongs to weights.kind bernoulli; set it to 0",
        )
        self.rule.check(self)

    @property
    def split_seed(self) -> int:
        """The seed that draws the validation data."""
        return self.seed if self.data.split is None else self.data.split

    def to_json(self) -> str:
        """The experiment as JSON; `from_json` gives back an equal value."""
        return json.dumps(_encode(self), indent=2, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> Experiment:
        """Read what `to_json` wrote, also by an older version: a field that is missing takes its default.

        Therefore a new field's default is what was done before it. Unknown fields, and missing ones without a default,
        raise `UsageError` naming the field.
        """
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"experiment.json is not JSON: {error}") from error
        experiment = _decode(Experiment, tree, "experiment")
        assert isinstance(experiment, Experiment)
        return experiment


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        fields = {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    return value


def _without_default(kind: Any) -> set[str]:
    unset = dataclasses.MISSING
    return {f.name for f in dataclasses.fields(kind) if f.default is unset and f.default_factory is unset}


def _decode(kind: Any, tree: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        members = typing.get_args(kind)
        if tree is None and type(None) in members:
            return None
        classes = [m for m in members if dataclasses.is_dataclass(m)]
        if not classes:
            return _decode(next(m for m in members if m is not type(None)), tree, where)
        kinds: dict[Any, Any] = {getattr(m, "__name__", ""): m for m in classes}
        named = tree.get("kind") if isinstance(tree, dict) else None
        named = ALIASES.get(named, named) if isinstance(named, str) else named
        if not isinstance(named, str) or named not in kinds:
            raise UsageError(f"{where}: kind {named!r} is unknown; one of {sorted(kinds)}")
        return _decode(kinds[named], tree, where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        names = {f.name for f in dataclasses.fields(kind)}
        tag = {"kind"} - names  # `Weights` has a field of that name, which stands in its place
        if not isinstance(tree, dict) or (tag and ALIASES.get(tree["kind"], tree["kind"]) != kind.__name__):
            raise UsageError(f"{where}: expected an object of kind {kind.__name__}")
        hints = typing.get_type_hints(kind)
        given = set(tree) - tag
        missing = _without_default(kind) - given
        if given - names or missing:
            raise UsageError(
                f"{where}: unknown fields {sorted(given - names)}, missing fields {sorted(missing)}"
            )
        return kind(**{name: _decode(hints[name], tree[name], f"{where}.{name}") for name in given})
    if origin is tuple:
        if not isinstance(tree, list):
            raise UsageError(f"{where}: expected a list")
        item = typing.get_args(kind)[0]
        return tuple(_decode(item, entry, where) for entry in tree)
    if origin is Literal:
        if not any(type(tree) is type(option) and tree == option for option in typing.get_args(kind)):
            raise UsageError(f"{where}: {tree!r} is not one of {typing.get_args(kind)}")
        return tree
    if kind is float and type(tree) is int and abs(tree) < 2**1023:
        return float(tree)
    if type(tree) is not kind or (kind is float and not math.isfinite(tree)):
        raise UsageError(f"{where}: {tree!r} is not of type {kind.__name__}")
    return tree
