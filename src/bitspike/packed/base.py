"""What every packed network can do, with numpy alone: what ships."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol

from bitspike.errors import UsageError
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.operations import Operations


class Engine(Protocol):
    """A packed network prepared to decide fast; complete when it is made, so that threads may share it."""

    @property
    def name(self) -> str:
        """What runs: native (avx512) and the like, or reference."""
        ...

    def decide(self, inputs: Any, threads: int | None = None) -> Decisions:
        """The decisions of `Packed.decide`, equal to the bit."""
        ...

    def label(self, inputs: Any, threads: int | None = None) -> Array:
        """The labels alone, int64 `(n,)`: faster where nothing else is counted."""
        ...


class Packed(ABC):
    """A network without training: layers of (operator, weights, neuron), a coding, a decision rule.

    `decision` names the decision rule in the file; `exact_potentials` is False where the trained network's potentials
    are another multiple than those here.
    """

    decision: ClassVar[str]
    exact_potentials: ClassVar[bool] = True

    n_steps: int

    @property
    @abstractmethod
    def n_in(self) -> int:
        """Input neurons."""

    @property
    @abstractmethod
    def n_classes(self) -> int:
        """Outputs; 1 of a regression."""

    @property
    @abstractmethod
    def one_bit(self) -> bool:
        """Do all synapses hold one bit?"""

    @property
    @abstractmethod
    def takes(self) -> str:
        """The kind of input: images, events or sound."""

    @abstractmethod
    def inputs(self, x: Any, shape: tuple[int, ...]) -> Any:
        """What `decide` and engines take, from what a user has: images of `shape`, or recordings."""

    @abstractmethod
    def decide(self, inputs: Any) -> Decisions:
        """The slow truth: every step, every layer, plain numpy."""

    @abstractmethod
    def engine(self, isa: str | None = None) -> Engine:
        """The native engine for an instruction set (None: the machine's best); `BackendError` where there is none."""

    def over_time(self, inputs: Any) -> Array:
        """Mean probabilities had the answer been demanded after every step that decides; where a network has them."""
        raise UsageError(f"a {type(self).__name__} has no answers over time")

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """`synapses` stored, `synapse_bits`, `thresholds`."""

    def operations(self, inputs: Any) -> Operations:
        """Operations of a decision beside synaptic additions, a mean over the inputs."""
        return Operations()

    @abstractmethod
    def to_parts(self, shape: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Array]]:
        """What a model file holds of the network: fields of its metadata, and tensors (docs/format.md)."""

    @classmethod
    @abstractmethod
    def reads(cls, metadata: dict[str, Any]) -> bool:
        """Is this the class of a file with such metadata?"""

    @classmethod
    @abstractmethod
    def from_parts(cls, metadata: dict[str, Any], tensors: dict[str, Array]) -> Packed:
        """The network of a file; takes what it reads out of both dictionaries. `FormatError` says what is wrong."""
