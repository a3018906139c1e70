"""What packed networks share whose neurons exchange spikes over a window of steps: their coding and their input."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np

from bitspike.coding.spike_list import SpikeList
from bitspike.data.recordings import EVENT, Audio, Events
from bitspike.errors import DataError, UsageError
from bitspike.ops.native import thread_count
from bitspike.ops.operators import Operator
from bitspike.packed.base import Demand, Packed
from bitspike.packed.decisions import Array
from bitspike.packed.images import as_images

MAX_STEPS = 32767
AT_ONCE = 1 << 27  # neurons times steps that the slow truth holds at a time
MAX_WIDTH = 2**24 - 1
_RECORDINGS: dict[str, type[Any]] = {"events": Events, "sound": Audio}


@runtime_checkable
class Constant(Protocol):
    """A coding that turns a still image into a constant current (`Direct`)."""

    @property
    def current_per_level(self) -> float: ...


@runtime_checkable
class Drawn(Protocol):
    """A coding that draws spike trains from a still image, the same for the same image (`Poisson`)."""

    def channels_of(self, n_pixels: int) -> int: ...
    def trains(self, images: Array) -> Array: ...


@runtime_checkable
class Counted(Drawn, Protocol):
    """A coding whose draws the kernels make: those of `Poisson`, by its limits `(sides, 256)`."""

    def limits(self) -> Array: ...


class WindowPacked(Packed):
    """A network over a window of `n_steps`; `coding` says what enters.

    `Constant` and `Drawn` codings take uint8 images `(n, n_pixels)`. With any other coding of images, with recordings,
    or without a coding, the input is a `SpikeList`; such a coding of images makes it from uint8 rows.
    """

    layers: tuple[Any, ...]  # each with an `operator` and a `kind`
    coding: Any  # a `bitspike.contracts.Coding`, or None

    def check_window(self) -> None:
        """Refuse, with `UsageError`, a window that is none, or is not that of the coding."""
        if not 2 <= self.n_steps <= MAX_STEPS:
            raise UsageError(f"n_steps is {self.n_steps}; it must lie between 2 and {MAX_STEPS}")
        if self.coding is not None and self.coding.n_steps != self.n_steps:
            raise UsageError(f"the coding has {self.coding.n_steps} steps but the network has {self.n_steps}")

    @property
    def operators(self) -> tuple[Operator, ...]:
        """Those of the layers."""
        return tuple(layer.operator for layer in self.layers)

    @property
    def n_in(self) -> int:
        """Input neurons."""
        return int(self.layers[0].operator.n_in)

    @property
    def one_bit(self) -> bool:
        """Do all synapses hold one bit?"""
        return all(layer.kind != "real" for layer in self.layers)

    @property
    def demand(self) -> Demand:
        """The input's neurons and those of all layers, before pooling, in every step."""
        return Demand(states=self.n_steps * (self.n_in + sum(op.n_out for op in self.operators)))

    def parts(self, inputs: Array | SpikeList) -> Iterator[Array | SpikeList]:
        """The inputs in their order, so many at a time that their states fit in memory; of no inputs one empty part."""
        size = max(1, AT_ONCE // self.demand.states)
        for begin in range(0, max(1, len(inputs)), size):
            yield inputs[begin : begin + size]

    @property
    def takes(self) -> str:
        """The kind of input: images, events or sound; without a coding, spikes."""
        return "spikes" if self.coding is None else str(self.coding.takes)

    @property
    def reads_images(self) -> bool:
        """Are uint8 images what enters, not spikes?"""
        return isinstance(self.coding, Constant | Drawn)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse a shape of which the coding does not make the network's inputs."""
        coding, n = self.coding, math.prod(shape)
        if coding is None:
            raise UsageError("the network has no coding; give it one that says what enters")
        if coding.takes == "images":
            made = coding.channels_of(n)
        else:
            made = n if math.prod(coding.input_shape(shape)) == n else -1
        if made != self.n_in:
            raise UsageError(f"input_shape {shape} does not make {self.n_in} inputs")

    def inputs(self, x: Any, shape: tuple[int, ...]) -> Array | SpikeList:
        """Uint8 images `(n, n_pixels)`, or the spikes of recordings: `Events`, one array of dtype `EVENT`, `Audio`.

        A `SpikeList` is taken as it is.
        """
        if isinstance(x, SpikeList) and not self.reads_images:
            return x
        if self.takes == "images":
            images = as_images(x, shape, math.prod(shape))
            return images if self.reads_images else self._coded(images)
        wanted = _RECORDINGS.get(self.takes)
        if isinstance(x, np.ndarray) and x.dtype == EVENT and wanted is Events:
            x = Events.join([x], (shape[-2], shape[-1]))
        if wanted is not None and not isinstance(x, wanted):
            raise DataError(
                f"the input is {type(x).__name__}; a model of {self.takes} needs {wanted.__name__} or a SpikeList"
            )
        return self._coded(x)

    def _coded(self, x: Any) -> SpikeList:
        coded = None if self.coding is None else self.coding.encode(x)
        if not isinstance(coded, SpikeList):
            raise DataError(f"the input is {type(x).__name__}; this model needs a SpikeList")
        return coded

    def codes_as(self, other: Packed) -> bool:
        """Are both codings equal?"""
        return isinstance(other, WindowPacked) and self.coding == other.coding

    def signal(self, inputs: Array | SpikeList) -> tuple[Array, bool]:
        """What enters: grey levels `(n, n_in)` and True, or spikes `(n, n_steps, n_in)` bool and False."""
        self.check_inputs(inputs)
        if isinstance(inputs, np.ndarray):
            return (
                (inputs, True) if isinstance(self.coding, Constant) else (self.coding.trains(inputs), False)
            )
        dense = inputs.dense()
        if dense.sum() != len(inputs.steps):
            raise DataError("a channel has two spikes in one step")
        return dense, False

    def check_inputs(self, inputs: Array | SpikeList) -> None:
        """Refuse, with `DataError`, inputs of the wrong kind or size."""
        if isinstance(inputs, np.ndarray) != self.reads_images or not isinstance(
            inputs, np.ndarray | SpikeList
        ):
            needed = "uint8 images" if self.reads_images else "a SpikeList"
            raise DataError(f"the input is {type(inputs).__name__}; this model needs {needed}")
        if isinstance(inputs, np.ndarray):
            wide = self.coding.channels_of(1) if isinstance(self.coding, Drawn) else 1
            if inputs.ndim != 2 or inputs.dtype != np.uint8 or inputs.shape[1] * wide != self.n_in:
                raise DataError(
                    f"images are {inputs.dtype} {inputs.shape}; expected uint8 (n, {self.n_in // wide})"
                )
        elif (inputs.n_steps, inputs.n_channels) != (self.n_steps, self.n_in):
            raise DataError(
                f"spikes have {inputs.n_steps} steps and {inputs.n_channels} channels; this model needs "
                f"{self.n_steps} and {self.n_in}"
            )


def run_native(
    network: WindowPacked, engine: Any, inputs: Array | SpikeList, threads: int | None, *results: Any
) -> None:
    """Run a native engine on what enters its network; a channel that spikes twice in a step raises `DataError`."""
    threads = thread_count(threads, len(inputs))
    network.check_inputs(inputs)
    coding = network.coding
    if isinstance(inputs, np.ndarray):
        images = np.ascontiguousarray(inputs)
        if isinstance(coding, Constant):
            engine.run_constant(images, coding.current_per_level, threads, *results)
            return
        if isinstance(coding, Counted):
            engine.run_drawn(images, np.ascontiguousarray(coding.limits()), threads, *results)
            return
        inputs = listed(coding.trains(images))
    bad = engine.run_lists(
        np.ascontiguousarray(inputs.steps, np.int16),
        np.ascontiguousarray(inputs.channels, np.int32),
        np.ascontiguousarray(inputs.offsets, np.int64),
        threads,
        *results,
    )
    if bad >= 0:
        raise DataError(f"recording {bad}: a channel has two spikes in one step")


def listed(trains: Array) -> SpikeList:
    """The spikes of trains bool `(n, n_steps, channels)`."""
    rows, steps, channels = np.nonzero(trains)
    offsets = np.searchsorted(rows, np.arange(len(trains) + 1)).astype(np.int64)
    return SpikeList(steps.astype(np.int16), channels.astype(np.int32), offsets, *trains.shape[1:])
