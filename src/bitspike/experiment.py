"""An experiment is a value: data x coding x network x weights x rule x optimiser x training.

Every part is a frozen dataclass, checked once when built, and written to JSON without loss (`bitspike.codec`). A recipe
is a constant of type `Experiment`; the command line derives its options, and their help, from the fields below.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bitspike.contracts import Augmentation, Coding, NetworkSettings
from bitspike.errors import UsageError, nearest
from bitspike.ranges import Range, between, check, conform, count
from bitspike.settings import Optimizer, Predict, Weights

if TYPE_CHECKING:
    import torch

    from bitspike.contracts import Learner, Task
    from bitspike.networks.base import Network

DEVICE = re.compile(r"cpu|auto|cuda(:\d+)?")


class Rule:
    """How a network learns: the settings of one paper, a frozen dataclass; importing one needs no torch.

    What a rule can take stands on the class and is checked by `Experiment`: classes of network settings and of codings
    (subclasses fit) and kinds of weights. `ranges` bounds its fields.
    """

    networks: ClassVar[tuple[type[NetworkSettings], ...]]
    codings: ClassVar[tuple[type[Coding], ...]]
    kinds: ClassVar[tuple[str, ...]] = ("real", "binary", "bernoulli")
    ranges: ClassVar[Mapping[str, Range]] = {}

    def __post_init__(self) -> None:
        check(self, self.ranges, "rule")

    def check(self, experiment: Experiment) -> None:
        """Refuse, with `UsageError`, what the rule cannot train and the declared sets cannot say."""
        return

    def build(self, experiment: Experiment, task: Task, generator: torch.Generator) -> Network:
        """The network as training starts."""
        raise NotImplementedError

    def learner(self, network: Any, experiment: Experiment) -> Learner:
        """What trains `network`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Data:
    """Which data, and which of them are kept for validation."""

    ranges: ClassVar[Mapping[str, Range]] = {
        "validation": between(0, 1, low_open=True, high_open=True),
        "split": Range(0, whole=True, none=True),
    }

    name: str = "digits"
    """a data set by its name in `bitspike data list`, idx:FOLDER, or events:NAME"""
    dir: str | None = None
    """folder that data sets lie in; None: BITSPIKE_DATA, or where downloads go"""
    validation: float = 1 / 6
    """share of the training data held out for validation"""
    split: int | None = None
    """seed that draws what is held out, the same for members of a committee; None: the experiment's"""

    def __post_init__(self) -> None:
        check(self, self.ranges, "data")


@dataclass(frozen=True)
class Training:
    """How long, and in which order."""

    ranges: ClassVar[Mapping[str, Range]] = {
        "epochs": count(1),
        "batch_size": count(1),
        "max_silent": between(0, 1),
        "evaluate_every": count(1),
        "mode_epochs": count(),
        "keep": count(),
        "coreset": count(),
    }

    epochs: int = 10
    """how many times the training data are seen"""
    batch_size: int = 100
    """samples per step"""
    shuffle: Literal["permutation", "replacement", "none"] = "permutation"
    """order of the samples in an epoch: all of them at random, drawn with replacement, or as they come"""
    max_silent: float = 0.05
    """largest share of inputs without any output spike when thresholds are chosen"""
    evaluate_every: int = 1
    """epochs between two looks at the validation data"""
    mode_epochs: int = 0
    """weights of kind bernoulli: epochs at their mode, as binary ones, with a schedule of their own, before draws"""
    keep: int = 0
    """keep the models after the last so many epochs in the run folder"""
    tasks: tuple[str, ...] = ()
    """classes learned one group after the other, such as 0,1 2,3; they share the epochs evenly"""
    coreset: int = 0
    """tasks: batches of every past task seen again in each epoch"""

    def __post_init__(self) -> None:
        check(self, self.ranges, "training")
        for name, most in (("mode_epochs", self.epochs - 1), ("keep", self.epochs)):
            if getattr(self, name) > most:
                raise UsageError(
                    f"training.{name} is {getattr(self, name)}, at most {most} with training.epochs {self.epochs}"
                )
        groups = self.classes()
        if len({label for group in groups for label in group}) < sum(map(len, groups)):
            raise UsageError(f"training.tasks is {self.tasks}; it has a class twice")
        if groups and self.epochs % len(groups):
            raise UsageError(
                f"training.epochs is {self.epochs}; {len(groups)} tasks need a multiple of their number"
            )

    def classes(self) -> tuple[tuple[int, ...], ...]:
        """The classes of every task."""
        try:
            return tuple(tuple(int(label) for label in task.split(",")) for task in self.tasks)
        except ValueError as error:
            raise UsageError(
                f'training.tasks is {self.tasks}; write classes by number, such as "0,1"'
            ) from error


def _usual(module: str, name: str) -> Callable[[], Any]:
    """A default, imported by its name where it is needed: an experiment knows no coding, network or rule by itself."""
    return lambda: getattr(importlib.import_module(f"bitspike.{module}"), name)()


