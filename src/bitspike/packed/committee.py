"""Committees: packed networks that decide together, in one file (docs/format.md). Importing this needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bitspike.errors import FormatError, UsageError
from bitspike.packed import average as arithmetic
from bitspike.packed.average import Average
from bitspike.packed.base import Demand, Engine, Known, Packed
from bitspike.packed.container import Tensors
from bitspike.packed.contents import Contents
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.images import as_images
from bitspike.packed.operations import Operations

MAX_MEMBERS = 1000


@dataclass(frozen=True, eq=False)
class CommitteePacked(Packed):
    """Networks that decide together, each on the input as it is and with its own temperature T_k.

    p = mean_k softmax(potentials_k / T_k); of average "potential", p = softmax(mean_k potentials_k / T_k). Potentials
    are ln p. Members agree in classes (regressions have none), in the shape and the kind of their input; nothing else.
    """

    members: tuple[Contents, ...]
    average: Average = "probability"

    decision: ClassVar[str] = "committee, index"
    fields: ClassVar[Mapping[str, Any]] = {"members": int, "average": str}

    def __post_init__(self) -> None:
        if not 1 <= len(self.members) <= MAX_MEMBERS:
            raise UsageError(f"{len(self.members)} members; a committee has 1 to {MAX_MEMBERS}")
        first = self.members[0]
        for number, member in enumerate(self.members, start=1):
            if member.network.members:
                raise UsageError(f"member {number} is a committee; give its members instead")
            for what in ("classes", "input_shape"):
                mine, theirs = getattr(member, what), getattr(first, what)
                if mine != theirs:
                    raise UsageError(
                        f"member {number} has {what} {mine}, member 1 has {theirs}; they must agree"
                    )
            if member.network.takes != first.network.takes:
                raise UsageError(
                    f"member {number} takes {member.network.takes}, member 1 takes {first.network.takes}"
                )
        if self.average not in ("probability", "potential"):
            raise UsageError(f"average is {self.average!r}; it must be 'probability' or 'potential'")

    @property
    def networks(self) -> tuple[Packed, ...]:
        """Those of the members."""
        return tuple(member.network for member in self.members)

    @property
    def n_steps(self) -> int:  # type: ignore[override]
        """The longest window of a member."""
        return max(network.n_steps for network in self.networks)

    @property
    def exact_potentials(self) -> bool:  # type: ignore[override]
        """False if that of any member is."""
        return all(network.exact_potentials for network in self.networks)

    @property
    def n_in(self) -> int:
        """Input neurons of the first member."""
        return self.networks[0].n_in

    @property
    def n_classes(self) -> int:
        """Outputs; 1 of regressions."""
        return self.networks[0].n_classes

    @property
    def regression(self) -> bool:
        """Are the members regressions?"""
        return self.networks[0].regression

    @property
    def one_bit(self) -> bool:
        """Do all synapses hold one bit?"""
        return all(network.one_bit for network in self.networks)

    @property
    def takes(self) -> str:
        """The kind of input of every member."""
        return self.networks[0].takes

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse a shape that is not that of the members."""
        if shape != self.members[0].input_shape:
            raise UsageError(f"input_shape {shape} is not that of the members, {self.members[0].input_shape}")

    def inputs(self, x: Any, shape: tuple[int, ...]) -> Any:
        """Still images as uint8 rows; recordings coded once where all members code alike, else as they are."""
        first = self.networks[0]
        if first.takes == "images":
            return as_images(x, shape, int(np.prod(shape)))
        alike = all(network.codes_as(first) for network in self.networks)
        return first.inputs(x, shape) if alike else x

    def decide(self, inputs: Any) -> Decisions:
        """The decisions that follow from those of the members, each by its slow truth."""
        return self.combine(
            [one.network.decide(one.network.inputs(inputs, one.input_shape)) for one in self.members]
        )

    def combine(self, decisions: Sequence[Decisions]) -> Decisions:
        """The committee's decisions from those of its members (`average.combine`)."""
        return arithmetic.combine(decisions, self._temperatures(), self.average)

    def member_probabilities(self, decisions: Sequence[Decisions]) -> Array:
        """softmax(potentials_k / T_k) of every member, float32 `(members, n, classes)`; of regressions their values."""
        potentials = [one.potentials for one in decisions]
        return arithmetic.member_probabilities(potentials, self._temperatures()).astype(np.float32)

    def engine(self, isa: str | None = None) -> CommitteeEngine:
        """The native engines of the members."""
        return CommitteeEngine(self, [network.engine(isa) for network in self.networks])

    def best(self) -> CommitteeEngine:
        """The fastest engine of every member."""
        return CommitteeEngine(self, [network.best() for network in self.networks])

    @property
    def demand(self) -> Demand:
        """Sums over the members."""
        return sum((network.demand for network in self.networks), Demand())

    def sizes(self) -> dict[str, int]:
        """How many members there are, and sums over them."""
        parts = [network.sizes() for network in self.networks]
        return {"members": len(parts), **{name: sum(part[name] for part in parts) for name in parts[0]}}

    def operations(self, inputs: Any) -> Operations:
        """Sums over the members."""
        total = Operations()
        for member in self.members:
            total += member.network.operations(member.network.inputs(inputs, member.input_shape))
        return total

    def to_parts(self, shape: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Array]]:
        """Each member's complete model file as one tensor `member.K`, K from 1."""
        tensors = {
            f"member.{number}": np.frombuffer(member.to_bytes(), np.uint8)
            for number, member in enumerate(self.members, start=1)
        }
        return {"members": len(self.members), "average": self.average}, tensors

    @classmethod
    def from_parts(cls, metadata: Mapping[str, Any], tensors: Tensors, known: Known) -> CommitteePacked:
        """The committee of a file; a damaged member raises `FormatError` with its number."""
        count = metadata["members"]
        if not 1 <= count <= MAX_MEMBERS:
            raise FormatError(f"{count} members; a committee has 1 to {MAX_MEMBERS}")
        names = [f"member.{number}" for number in range(1, count + 1)]
        if set(tensors) != set(names):
            raise FormatError(f"tensors {sorted(tensors)[:5]}...; expected member.1 to member.{count}")
        single = replace(
            known, kinds=tuple(kind for kind in known.kinds if not issubclass(kind, CommitteePacked))
        )
        members = []
        for name in names:
            tensor = tensors.pop(name)
            if tensor.dtype != np.uint8 or tensor.ndim != 1:
                raise FormatError(f"{name} is {tensor.dtype} {tensor.shape}; expected uint8 (bytes,)")
            try:
                members.append(Contents.from_bytes(tensor.tobytes(), single))
            except FormatError as error:
                raise FormatError(f"{name}: {error}") from error
        return cls(tuple(members), metadata["average"])

    def _temperatures(self) -> list[float]:
        return [member.temperature for member in self.members]


class CommitteeEngine(Engine):
    """The engines of a committee's members, in their order."""

    def __init__(self, committee: CommitteePacked, engines: Sequence[Engine]) -> None:
        self._committee, self.engines = committee, tuple(engines)
        sets = {engine.isa for engine in self.engines}
        self.isa = sets.pop() if len(sets) == 1 else None

    @property
    def name(self) -> str:
        """Those of the members, each once."""
        return ", ".join(dict.fromkeys(engine.name for engine in self.engines))

    def decide(self, inputs: Any, threads: int | None = None) -> Decisions:
        """The committee's decisions; decision_time is that of the last member, spikes and additions are sums."""
        return self._committee.combine(self.each(inputs, threads))

    def each(self, inputs: Any, threads: int | None = None) -> list[Decisions]:
        """The decisions of every member."""
        pairs = zip(self._committee.members, self.engines, strict=True)
        return [engine.decide(one.network.inputs(inputs, one.input_shape), threads) for one, engine in pairs]
