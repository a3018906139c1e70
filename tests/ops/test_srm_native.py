"""The native online step equals the reference bit for bit: states, spikes, readouts, losses, latents, moments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("bitspike._native")

from bitspike import _native
from bitspike.errors import BackendError, UsageError
from bitspike.ops import counter
from bitspike.ops.operators import Conv, Dense
from bitspike.ops.srm import native, reference
from bitspike.ops.srm.neuron import SRMNeuron
from bitspike.ops.srm.settings import Update
from bitspike.ops.srm.step import Latents, Layer, Moments, Out, State, Target, neurons

ISAS = _native.instruction_sets()
SIZES = [(1, 1, 1, 1), (5, 7, 3, 2), (9, 33, 37, 4), (17, 200, 65, 11)]  # batch, n_in, n_out, n_readouts


def signs(generator: torch.Generator, *shape: int) -> Tensor:
    return (torch.randint(0, 2, shape, generator=generator) * 2 - 1).to(torch.int8)


def moments(latent: Tensor) -> Moments:
    return Moments(torch.zeros_like(latent), torch.zeros_like(latent))


def make(size: tuple[int, int, int, int], seed: int = 1) -> tuple[Layer, Latents]:
    """A layer with every part: biases, priors of both forms, Adam."""
    _, n_in, n_out, n_readouts = size
    generator = torch.Generator().manual_seed(seed)
    layer = Layer(
        Dense(n_in, n_out), 1, SRMNeuron(), signs(generator, n_out, n_readouts), signs(generator, n_readouts)
    )
    weight = torch.randn(n_in, n_out, generator=generator)
    bias = torch.randn(n_out, generator=generator)
    prior = torch.randn(n_in, n_out, generator=generator)
    return layer, Latents(weight, bias, prior, 0.25, (moments(weight), moments(bias)))


def parts(latents: Latents) -> Iterator[Tensor]:
    yield latents.weight
    if latents.bias is not None:
        yield latents.bias
    for pair in latents.moments or ():
        yield from pair or ()


def copied(latents: Latents) -> Latents:
    both = latents.moments and tuple(
        pair and Moments(*(part.clone() for part in pair)) for pair in latents.moments
    )
    bias = None if latents.bias is None else latents.bias.clone()
    return replace(latents, weight=latents.weight.clone(), bias=bias, moments=both)


def assert_same(ours: tuple[State, Out], theirs: tuple[State, Out], mine: Latents, yours: Latents) -> None:
    for a, b in zip((*ours[0], *ours[1], *parts(mine)), (*theirs[0], *theirs[1], *parts(yours)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def assert_both_alike(
    size: tuple[int, int, int, int],
    latents: Latents,
    layer: Layer,
    update: Update,
    isa: str,
    is_class: bool = True,
) -> Latents:
    """Four steps, the second without a target, a third of the inputs always silent; returns the latents."""
    batch, n_in, _, n_readouts = size
    generator = torch.Generator().manual_seed(2)
    mine, yours = copied(latents), copied(latents)
    state = State.zeros(layer.op, batch, latents.weight)
    states = state, State(*(part.clone() for part in state))
    for t in range(4):
        x = (torch.rand(batch, n_in, generator=generator) < 0.4) & (torch.arange(n_in) % 3 != 1)
        classes = torch.randint(0, n_readouts, (batch,), generator=generator)
        values = torch.rand(batch, n_readouts, generator=generator)
        target = None if t == 1 else Target(classes if is_class else values)
        now, key = replace(update, count=t), counter.key(3, t, 0)
        ours = native.step(layer, states[0], x, mine, target, now, key, isa)
        theirs = reference.step(layer, states[1], x, yours, target, now, key)
        assert_same(ours, theirs, mine, yours)
        states = ours[0], theirs[0]
    return mine


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", native.KINDS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_kind_and_size(size: tuple[int, int, int, int], kind: str, isa: str) -> None:
    layer, latents = make(size)
    plain = replace(latents, bias=None, prior=0.1, moments=None)
    update = Update(kind, lr=0.3, rho=0.1, tau=0.7, clip=1.5)  # type: ignore[arg-type]
    for is_class in (True, False):
        for given in (
            latents,
            plain,
            replace(latents, moments=None),
            replace(plain, moments=(moments(latents.weight), None)),
        ):
            moved = assert_both_alike(size, given, layer, update, isa, is_class)
            assert size == SIZES[0] or not torch.equal(moved.weight, given.weight)
    for box in (0.05, 5.0):  # few errors, most
        assert_both_alike(size, plain, layer, replace(update, rho=0.0, clip=None, box=box), isa)
        assert_both_alike(size, latents, layer, replace(update, box=box), isa)


# op, pooling window, n_readouts; batch 3
MAPS = [
    (Conv(5, 6, 2, 3, 3), 1, 2),
    (Conv(7, 6, 3, 35, 3, padding=1), 2, 5),
    (Conv(9, 8, 1, 4, 5, padding=2), 3, 3),
    (Conv(4, 4, 2, 5, 4), 1, 2),
    (Conv(6, 6, 1, 2, 1), 2, 1),
]


def assert_convolution_alike(op: Conv, pool: int, n_readouts: int, kind: str, isa: str) -> None:
    generator = torch.Generator().manual_seed(1)
    n_out = neurons(op, pool)
    layer = Layer(op, pool, SRMNeuron(), signs(generator, n_out, n_readouts), signs(generator, n_readouts))
    weight = torch.randn(op.weight_shape, generator=generator)
    bias, prior = (
        torch.randn(op.n_filters, generator=generator),
        torch.randn(op.weight_shape, generator=generator),
    )
    latents = Latents(weight, bias, prior, 0.25, (moments(weight), moments(bias)))
    size = (3, op.n_in, n_out, n_readouts)
    for box in (0.1, 1.0):
        update = Update(kind, lr=0.3, rho=0.1, tau=0.7, clip=1.5, box=box)  # type: ignore[arg-type]
        moved = assert_both_alike(size, latents, layer, update, isa, is_class=n_readouts > 1)
        assert not torch.equal(moved.weight, weight)
        assert_both_alike(size, Latents(weight), layer, replace(update, rho=0.0), isa, is_class=False)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", native.KINDS)
@pytest.mark.parametrize(("op", "pool", "n_readouts"), MAPS, ids=str)
def test_convolutions_and_pooling(op: Conv, pool: int, n_readouts: int, kind: str, isa: str) -> None:
    assert_convolution_alike(op, pool, n_readouts, kind, isa)


@pytest.mark.parametrize("threads", [2, 3])
def test_convolutions_with_any_number_of_threads(threads: int) -> None:
    torch.set_num_threads(threads)
    try:
        assert_convolution_alike(*MAPS[1], "relaxed", "best")
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("parts", [(0, 0, 0), (-1, 5, 2), (2**62, 10**6, 7), (2**64 - 1, 2**63, 2**64 + 1)])
def test_key_is_mix64_of_its_parts(parts: tuple[int, int, int]) -> None:
    value = np.zeros(1, np.uint64)
    for part in parts:
        value = counter.mix64(value + np.array([part % 2**64], np.uint64))
    assert counter.key(*parts) == int(value[0])


@pytest.mark.parametrize("threads", [2, 3])
def test_any_number_of_threads(threads: int) -> None:
    layer, latents = make((9, 33, 137, 4))
    torch.set_num_threads(threads)
    try:
        assert_both_alike((9, 33, 137, 4), latents, layer, Update("hard", lr=0.01), "best")
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("isa", ISAS)
def test_hard_draws_where_latents_saturate(isa: str) -> None:
    layer, latents = make((9, 33, 37, 4))
    latents.weight.mul_(30)
    latents.weight[0, :3] = torch.tensor([-0.0, 0.0, 1e30])
    for kind in ("hard", "straight-through", "relaxed"):
        assert_both_alike((9, 33, 37, 4), latents, layer, Update(kind, lr=0.3), isa)  # type: ignore[arg-type]


@pytest.mark.parametrize("isa", ISAS)
def test_the_factor_of_relaxed_draws_is_bounded(isa: str) -> None:
    layer, latents = make((9, 33, 37, 4))
    bounded, free = (
        assert_both_alike(
            (9, 33, 37, 4), latents, layer, Update("relaxed", lr=0.3, tau=0.2, s_max=s_max), isa
        )
        for s_max in (0.5, 1e3)
    )
    assert not torch.equal(bounded.weight, free.weight)


@pytest.mark.parametrize("isa", [None, *ISAS])
def test_the_box_holds_its_upper_edge_and_not_its_lower_one(isa: str | None) -> None:
    """Without input potentials are the biases; None: the reference."""
    start = torch.tensor([-0.75, -0.5, -0.25, 0.5, 0.75])
    layer = Layer(
        Dense(1, 5), 1, SRMNeuron(), torch.tensor([[1, -1]] * 5).to(torch.int8), torch.zeros(2).to(torch.int8)
    )
    latents = Latents(torch.zeros(1, 5), start.clone())
    state, x = State.zeros(layer.op, 1, latents.weight), torch.zeros(1, 1, dtype=torch.uint8)
    arguments = layer, state, x, latents, Target(torch.tensor([0])), Update("real", lr=0.1, box=0.5), 1
    _ = reference.step(*arguments) if isa is None else native.step(*arguments, isa)
    assert latents.bias is not None
    assert (latents.bias != start).tolist() == [False, False, True, True, False]


@pytest.mark.parametrize("isa", ISAS)
def test_traces_that_fade_out_and_latents_that_are_no_number(isa: str) -> None:
    layer, latents = make((9, 33, 37, 4))
    latents.weight[1, 2] = torch.nan
    generator = torch.Generator().manual_seed(3)
    faint = [
        torch.rand(*shape, generator=generator) * 5e-39 for shape in ((9, 33), (9, 33), (9, 37), (9, 37))
    ]
    mine, yours, x = copied(latents), copied(latents), torch.zeros(9, 33, dtype=torch.uint8)
    update, target = Update("real", lr=0.1), Target(torch.zeros(9, dtype=torch.int64))
    theirs = reference.step(layer, State(*faint), x, yours, target, update, 1)
    ours = native.step(layer, State(*(part.clone() for part in faint)), x, mine, target, update, 1, isa)
    assert_same(ours, theirs, mine, yours)
    assert ours[0].s[:, 2].sum() == 0  # a potential that is no number does not spike
    assert 0 < float(ours[0].p.max()) < 1.2e-38


def test_state_is_changed_in_place_and_the_spikes_of_a_step_stay() -> None:
    layer, latents = make((5, 7, 3, 2))
    state = State.zeros(layer.op, 5, latents.weight)
    x = torch.ones(5, 7, dtype=torch.uint8)
    after, out = native.step(layer, state, x, latents, None, Update(), 1)
    assert after.p is state.p
    assert after.r is state.r
    torch.testing.assert_close(state.q, torch.ones(5, 7), rtol=0, atol=0)
    kept = out.spikes.clone()
    native.step(layer, after, x, latents, None, Update(), 1)
    torch.testing.assert_close(out.spikes, kept, rtol=0, atol=0)


def test_input_of_any_type_gives_the_same() -> None:
    layer, latents = make((5, 7, 3, 2))
    x = torch.rand(5, 7) < 0.5
    seen = []
    for given in (x, x.to(torch.uint8), x.float(), x.double()):
        state = State.zeros(layer.op, 5, latents.weight)
        for _ in range(3):
            state, out = native.step(layer, state, given, latents, None, Update(), 1)
        seen.append(torch.cat([state.p, state.q, out.readout], 1))
    for other in seen[1:]:
        torch.testing.assert_close(other, seen[0], rtol=0, atol=0)


def test_what_does_not_fit_is_refused() -> None:
    layer, latents = make((5, 7, 3, 2))
    state, x = State.zeros(layer.op, 5, latents.weight), torch.ones(5, 7)

    def step(**changed: object) -> None:
        given = {
            "layer": layer,
            "state": state,
            "x": x,
            "latents": latents,
            "target": None,
            "update": Update(),
            "key": 1,
        }
        native.step(**(given | changed))  # type: ignore[arg-type]

    with pytest.raises(UsageError, match="x must be"):
        step(x=torch.ones(5, 8))
    with pytest.raises(UsageError, match="latents must be"):
        step(layer=replace(layer, op=Conv(4, 4, 1, 3, 3)))
    with pytest.raises(UsageError, match="do not fit"):
        step(state=state._replace(r=torch.zeros(4, 3)))
    with pytest.raises(UsageError, match="one class per sample"):
        step(target=Target(torch.zeros(4, dtype=torch.int64)))
    with pytest.raises(UsageError, match="not among"):
        step(target=Target(torch.full((5,), 2)))
    with pytest.raises(UsageError, match="latents must be"):
        step(latents=Latents(torch.zeros(3, 7)))
    with pytest.raises(UsageError, match="shape of the latents"):
        step(latents=Latents(torch.zeros(7, 3), prior=torch.zeros(7, 2)))
    with pytest.raises(UsageError, match="running means"):
        step(latents=replace(latents, moments=(moments(latents.weight), None)))
    with pytest.raises(BackendError, match="backend=reference"):
        step(latents=Latents(torch.zeros(7, 3, dtype=torch.float64)))
    with pytest.raises(BackendError, match="backend=reference"):
        step(update=Update("relaxed", stabiliser="additive"))