@dataclass(frozen=True)
class Experiment:
    """One point of the space of systems."""

    ranges: ClassVar[Mapping[str, Range]] = {"seed": count()}

    name: str
    """the recipe it came from"""
    data: Data = field(default_factory=Data)
    augment: Augmentation = field(default_factory=_usual("data.augment", "Augment"))
    coding: Coding = field(default_factory=_usual("coding", "FirstSpike"))
    network: NetworkSettings = field(default_factory=_usual("settings", "IF"))
    weights: Weights = field(default_factory=Weights)
    rule: Rule = field(default_factory=_usual("rules.first_spike_race", "FirstSpikeRace"))
    optimizer: Optimizer = field(default_factory=Optimizer)
    training: Training = field(default_factory=Training)
    predict: Predict = field(default_factory=Predict)
    seed: int = 1
    """everything random follows from it"""
    backend: Literal["auto", "native", "reference"] = "auto"
    """what computes: native kernels, the reference in plain PyTorch, or the best there is (auto)"""
    device: str = "cpu"
    """where training and evaluation run: cpu, cuda, cuda:N, or auto (a GPU if there is one)"""

    def __post_init__(self) -> None:
        check(self, self.ranges, "")
        if not DEVICE.fullmatch(self.device):
            raise UsageError(f"device is {self.device!r}; choose cpu, cuda, cuda:N (N counts from 0) or auto")
        draws = self.weights.kind == "bernoulli"
        if self.predict.mode != "map" and not draws:
            raise UsageError(
                f"predict.mode {self.predict.mode} draws networks from a posterior; set weights.kind to bernoulli, or "
                "predict.mode to map"
            )
        if self.training.mode_epochs and not draws:
            raise UsageError("training.mode_epochs belongs to weights.kind bernoulli; set it to 0")
        _accept(self.rule, "networks", "network", self.network)
        _accept(self.rule, "codings", "coding", self.coding)
        if self.weights.kind not in self.rule.kinds:
            raise UsageError(
                _refusal(self.rule, "weights of kind", "weights.kind", self.weights.kind, self.rule.kinds)
            )
        self.weights.check_layers(self.network.weighted)
        self.rule.check(self)

    @property
    def split_seed(self) -> int:
        """The seed that draws the validation data."""
        return self.seed if self.data.split is None else self.data.split

    def with_path(self, path: str, value: Any) -> Experiment:
        """A copy with one setting changed: `with_path("optimizer.lr", 3e-3)`; see `with_changes`."""
        return self.with_changes({path: value})

    def with_changes(self, changes: Mapping[str, Any]) -> Experiment:
        """A copy with settings changed, by their dotted names, all at once and then checked as a whole.

        An unknown name, a value of another type or out of range, and what does not go together raise `UsageError`.
        """
        changed: Experiment = _changed(self, changes, "")
        return changed

    def changes(self, other: Experiment) -> dict[str, tuple[Any, Any]]:
        """Where `other` differs: dotted name -> (value here, value there); a part of another class as a whole."""
        return _differences(self, other, "")


def _accept(rule: Rule, axis: Literal["networks", "codings"], name: str, given: Any) -> None:
    taken: tuple[type, ...] = getattr(rule, axis)
    if not isinstance(given, taken):
        raise UsageError(_refusal(rule, axis, name, type(given).__name__, [kind.__name__ for kind in taken]))


def _refusal(rule: Rule, axis: str, name: str, given: str, taken: typing.Sequence[str]) -> str:
    return (
        f"rule {type(rule).__name__} takes {axis} {', '.join(taken)}; {name} is {given}: "
        f"set {name} to {' or '.join(taken)}"
    )


def _changed(part: Any, changes: Mapping[str, Any], where: str) -> Any:
    names = [f.name for f in dataclasses.fields(part)]
    inner: dict[str, dict[str, Any]] = {}
    for path, value in changes.items():
        name, _, rest = path.partition(".")
        if name not in names:
            near = nearest(where + name, [where + known for known in names])
            raise UsageError(f"there is no setting {where + path!r}{near}")
        inner.setdefault(name, {})[rest] = value
    hints, new = typing.get_type_hints(type(part)), {}
    for name, below in inner.items():
        value, place = getattr(part, name), where + name
        if "" in below:
            value = conform(hints[name], below.pop(""), place)
        if below and not dataclasses.is_dataclass(value):
            raise UsageError(f"{place} is {value!r} and has no setting {next(iter(below))!r}")
        new[name] = _changed(value, below, f"{place}.") if below else value
    return dataclasses.replace(part, **new)


def _differences(old: Any, new: Any, where: str) -> dict[str, tuple[Any, Any]]:
    if old == new:
        return {}
    if type(old) is not type(new) or not dataclasses.is_dataclass(old):
        return {where: (old, new)}
    found: dict[str, tuple[Any, Any]] = {}
    for name in (f.name for f in dataclasses.fields(old)):
        found |= _differences(getattr(old, name), getattr(new, name), f"{where}.{name}".removeprefix("."))
    return found
