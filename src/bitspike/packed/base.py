"""What every packed network can do, with numpy alone: what ships."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bitspike.errors import FormatError, UsageError
from bitspike.ops.native import instruction_sets
from bitspike.packed.container import Tensors
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.operations import Operations


class Engine(ABC):
    """A packed network prepared to decide fast; complete when it is made, so that threads may share it.

    `isa` is the instruction set in use, None where it runs in numpy.
    """

    isa: str | None = None

    @property
    def name(self) -> str:
        """What runs: native (avx512) and the like, or reference."""
        return "reference" if self.isa is None else f"native ({self.isa})"

    @abstractmethod
    def decide(self, inputs: Any, threads: int | None = None) -> Decisions:
        """The decisions of `Packed.decide`, equal to the bit."""

    def label(self, inputs: Any, threads: int | None = None) -> Array:
        """The labels alone, int64 `(n,)`: faster where nothing else is counted."""
        return self.decide(inputs, threads).labels

    def over_time(self, inputs: Any, threads: int | None = None) -> Array:
        """The probabilities of `Packed.over_time`; `UsageError` where a network has none."""
        raise UsageError(f"{type(self).__name__} has no answers over time")


class DecidingEngine(Engine):
    """An engine whose kernels write the arrays of `Decisions` in their order; those left out are not computed."""

    n_classes: int

    @abstractmethod
    def _run(self, inputs: Any, threads: int | None, *results: Array) -> None: ...

    def decide(self, inputs: Any, threads: int | None = None) -> Decisions:
        """The decisions of `Packed.decide`, equal to the bit."""
        decisions = Decisions.empty(len(inputs), self.n_classes)
        self._run(inputs, threads, *vars(decisions).values())
        return decisions

    def label(self, inputs: Any, threads: int | None = None) -> Array:
        """The labels of `decide` alone, int64 `(n,)`: faster, for nothing else is counted."""
        labels = np.empty(len(inputs), np.int64)
        self._run(inputs, threads, labels)
        return labels


@dataclass(frozen=True)
class Demand:
    """What a decision asks for: `states`, neurons times steps, and `synapses` as kernels lay them out, rows of 512.

    As a limit, the most that a file may ask for: the defaults take less than a second and 300 MB, and stand ten times
    and more above every recipe of this library.
    """

    states: int = 0
    synapses: int = 0

    def __add__(self, other: Demand) -> Demand:
        return Demand(self.states + other.states, self.synapses + other.synapses)

    def check(self, most: Demand) -> None:
        """Refuse, with `FormatError`, more than `most`."""
        for name, asked in vars(self).items():
            if asked > vars(most)[name]:
                raise FormatError(
                    f"a decision asks for {asked:,} {name}, at most {vars(most)[name]:,} are allowed; if you trust "
                    "the file, load it with higher limits"
                )


MOST = Demand(states=1 << 27, synapses=1 << 31)


class Packed(ABC):
    """A network without training: layers of (operator, weights, neuron), a coding, a decision rule.

    `decision` names the decision rule in the file; a class that sets none has its import path, "module:Class", and is
    read back where its module is given. `fields` are those of its metadata with their types ([int]: a list of them),
    `trailing` of them stand after those that all files have. `exact_potentials` is False where the trained network's
    potentials are another multiple than those here. `members`: of a committee, else none.
    """

    decision: ClassVar[str]
    fields: ClassVar[Mapping[str, Any]]
    trailing: ClassVar[tuple[str, ...]] = ()
    exact_potentials: bool = True

    n_steps: int
    members: tuple[Any, ...] = ()  # of `contents.Contents`

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        if "decision" not in vars(cls):
            cls.decision = import_path(cls)

    @property
    @abstractmethod
    def n_in(self) -> int:
        """Input neurons."""

    @property
    @abstractmethod
    def n_classes(self) -> int:
        """Outputs; 1 of a regression."""

    @property
    def regression(self) -> bool:
        """Is the decision a value, so that there are no classes?"""
        return False

    @property
    @abstractmethod
    def one_bit(self) -> bool:
        """Do all synapses hold one bit?"""

    @property
    @abstractmethod
    def takes(self) -> str:
        """The kind of input: images, events or sound."""

    @abstractmethod
    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse, with `UsageError`, a shape of one input that does not make the network's inputs."""

    @abstractmethod
    def inputs(self, x: Any, shape: tuple[int, ...]) -> Any:
        """What `decide` and engines take, from what a user has: images of `shape`, or recordings.

        What it gives is taken once more as it is.
        """

    def codes_as(self, other: Packed) -> bool:
        """Are recordings coded as for another network, so that coding them once is enough?"""
        return False

    @abstractmethod
    def decide(self, inputs: Any) -> Decisions:
        """The slow truth: every step, every layer, plain numpy."""

    @abstractmethod
    def engine(self, isa: str | None = None) -> Engine:
        """The native engine for an instruction set (None: the machine's best); `BackendError` where there is none."""

    def best(self) -> Engine:
        """The fastest engine of this machine."""
        return self.engine() if instruction_sets() else Reference(self)

    def over_time(self, inputs: Any) -> Array:
        """Mean probabilities had the answer been demanded after every step that decides; where a network has them."""
        raise UsageError(f"a {type(self).__name__} has no answers over time")

    @property
    def demand(self) -> Demand:
        """What a decision asks for, from the sizes alone."""
        return Demand()

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """`synapses` stored, `synapse_bits`, `thresholds`."""

    def operations(self, inputs: Any) -> Operations:
        """Operations of a decision beside synaptic additions, a mean over what `inputs` gives."""
        return Operations()

    @abstractmethod
    def to_parts(self, shape: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Array]]:
        """What a model file holds of the network: its `fields` but the classes, and tensors (docs/format.md)."""

    @classmethod
    def reads(cls, metadata: Mapping[str, Any]) -> bool:
        """Is this the class of a file with such metadata?"""
        return bool(metadata.get("decision") == cls.decision)

    @classmethod
    @abstractmethod
    def from_parts(cls, metadata: Mapping[str, Any], tensors: Tensors, known: Known) -> Packed:
        """The network of a file whose fields have their types; takes the tensors it reads out of `tensors`.

        `known`: what the file may name. `FormatError` or `UsageError` says what is wrong.
        """


@dataclass(frozen=True)
class Known:
    """What a file may name, classes of packed networks and codings by their names in files, and ask for (`most`)."""

    kinds: tuple[type[Packed], ...]
    codings: Mapping[str, type[Any]]
    most: Demand = MOST


class Reference(Engine):
    """The slow truth as an engine, in numpy and on one thread."""

    def __init__(self, network: Packed) -> None:
        self._network = network

    def decide(self, inputs: Any, threads: int | None = None) -> Decisions:
        """The decisions of `Packed.decide`."""
        return self._network.decide(inputs)

    def over_time(self, inputs: Any, threads: int | None = None) -> Array:
        """The probabilities of `Packed.over_time`."""
        return self._network.over_time(inputs)


def import_path(cls: type[Any]) -> str:
    """Where a class is found: "module:Class"."""
    return f"{cls.__module__}:{cls.__qualname__}"
