"""Memory that runs out in a thread of a kernel is a `MemoryError`; the process lives, and its next call is right.

Each kernel runs on two threads under a limit of the address space that rises until its memory is enough. No process has
run it before, so that neither thread holds scratch memory.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bitspike.coding import Direct, Poisson
from bitspike.data.event_camera import EventCamera
from bitspike.deploy.model import Model
from bitspike.ops.backend import native_available
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.lif.settings import Adjoint
from bitspike.ops.lif.signals import Spikes
from bitspike.ops.operators import Conv, Dense, Pool
from bitspike.ops.s4nn.settings import StepSettings
from bitspike.ops.srm.neuron import SRMNeuron
from bitspike.ops.srm.settings import Update
from bitspike.ops.srm.step import Latents, Layer, State, Target
from bitspike.packed.contents import Contents
from bitspike.packed.lif.network import from_weights as lif_network
from bitspike.packed.srm.network import from_weights as srm_network
from packed_nets import random_network

MB = 1 << 20
RIGHT, SHORT, WRONG = 0, 1, 2
Run = Callable[
    [], Any
]  # gives arrays, in tuples or objects; called once, for some kernels change what they get
RNG = np.random.default_rng


def sort_times() -> Run:
    from bitspike.ops.first_spike import native

    times = (torch.arange(1_000_000) % 90).short().view(2, -1)
    return lambda: native.sort_times(times, 90)


def race_loss() -> Run:
    from bitspike.ops.first_spike import native

    margins, n_active, labels = torch.zeros(2, 2000, 500), torch.full((2,), 2000).int(), torch.zeros(2).long()
    return lambda: native.race_loss(margins, n_active, labels, 1.0, 1.0, 1.0, 0.0)


def first_spike_backward() -> Run:
    from bitspike.ops.first_spike import native

    spikes = native.sort_times(torch.arange(1000).short().repeat(20, 1), 1000)
    maxima = torch.zeros(20, spikes.n_slots, 256)
    gradient = torch.ones(20, spikes.n_slots, 256)
    return lambda: native.layer_backward(
        spikes, maxima, torch.zeros(256), gradient, None, None, 1.0, False, True
    )


def bits(batch: int, n_steps: int, n: int, every: int = 3) -> Spikes:
    """The first of 64 neurons, and so on, spikes in every third step."""
    words = torch.zeros(batch, n_steps, -(-n // 64), dtype=torch.int64)
    words[:, ::every] = 1
    return Spikes(words, n)


def lif_forward() -> Run:
    from bitspike.ops.lif import native

    x, weight = bits(2, 20_000, 1), torch.ones(1, 100)
    return lambda: native.forward(Dense(1, 100), x, weight, Neuron(4.0, lateral=0.1))


def lif_backward() -> Run:
    from bitspike.ops.lif import native

    x, out, weight, scale = bits(2, 3, 9000), bits(2, 3, 600), torch.ones(9000, 600), torch.ones(2, 600)
    return lambda: native.backward(Dense(9000, 600), x, weight, out, Neuron(4.0), Adjoint(), scale, None)


def lif_maps() -> Run:
    from bitspike.ops.lif import native_conv

    x, weight = bits(2, 3, 200 * 200), torch.ones(3, 3, 1, 16)
    return lambda: native_conv.forward(Conv(200, 200, 1, 16, 3), x, weight, Neuron(4.0))


def lif_pools() -> Run:
    from bitspike.ops.lif import native_conv

    x = bits(2, 3, 300 * 300)
    return lambda: native_conv.forward(Pool(300, 300, 1, 1), x, None, Neuron(1.0))


def s4nn_inputs() -> torch.Tensor:
    return (torch.arange(1_200_000) % 41).short().view(4, -1)


def s4nn_step() -> Run:
    from bitspike.ops.s4nn import native

    inputs, labels, weight = s4nn_inputs(), torch.arange(4), torch.ones(300_000, 4)
    settings = StepSettings(n_steps=40, thresholds=(60.0,), eta=(0.1,))

    def run() -> Any:
        sums = native.step(inputs, labels, [weight], torch.ones(1).double(), settings, online=False)
        return weight, torch.tensor([sums.loss])

    return run


def s4nn_layer_times() -> Run:
    from bitspike.ops.s4nn import native

    inputs, weight = s4nn_inputs(), torch.ones(300_000, 4)
    return lambda: native.layer_times(inputs, weight, torch.full((4,), 60.0), 40)


def srm_step() -> Run:
    from bitspike.ops.srm import native

    op = Dense(1000, 3000)
    layer = Layer(op, 1, SRMNeuron(), torch.ones(3000, 2), torch.ones(2))
    latents = Latents(torch.arange(3_000_000).float().view(1000, 3000) % 7 - 3)
    state, x = State.zeros(op, 2, latents.weight), torch.ones(2, 1000, dtype=torch.uint8)
    target = Target(torch.tensor([0, 1]))
    assert latents.arrays
    assert layer.signs

    def run() -> Any:
        after, out = native.step(layer, state, x, latents, target, Update("hard", lr=0.1), 7)
        return *after, *out, latents.weight

    return run


def event_camera() -> Run:
    camera = EventCamera(((0.0, 0.0), (0.0, 1.0)), samples=1, noise=0.0)
    images = np.zeros((2, 250, 250), np.uint8)
    images[:, 120:124] = 200
    return lambda: camera.record(images, backend="native")


def packed(contents: Contents, n: int) -> Run:
    model = Model(contents, "native")
    images = RNG(1).integers(0, 256, (n, *contents.input_shape)).astype(np.uint8)
    return lambda: model.decide(images, torch.get_num_threads())


def packed_first_spike() -> Run:
    network = random_network(RNG(0), (16, 50_000, 2), "bb")
    return packed(Contents(network, (16,), ("a", "b")), 256)


def packed_lif() -> Run:
    operators = [Pool(200, 200, 1, 1), Pool(200, 200, 1, 200)]
    network = lif_network(operators, [Neuron(1.0)] * 2, [None, None], False, Direct(3, 1.0), 3)
    return packed(Contents(network, (200, 200), ("a",)), 4)


def packed_srm() -> Run:
    signs = RNG(0).choice([-1.0, 1.0], (16, 200_000))
    network = srm_network(
        [(Dense(16, 200_000), 1, signs, None)], SRMNeuron(), signs[:1].T, np.ones(1), 1, True, Poisson(3), 3, 2
    )  # fmt: skip
    return packed(Contents(network, (16,), ("a", "b")), 32)


KERNELS = (
    sort_times, race_loss, first_spike_backward, lif_forward, lif_backward, lif_maps, lif_pools, s4nn_step,
    s4nn_layer_times, srm_step, event_camera, packed_first_spike, packed_lif, packed_srm,
)  # fmt: skip


def flat(result: Any) -> Iterator[Any]:
    if isinstance(result, np.ndarray | torch.Tensor):
        yield np.array(result)
    elif not isinstance(result, int | None):
        for part in vars(result).values() if hasattr(result, "__dict__") else result:
            yield from flat(part)


@contextmanager
def limited(more: int) -> Iterator[None]:
    """Allows `more` bytes of addresses than are held now."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def in_a_fork(body: Callable[[], int]) -> int:
    """What `body` gives in a process of its own; below 0 the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(body())
        finally:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            os._exit(WRONG)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def start_a_thread() -> None:
    """The pool's second thread is there before memory is short."""
    from bitspike.ops.lif import native

    torch.set_num_threads(2)
    native.content_keys(np.zeros((2, 4), np.uint8))


