"""`bitspike.load(path).predict(inputs)`: inference of a packed model, with numpy alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bitspike.coding.first_spike import time_table
from bitspike.deploy.model import Backend, Model, as_images, check_backend
from bitspike.deploy.srm_model import SRMModel
from bitspike.deploy.train_model import TrainModel
from bitspike.errors import BackendError
from bitspike.ops.native import instruction_sets
from bitspike.packed import file as file_format
from bitspike.packed.committee import CommitteeContents, CommitteeModel
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.file import AnyContents, Contents
from bitspike.packed.first_spike import reference
from bitspike.packed.first_spike.native import FirstSpikeEngine
from bitspike.packed.lif.file import TrainContents
from bitspike.packed.pixel import PixelEngine
from bitspike.packed.srm.file import SRMContents


def load(path: Path | str, backend: Backend = "auto", isa: str | None = None) -> AnyModel:
    """Load a model file. `backend` "auto" takes the native engine where it was built; `isa` names an
    instruction set.

    A file that breaks the format raises `FormatError`, a back end that is not there `BackendError`.
    """
    return build(file_format.read(path), backend, isa)


def build(contents: AnyContents, backend: Backend = "auto", isa: str | None = None) -> AnyModel:
    """The model of a file's contents; see `load`."""
    if isinstance(contents, TrainContents):
        return TrainModel(contents, backend, isa)
    if isinstance(contents, SRMContents):
        return SRMModel(contents, backend, isa)
    if isinstance(contents, CommitteeContents):
        members = [build(member, backend, isa) for member in contents.members]
        return CommitteeModel(
            members, contents.average, contents.temperature, contents.recipe, contents.conformal
        )
    return PackedModel(contents, backend, isa)


class PackedModel(Model):
    """A packed model of first spikes or of pixels, ready to decide.

    Images are uint8 of shape `(n, *input_shape)`, `(n, features)`, or one image without the first axis; 0
    is dark, 255 bright. Floats in [0, 1] are accepted and rounded to k / 255. Results always have the first
    axis n.
    """

    def __init__(self, contents: Contents, backend: Backend = "auto", isa: str | None = None) -> None:
        check_backend(backend)
        if isa is not None and (backend == "reference" or contents.coding == "pixel"):
            raise BackendError(f"instruction set {isa!r} was asked for, but this model runs in numpy")
        self._made_from = contents, backend, isa
        self.contents, self.network = contents, contents.network
        self.classes, self.temperature = contents.classes, contents.temperature
        self._n_in, self._shape = contents.network.n_in, contents.input_shape
        self._native: FirstSpikeEngine | None = None
        self._pixel: PixelEngine | None = None
        self._table = time_table(contents.network.n_steps)
        if contents.coding == "pixel":
            if backend == "native":
                raise BackendError("there is no native engine for coding 'pixel'; use backend 'auto'")
            self._pixel = PixelEngine(contents.network, contents.binarise)
        elif backend == "native" or isa is not None or (backend == "auto" and instruction_sets()):
            self._native = FirstSpikeEngine(contents.network, isa)

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedModel, self._made_from  # the native engine is built anew from the contents

    @property
    def backend(self) -> str:
        """What runs: "native (avx512)" and the like, or "reference"."""
        return f"native ({self._native.isa})" if self._native is not None else "reference"

    def predict(self, x: Any, threads: int | None = None) -> Array:
        """The class of each image, its index in `classes`, int64 `(n,)`."""
        if self._native is not None:
            return self._native.label_images(self._images(x), self._table, threads)
        return self.decide(x).labels

    def decide(self, x: Any, threads: int | None = None) -> Decisions:
        """The decisions with all that can be known about them."""
        images = self._images(x)
        if self._pixel is not None:
            return self._pixel.run_images(images)
        if self._native is not None:
            return self._native.run_images(images, self._table, threads)
        return reference.decide(self.network, self.times(images))

    def times(self, images: Array) -> Array:
        """Spike times of uint8 images, same shape, int16 in steps (coding "first_spike")."""
        times: Array = self._table[images]
        return times

    def footprint(self) -> dict[str, int]:
        """Synapses, their bits, thresholds, and the true size of the model file in bytes."""
        layers = self.network.layers
        return {
            "synapses": sum(layer.n_in * layer.n_out for layer in layers),
            "synapse_bits": sum(
                layer.n_in * layer.n_out * (1 if layer.kind == "binary" else 32) for layer in layers
            ),
            "thresholds": sum(layer.n_out for layer in layers),
            "file_bytes": len(file_format.encode(self.contents)),
        }

    def _images(self, x: Any) -> Array:
        """The images as uint8 `(n, n_in)`."""
        return as_images(x, self._shape, self._n_in)


AnyModel = PackedModel | TrainModel | SRMModel | CommitteeModel
