"""Committees: packed models that decide together, in one file (docs/format.md). Importing this needs no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitspike.deploy.model import Model
from bitspike.errors import FormatError, UsageError
from bitspike.packed import average as committee
from bitspike.packed.average import Average
from bitspike.packed.conformal import Quantiles, check_quantiles, quantile_field, take_quantiles
from bitspike.packed.container import check_fields, join
from bitspike.packed.decisions import Array, Decisions

VERSION = 1
DECISION = "committee, index"
MAX_MEMBERS = 1000


@dataclass(frozen=True, eq=False)
class CommitteeContents:
    """What a committee's file holds: the contents of its members, how they are averaged, its own temperature.

    Members agree in classes (regressions have none), in the shape and the kind of their input; nothing else.
    """

    members: tuple[Any, ...]  # Contents, TrainContents or SRMContents
    average: Average = "probability"
    temperature: float = 1.0
    recipe: str = ""
    conformal: Quantiles = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.members) <= MAX_MEMBERS:
            raise UsageError(f"{len(self.members)} members; a committee has 1 to {MAX_MEMBERS}")
        first = self.members[0]
        for number, member in enumerate(self.members, start=1):
            if isinstance(member, CommitteeContents):
                raise UsageError(f"member {number} is a committee; give its members instead")
            for what in ("classes", "input_shape"):
                mine, theirs = getattr(member, what), getattr(first, what)
                if mine != theirs:
                    raise UsageError(
                        f"member {number} has {what} {mine}, member 1 has {theirs}; they must agree"
                    )
            if _kind(member) != _kind(first):
                raise UsageError(f"member {number} takes {_kind(member)}, member 1 takes {_kind(first)}")
        if self.average not in ("probability", "potential"):
            raise UsageError(f"average is {self.average!r}; it must be 'probability' or 'potential'")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise UsageError(f"temperature is {self.temperature}; it must be positive and finite")
        if self.conformal and not self.classes:
            raise UsageError("a regression has no conformal sets of classes")
        check_quantiles(self.conformal)

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of every member."""
        names: tuple[str, ...] = self.members[0].classes
        return names

    @property
    def input_shape(self) -> tuple[int, ...]:
        """That of every member."""
        shape: tuple[int, ...] = self.members[0].input_shape
        return shape

    @property
    def coding(self) -> str:
        """The kind of input: images, events or sound."""
        return _kind(self.members[0])


def _kind(member: Any) -> str:
    coding: str = member.coding
    return coding if coding in ("events", "sound") else "images"


def encode(contents: CommitteeContents, encode_member: Callable[[Any], bytes]) -> bytes:
    """The bytes of the file: each member's complete model file as one tensor `member.K`, K from 1."""
    tensors = {
        f"member.{number}": np.frombuffer(encode_member(member), np.uint8)
        for number, member in enumerate(contents.members, start=1)
    }
    metadata = {
        "format": VERSION,
        "members": len(contents.members),
        "average": contents.average,
        "temperature": contents.temperature,
        "decision": DECISION,
        "recipe": contents.recipe,
    }
    return join(metadata | quantile_field(contents.conformal), tensors)


def decode(
    metadata: dict[str, Any], tensors: dict[str, Array], decode_member: Callable[[bytes], Any]
) -> CommitteeContents:
    """The contents of a file with the decision rule `DECISION`, whose format version has been checked."""
    conformal = take_quantiles(metadata)
    check_fields(
        metadata,
        {"format": int, "members": int, "average": str, "temperature": float, "decision": str, "recipe": str},
        {},
    )
    count = metadata["members"]
    if not 1 <= count <= MAX_MEMBERS:
        raise FormatError(f"{count} members; a committee has 1 to {MAX_MEMBERS}")
    names = [f"member.{number}" for number in range(1, count + 1)]
    if set(tensors) != set(names):
        raise FormatError(f"tensors {sorted(tensors)[:5]}...; expected member.1 to member.{count}")
    members = []
    for name in names:
        tensor = tensors[name]
        if tensor.dtype != np.uint8 or tensor.ndim != 1:
            raise FormatError(f"{name} is {tensor.dtype} {tensor.shape}; expected uint8 (bytes,)")
        try:
            members.append(decode_member(tensor.tobytes()))
        except (FormatError, UsageError) as error:
            raise FormatError(f"{name}: {error}") from error
    return CommitteeContents(
        tuple(members), metadata["average"], metadata["temperature"], metadata["recipe"], conformal
    )


class CommitteeModel(Model):
    """Packed models that decide together, each on the input as it is.

    p = mean_k softmax(potentials_k / T_k), T_k the members' temperatures; of average "potential", p = softmax(mean_k
    potentials_k / T_k). Potentials are ln p; probabilities softmax(ln p / temperature).
    """

    def __init__(
        self,
        members: Sequence[Any],
        average: Average = "probability",
        temperature: float = 1.0,
        recipe: str = "",
        conformal: Quantiles = (),
    ) -> None:
        self.members = tuple(members)
        self.contents = CommitteeContents(
            tuple(member.contents for member in self.members), average, temperature, recipe, conformal
        )
        self.classes, self.temperature = self.contents.classes, temperature

    @property
    def n_steps(self) -> int:
        """The longest window of a member."""
        return int(max(member.n_steps for member in self.members))

    @property
    def one_bit(self) -> bool:
        """Do all synapses hold one bit?"""
        return all(member.one_bit for member in self.members)

    @property
    def backend(self) -> str:
        """What runs: that of the members, each kind once."""
        return ", ".join(dict.fromkeys(member.backend for member in self.members))

    def decide(self, x: Any, threads: int | None = None) -> Decisions:
        """The committee's decisions; decision_time is that of the last member, spikes and additions are sums."""
        decided = self._each(x, threads)
        return committee.combine(decided, self._temperatures(), self.contents.average)

    def member_probabilities(self, x: Any, threads: int | None = None) -> Array:
        """softmax(potentials_k / T_k) of every member, float32 `(members, n, classes)`; of regressions their values."""
        potentials = [decided.potentials for decided in self._each(x, threads)]
        return committee.member_probabilities(potentials, self._temperatures()).astype(np.float32)

    def footprint(self) -> dict[str, int]:
        """Sums over the members, and the true size of the file in bytes."""
        parts = [member.footprint() for member in self.members]
        whole = {name: sum(part[name] for part in parts) for name in parts[0]}
        from bitspike.packed.file import encode as encode_any

        return {"members": len(parts), **whole, "file_bytes": len(encode_any(self.contents))}

    def _each(self, x: Any, threads: int | None) -> list[Decisions]:
        first = self.members[0]
        if _kind(first.contents) != "images":
            alike = {repr(member.network.coding) for member in self.members}
            x = first.inputs(x) if len(alike) == 1 else x  # recordings are coded once
        return [member.decide(x, threads) for member in self.members]

    def _temperatures(self) -> list[float]:
        return [member.temperature for member in self.members]
