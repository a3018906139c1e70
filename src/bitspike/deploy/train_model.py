"""Inference of a packed network of spike trains, with numpy alone."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from bitspike.coding import EventBins, SpikeList
from bitspike.data.recordings import EVENT, Audio, Events
from bitspike.deploy.model import Backend, Model, as_images, check_backend
from bitspike.errors import BackendError, DataError
from bitspike.ops.native import instruction_sets
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.lif import file as train_format
from bitspike.packed.lif import reference
from bitspike.packed.lif.native import LIFEngine


class SpikeModel(Model):
    """What packed networks that take spikes share: an engine, native or in numpy, and inputs by their coding."""

    engine: ClassVar[type[Any]]  # the native one: of a network and an instruction set

    def __init__(self, contents: Any, backend: Backend = "auto", isa: str | None = None) -> None:
        check_backend(backend)
        if isa is not None and backend == "reference":
            raise BackendError(f"instruction set {isa!r} was asked for, but the reference runs in numpy")
        self._made_from = contents, backend, isa
        self.contents, self.network = contents, contents.network
        self.classes, self.temperature = contents.classes, contents.temperature
        native = backend == "native" or isa is not None or (backend == "auto" and bool(instruction_sets()))
        self._native: Any = self.engine(contents.network, isa) if native else None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_from  # the native engine is built anew from the contents

    @property
    def backend(self) -> str:
        """What runs: "native (avx512)" and the like, or "reference"."""
        return f"native ({self._native.isa})" if self._native is not None else "reference"

    def inputs(self, x: Any) -> Array | SpikeList:
        """What the network takes: uint8 images `(n, n_pixels)`, or the spikes of recordings."""
        return as_inputs(x, self.network.coding, self.contents.input_shape)


class TrainModel(SpikeModel):
    """A packed network of spike trains, ready to decide.

    Codings direct and poisson take images as `PackedModel` does. Coding events takes `Events` or one recording, an
    array of dtype `EVENT`; coding sound takes `Audio`; both take a `SpikeList` already coded. Results always have the
    first axis n.
    """

    engine = LIFEngine

    def predict(self, x: Any, threads: int | None = None) -> Array:
        """The class of each input, its index in `classes`, int64 `(n,)`."""
        if self._native is not None:
            labels: Array = self._native.label(self.inputs(x), threads)
            return labels
        return self.decide(x).labels

    def decide(self, x: Any, threads: int | None = None) -> Decisions:
        """The decisions with all that can be known about them; potentials are the scores."""
        inputs = self.inputs(x)
        if self._native is not None:
            decided: Decisions = self._native.decide(inputs, threads)
            return decided
        return reference.decide(self.network, inputs)

    def footprint(self) -> dict[str, int]:
        """Synapses stored, their bits, thresholds, and the true size of the model file in bytes."""
        layers = self.network.layers
        return {
            "synapses": sum(layer.n_synapses for layer in layers),
            "synapse_bits": sum(layer.n_synapses * (1 if layer.kind == "binary" else 32) for layer in layers),
            "thresholds": len(layers),
            "file_bytes": len(train_format.encode(self.contents)),
        }


def as_inputs(x: Any, coding: Any, shape: tuple[int, ...]) -> Array | SpikeList:
    """What a network of spike trains takes: uint8 images `(n, n_pixels)`, or the spikes of recordings."""
    if coding.of_images:
        return as_images(x, shape, math.prod(shape))
    wanted = Events if isinstance(coding, EventBins) else Audio
    if isinstance(x, np.ndarray) and x.dtype == EVENT and wanted is Events:
        x = Events.join([x], (shape[1], shape[2]))
    if isinstance(x, SpikeList):
        return x
    if not isinstance(x, wanted):
        kind = "events" if wanted is Events else "sound"
        raise DataError(
            f"the input is {type(x).__name__}; a model of {kind} wants {wanted.__name__} or a SpikeList"
        )
    spikes: SpikeList = coding.encode(x)
    return spikes
