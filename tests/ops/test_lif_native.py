"""Native spike trains equal the reference: spikes bit for bit where sums are exact, gradients within rounding."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("bitspike._native")

from bitspike import _native
from bitspike.coding.poisson import Poisson, content_keys
from bitspike.coding.spike_list import SpikeList
from bitspike.errors import UsageError
from bitspike.ops.lif import native, reference
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.lif.settings import Adjoint
from bitspike.ops.lif.signals import Current, Result, Spikes, pack, unpack
from bitspike.ops.operators import Dense

ISAS = _native.instruction_sets()
# batch, n_steps, n_in, n_out, refractory
SIZES = [
    (1, 1, 1, 1, 2),
    (1, 2, 1, 1, 0),
    (5, 31, 7, 3, 0),
    (3, 77, 64, 16, 1),
    (2, 50, 65, 17, 2),
    (4, 33, 130, 63, 5),
    (2, 41, 100, 129, 2),
    (3, 65, 129, 200, 3),
    (2, 90, 90, 299, 63),
    (33, 25, 20, 10, 2),
]


def trains(generator: torch.Generator, batch: int, n_steps: int, n: int, density: float) -> Spikes:
    return pack(torch.rand((batch, n_steps, n), generator=generator) < density)


def grid(generator: torch.Generator, *shape: int) -> Tensor:
    """Weights on a binary grid: every partial sum is exact."""
    return torch.randint(-32, 65, shape, generator=generator) / 64


def assert_same(result: Result, expected: Result) -> None:
    assert result.spikes.n == expected.spikes.n
    torch.testing.assert_close(result.spikes.bits, expected.spikes.bits, rtol=0, atol=0)
    for name in ("counts", "tpsp", "membrane"):
        torch.testing.assert_close(getattr(result, name), getattr(expected, name), rtol=0, atol=0)


@pytest.fixture(params=SIZES, ids=str)
def size(request: pytest.FixtureRequest) -> tuple[int, int, int, int, int]:
    return request.param


@pytest.fixture(autouse=True)
def poison() -> Iterator[None]:
    """New memory is garbage where the C library can do it, so a result that is not written is found."""
    perturb = getattr(ctypes.CDLL(None), "mallopt", None)
    if perturb:
        perturb(-6, 0xAB)
    yield
    if perturb:
        perturb(-6, 0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


@pytest.mark.parametrize("lateral", [0.0, 0.5])
def test_forward_equals_reference(size: tuple[int, ...], generator: torch.Generator, lateral: float) -> None:
    batch, n_steps, n_in, n_out, refractory = size
    neuron = Neuron(threshold=1.5, tau_m=16, tau_s=4, refractory=refractory, lateral=lateral, epsilon=1e-6)
    op, weight = Dense(n_in, n_out), grid(generator, n_in, n_out)
    fired = 0
    for density in (0.0, 0.05, 0.5, 1.0):
        x = trains(generator, batch, n_steps, n_in, density)
        expected = reference.forward(op, x, weight, neuron)
        fired += int(expected.counts.sum())
        for isa in ISAS:
            for dense_above in (2.0, -1.0):
                ours = native.forward(op, x, weight, neuron, dense_above=dense_above, isa=isa)
                assert_same(ours, expected)
    assert fired > 0 or n_steps < 20
    constant = Current(grid(generator, batch, n_in), n_steps)
    expected = reference.forward(op, constant, weight, neuron)
    current = torch.randn((batch, n_steps, n_out), generator=generator)
    scanned = reference.scan(current, neuron)
    for isa in ISAS:
        assert_same(native.forward(op, constant, weight, neuron, isa=isa), expected)
        assert_same(native.scan(current, neuron, isa), scanned)


@pytest.mark.parametrize("how", [Adjoint(), Adjoint("closed"), Adjoint(bin=4), Adjoint("closed", 7)], ids=str)
def test_backward_equals_reference(size: tuple[int, ...], generator: torch.Generator, how: Adjoint) -> None:
    batch, n_steps, n_in, n_out, refractory = size
    neuron = Neuron(threshold=1.5, tau_m=16, tau_s=4, refractory=refractory)
    op, weight = Dense(n_in, n_out), torch.randn((n_in, n_out), generator=generator)
    x = trains(generator, batch, n_steps, n_in, 0.2)
    d, e = torch.randn((2, batch, n_out), generator=generator)
    d[0, : n_out // 3] = e[0, : n_out // 3] = 0
    for density in (0.0, 0.004, 0.4):  # few or many active neurons; spikes within the refractory period too
        out = trains(generator, batch, n_steps, n_out, density)
        d_weight, error = reference.backward(op, x, weight, out, neuron, how, d, e)
        a = reference.tpsp(op, x, weight, out, neuron, how)
        r = reference.in_bins(reference.adjoint(out, neuron, how), how.bin, mean=True)
        for isa in ISAS:
            both = native.backward(op, x, weight, out, neuron, how, d, e, isa)
            assert_near(both[0], d_weight)
            assert_near(both[1], error)
            first = native.backward(op, x, weight, out, neuron, how, d, None, isa)
            assert_near(first[0], d_weight)
            second = native.backward(op, x, weight, out, neuron, how, None, e, isa)
            assert_near(second[1], error)
            assert first[1] is second[0] is None
            assert_near(native.tpsp(op, x, weight, out, neuron, how, isa), a)
            assert_near(native.adjoint(out, neuron, how, isa), r)


def assert_near(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-6 * float(theirs.abs().max()) + 1e-30)


@pytest.mark.parametrize("isa", ISAS)
def test_constant_current_backward(generator: torch.Generator, isa: str) -> None:
    op, neuron = Dense(20, 70), Neuron(threshold=1.5, tau_m=16, tau_s=4)
    weight, x = (
        torch.randn((20, 70), generator=generator),
        Current(torch.rand((3, 20), generator=generator), 50),
    )
    out = native.forward(op, x, weight, neuron, isa=isa).spikes
    scale = torch.randn((3, 70), generator=generator)
    for how in (Adjoint(), Adjoint("closed")):
        ours = native.backward(op, x, weight, out, neuron, how, scale, None, isa)
        assert_near(ours[0], reference.backward(op, x, weight, out, neuron, how, scale, None)[0])
        assert native.backward(op, x, weight, out, neuron, how, None, scale, isa) == (None, None)
        a = native.tpsp(op, x, weight, out, neuron, how, isa)
        assert_near(a, reference.tpsp(op, x, weight, out, neuron, how))


@pytest.mark.parametrize(("n_in", "n_out"), [(90, 10), (300, 700)])
def test_same_bits_on_every_machine(generator: torch.Generator, n_in: int, n_out: int) -> None:
    """Instruction sets and numbers of threads do not change a bit, whatever the weights."""
    op, neuron, how = Dense(n_in, n_out), Neuron(threshold=4.0), Adjoint(bin=3)
    weight, x = torch.randn((n_in, n_out), generator=generator), trains(generator, 37, 60, n_in, 0.1)
    scale = torch.randn((37, n_out), generator=generator)
    results = []
    try:
        for isa in ISAS:
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                layer = native.forward(op, x, weight, neuron, isa=isa)
                lateral = native.forward(op, x, weight, replace(neuron, lateral=0.3), isa=isa)
                sums = native.backward(op, x, weight, layer.spikes, neuron, how, scale, scale, isa)
                a = native.tpsp(op, x, weight, layer.spikes, neuron, how, isa)
                results.append((layer.spikes.bits, *layer[1:], lateral.spikes.bits, *lateral[1:], *sums, a))
    finally:
        torch.set_num_threads(1)
    for result in results[1:]:
        for ours, first in zip(result, results[0], strict=True):
            assert torch.equal(ours, first)


def test_no_samples(generator: torch.Generator) -> None:
    op, neuron, weight = Dense(5, 70), Neuron(threshold=1.0), torch.ones((5, 70))
    x = Spikes(torch.zeros((0, 9, 1), dtype=torch.int64), 5)
    layer = native.forward(op, x, weight, neuron)
    assert layer.spikes.bits.shape == (0, 9, 2)
    scale = torch.zeros((0, 70))
    d_weight, error = native.backward(op, x, weight, layer.spikes, neuron, Adjoint(), scale, scale)
    assert torch.equal(d_weight, torch.zeros((5, 70)))
    assert error.shape == (0, 5)


def test_other_dtypes_are_refused(generator: torch.Generator) -> None:
    x = trains(generator, 1, 5, 3, 0.5)
    with pytest.raises(UsageError, match="float32"):
        native.forward(Dense(3, 2), x, torch.ones((3, 2), dtype=torch.float64), Neuron(threshold=1.0))


def test_arrays_that_do_not_fit_are_refused(generator: torch.Generator) -> None:
    x, out = trains(generator, 2, 5, 70, 0.5), trains(generator, 2, 5, 2, 0.5)
    with pytest.raises(ValueError, match="words"):
        native.forward(Dense(64, 2), x, torch.ones((64, 2)), Neuron(threshold=1.0), dense_above=2.0)
    with pytest.raises(ValueError, match="fit"):
        native.backward(
            Dense(70, 2),
            x,
            torch.ones((70, 2)),
            out,
            Neuron(threshold=1.0),
            Adjoint(),
            torch.ones(1, 2),
            None,
        )
    with pytest.raises(ValueError, match="not available"):
        native.scan(torch.ones((1, 2, 3)), Neuron(threshold=1.0), isa="mmx")


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("n_steps", [2, 31, 32, 33, 101, 400])
@pytest.mark.parametrize("signed", [False, True])
def test_poisson_equals_the_coder(n_steps: int, signed: bool, isa: str) -> None:
    rng = np.random.default_rng(n_steps)
    for rate in (0.2, 1.0):
        coding = Poisson(n_steps=n_steps, rate=rate, signed=signed)
        images = rng.integers(0, 256, (3, 77), np.uint8) * rng.integers(0, 2, (3, 77), np.uint8)
        images[0, :2] = 255, 0
        keys = rng.integers(0, 2**64, 3, np.uint64)
        ours = native.poisson(images, keys, coding.limits(), n_steps, isa)
        theirs = pack(torch.from_numpy(coding.spikes(images, keys)))
        assert ours.n == theirs.n
        assert torch.equal(ours.bits, theirs.bits)


@pytest.mark.parametrize("isa", ISAS)
def test_content_keys_equal_the_coder(isa: str) -> None:
    rng = np.random.default_rng(0)
    for n_pixels in (1, 7, 8, 65, 784):
        images = rng.integers(0, 256, (5, n_pixels), np.uint8)
        np.testing.assert_array_equal(native.content_keys(images, isa), content_keys(images))


def test_lists_become_bits() -> None:
    rng = np.random.default_rng(1)
    dense = rng.random((4, 30, 130)) < 0.1
    dense[2] = False
    where, steps, channels = np.nonzero(dense)
    offsets = np.searchsorted(where, np.arange(5)).astype(np.int64)
    spikes = SpikeList(steps.astype(np.int16), channels.astype(np.int32), offsets, 30, 130)
    ours = native.from_list(spikes.steps, spikes.channels, offsets, 30, 130)
    np.testing.assert_array_equal(ours.bits.numpy(), spikes.words())
    assert ours.n == 130


@pytest.mark.parametrize(("n", "n_steps"), [(1, 1), (65, 9), (130, 33)])
def test_counts(n, n_steps):
    torch.manual_seed(n)
    spikes = pack(torch.rand(3, n_steps, n) < 0.5)
    expected = unpack(spikes).sum(1)
    for isa in _native.instruction_sets():
        assert torch.equal(native.counts(spikes, isa), expected)
    assert torch.equal(reference.counts(spikes), expected)