def sweep(prepare: Callable[[], Run]) -> int:
    """RIGHT if the kernel's outcomes under rising limits are errors of memory and then the right result."""
    torch.set_num_threads(1)
    truth: list[Any] = []
    alone = threading.Thread(
        target=lambda: truth.extend(flat(prepare()()))
    )  # scratch memory ends with its thread
    alone.start()
    alone.join()
    outcomes: list[int] = []
    while truth and RIGHT not in outcomes and len(outcomes) < 50:
        more = int(MB / 4 * 1.3 ** len(outcomes))
        outcomes.append(in_a_fork(lambda more=more: attempt(prepare, truth, more)))  # type: ignore[misc]
    print(prepare.__name__, outcomes, flush=True)
    return RIGHT if set(outcomes) == {SHORT, RIGHT} else WRONG


def attempt(prepare: Callable[[], Run], truth: list[Any], more: int) -> int:
    """One run of a kernel with `more` bytes, and one without a limit where they were too few."""
    start_a_thread()
    run, outcome = prepare(), RIGHT
    with limited(more):
        try:
            result = run()
        except MemoryError:
            outcome = SHORT
    if outcome == SHORT:
        result = prepare()()
    same = all(np.array_equal(a, b) for a, b in zip(flat(result), truth, strict=True))
    return outcome if same else WRONG


def sweep_all() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    mmap_threshold, mallopt = -3, getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)
    mallopt(mmap_threshold, MB // 16)  # what is freed goes back, so that no kernel lives on it
    wrong = [prepare.__name__ for prepare in KERNELS if in_a_fork(lambda: sweep(prepare)) != RIGHT]  # noqa: B023
    assert not wrong, wrong


def without_threads() -> None:
    def attempt() -> int:
        from bitspike.ops.lif import native

        images = RNG(0).integers(0, 256, (8, 50)).astype(np.uint8)
        torch.set_num_threads(1)
        truth = native.content_keys(images)
        torch.set_num_threads(8)
        with limited(MB):
            return RIGHT if np.array_equal(native.content_keys(images), truth) else WRONG

    assert in_a_fork(attempt) == RIGHT


needs_limits = pytest.mark.skipif(
    not native_available() or not Path("/proc/self/statm").exists(),
    reason="needs the native module and /proc",
)


def in_a_process(body: Callable[[], None]) -> None:
    process = multiprocessing.get_context("spawn").Process(target=body)
    process.start()
    process.join()
    assert process.exitcode == 0


@needs_limits
def test_memory_that_runs_out_in_a_thread_is_an_error() -> None:
    in_a_process(sweep_all)


@needs_limits
def test_threads_that_cannot_be_made_are_not_needed() -> None:
    """Their stacks find no memory: the caller does all the work."""
    in_a_process(without_threads)
