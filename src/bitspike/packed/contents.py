"""What a model file holds, whatever the network, and its bytes (docs/format.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bitspike.errors import FormatError, UsageError
from bitspike.packed.base import Known, Packed
from bitspike.packed.conformal import Quantiles, check_quantiles, quantile_field, take_quantiles
from bitspike.packed.container import check_fields, join, split
from bitspike.packed.fields import unknown

VERSION = 1
COMMON = {"format": int, "temperature": float, "decision": str, "recipe": str}


@dataclass(frozen=True, eq=False)
class Contents:
    """The network, the shape of one input, the names of its classes in order, and how sure it is.

    `input_shape`: (height, width), (height, width, channels) or (features,) of an image; recordings have that of their
    coding. `temperature` divides the potentials in the softmax. `recipe`: what the model was trained by. `conformal`:
    pairs (alpha, threshold), alpha rising. A regression names no classes and has no thresholds.
    """

    network: Packed
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    temperature: float = 1.0
    recipe: str = ""
    conformal: Quantiles = ()

    def __post_init__(self) -> None:
        network, shape = self.network, self.input_shape
        if not shape or min(shape) < 1:
            raise UsageError(f"input_shape {shape} is the shape of no input")
        network.check_shape(shape)
        outputs = 0 if network.regression else network.n_classes
        if len(self.classes) != outputs:
            raise UsageError(f"{len(self.classes)} classes are named but the network has {outputs}")
        for member in network.members[:1]:
            if member.classes != self.classes:
                raise UsageError(f"classes are {self.classes}, those of the members {member.classes}")
        if not 0 < in_float32(self.temperature) < math.inf:  # NaN fails
            raise UsageError(
                f"temperature is {self.temperature}; it must be positive and finite, in float32 too"
            )
        if self.conformal and network.regression:
            raise UsageError("a regression has no conformal sets of classes")
        check_quantiles(self.conformal)

    def to_bytes(self) -> bytes:
        """The bytes of the model file; equal contents give equal bytes."""
        fields, tensors = self.network.to_parts(self.input_shape)
        trailing = {name: fields.pop(name) for name in self.network.trailing}
        classes = {} if self.network.members else {"classes": list(self.classes)}
        metadata = {
            "format": VERSION,
            **fields,
            **classes,
            "temperature": float(self.temperature),
            "decision": self.network.decision,
            "recipe": self.recipe,
            **trailing,
        }
        return join(metadata | quantile_field(self.conformal), tensors)

    @staticmethod
    def from_bytes(data: bytes, known: Known) -> Contents:
        """Read the bytes of a model file; whatever breaks the format raises `FormatError` and says what."""
        try:
            return _read(data, known)
        except UsageError as error:
            raise FormatError(str(error)) from error


def in_float32(value: float) -> float:
    """The number as float32 has it: 0 where it is too small, infinite where it is too large."""
    with np.errstate(over="ignore", under="ignore"):
        return float(np.float32(value))


def _read(data: bytes, known: Known) -> Contents:
    metadata, tensors = split(data)
    version, decision = metadata.get("format"), metadata.get("decision")
    if version != VERSION or type(version) is not int:
        raise FormatError(f"format version {version!r:.100}; this release reads version {VERSION} only")
    kind = next((kind for kind in known.kinds if kind.reads(metadata)), None)
    if kind is None:
        decisions = sorted({kind.decision for kind in known.kinds})
        if decision in decisions:
            raise FormatError(
                f"no network with decision rule {decision!r} has coding {metadata.get('coding')!r:.100}"
            )
        raise unknown("decision rule", decision, decisions)
    conformal = take_quantiles(metadata)
    check_fields(metadata, {**kind.fields, **COMMON})
    network = kind.from_parts(metadata, tensors, known)
    network.demand.check(known.most)
    if tensors:
        raise FormatError(f"tensors that do not belong here: {sorted(tensors)[:5]}")
    first = network.members[0] if network.members else None
    return Contents(
        network=network,
        input_shape=first.input_shape if first else tuple(metadata["input"]),
        classes=first.classes if first else tuple(metadata["classes"]),
        temperature=metadata["temperature"],
        recipe=metadata["recipe"],
        conformal=conformal,
    )
