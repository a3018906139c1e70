"""The vectors T2 to T6 of the S4NN specification, and properties, on the float64 reference."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from bitspike.ops.s4nn import dense, reference
from bitspike.ops.s4nn.settings import StepSettings

DIGITS = {"rtol": 0, "atol": 5e-9}


def f64(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def assert_equals(actual: torch.Tensor, values: object, **tolerance: float) -> None:
    torch.testing.assert_close(actual, f64(values), **(tolerance or DIGITS))


@pytest.mark.parametrize(
    ("times", "weights", "fires"),
    [
        ((2, 2, 5), (6, -3, 1), 20),  # in-bin summation: a transient crossing does not count
        ((18, 20, 20), (6, 1, 1), 19),  # last usable bin
        ((19, 20, 20), (6, 1, 1), 20),  # a crossing in the last bin is lost
        ((20, 20, 20), (6, 6, 6), 20),  # never means never
        ((0, 1, 2), (5, 0, 0), 20),  # strict threshold
        ((0, 1, 2), (5.5, -3, 9), 1),
        ((0, 0, 3), (5, 0.5, -9), 1),
        ((0, 4, 4), (3, 9, -8), 20),
    ],
)
def test_vector_t2_single_neuron(times: tuple[int, ...], weights: tuple[float, ...], fires: int) -> None:
    inputs, weight = torch.tensor([times]), f64(weights)[:, None]
    assert reference.layer_times(inputs, weight, 5.0, 20).item() == fires
    assert dense.layer_times(inputs, weight, 5.0, 20).item() == fires


T3 = StepSettings(n_steps=20, thresholds=(5.0, 4.0), eta=(0.2, 0.2), gamma=3)


def t3(label: int, settings: StepSettings) -> tuple[list[torch.Tensor], reference.Trace]:
    weights = [f64([[4, 2, -1], [1, 3, 4]]).t(), f64([[5, 1], [2, 3]]).t()]
    inputs, labels = torch.tensor([[0, 3, 6]]), torch.tensor([label])
    updated, _, traces = reference.online(inputs, labels, weights, None, settings)
    return [weight.t() for weight in updated], traces[0]


def test_vector_t3_margin_of_gamma_changes_nothing() -> None:
    weights, trace = t3(0, T3)
    assert [times.tolist() for times in trace.times] == [[[0, 3, 6]], [[4, 7]], [[5, 8]]]
    assert trace.targets.tolist() == [[5, 8]]
    assert_equals(weights[0], [[4, 2, -1], [1, 3, 4]])
    assert_equals(weights[1], [[5, 1], [2, 3]])


@pytest.mark.parametrize(
    ("order", "delta", "hidden"),
    [
        (
            "post",
            (0.65418669, -0.75633311),
            [[3.86916266, 1.86916266, -1], [1.15126662, 3.15126662, 4.15126662]],
        ),
        (
            "pre",
            (0.70710678, -0.70710678),
            [[3.85857864, 1.85857864, -1], [1.14142136, 3.14142136, 4.14142136]],
        ),
    ],
)
def test_vector_t3_update(order: str, delta: tuple[float, float], hidden: list[list[float]]) -> None:
    weights, trace = t3(1, dataclasses.replace(T3, backward_weights=order))
    assert trace.targets.tolist() == [[8, 5]]
    assert_equals(trace.errors, [[0.15, -0.15]])
    assert_equals(trace.deltas[1], [[0.70710678, -0.70710678]])
    assert_equals(trace.deltas[0], [delta])
    assert_equals(weights[1], [[4.85857864, 1], [2.14142136, 3.14142136]])
    assert_equals(weights[0], hidden)


def test_vector_t3_decay() -> None:
    weights, trace = t3(1, dataclasses.replace(T3, decay=0.01))
    assert_equals(weights[1], [[4.84886149, 0.998], [2.13713851, 3.13513851]])
    assert_equals(trace.deltas[0], [[0.65418669, -0.75633311]])
    assert_equals(weights[0], [[3.86142434, 1.86542434, -0.998], [1.14896409, 3.14496409, 4.14296409]])


def test_vector_t3_silent_outputs() -> None:
    silent = dataclasses.replace(T3, thresholds=(5.0, 100.0))
    weights, trace = t3(1, silent)
    assert trace.times[2].tolist() == [[20, 20]]
    assert trace.targets.tolist() == [[20, 17]]
    assert_equals(weights[1], [[5, 1], [2.2, 3.2]])
    assert_equals(trace.deltas[0], [[-0.56652882, -0.82404192]])
    assert_equals(weights[0], [[4.11330576, 2.11330576, -1], [1.16480838, 3.16480838, 4.16480838]])
    weights, _ = t3(1, dataclasses.replace(silent, silent_target="none"))
    assert_equals(weights[1], [[5, 1], [2, 3]])


@pytest.mark.parametrize(
    ("gamma", "goal", "output", "alpha", "delta", "hidden"),
    [
        (
            1,
            [11, 12],
            [[0.59938837, -1.10061163, 0.12938837], [0.28895685, 1.08895685, 0.38895685]],
            [2.00080694, 1.50110432],
            (-0.42031761, 0.90512799, -0.06384684),
            [
                [0.74203176, 0.24203176, -0.1, 1.5],
                [-0.3905128, 0.5094872, 0.8094872, -0.0405128],
                [0.40638468, -0.01361532, 0.30638468, 0.80638468],
            ],
        ),
        (
            3,
            [11, 14],
            [[0.59486833, -1.10513167, 0.12486833], [0.26837722, 1.06837722, 0.36837722]],
            [2.00054703, 1.5],
            (-0.32687311, 0.94506728, -0.0013426),
            [
                [0.73268731, 0.23268731, -0.1, 1.5],
                [-0.39450673, 0.50549327, 0.80549327, -0.04450673],
                [0.40013426, -0.01986574, 0.30013426, 0.80013426],
            ],
        ),
    ],
)
def test_vector_t4_binary_step(
    gamma: int,
    goal: list[int],
    output: list[list[float]],
    alpha: list[float],
    delta: tuple[float, ...],
    hidden: list[list[float]],
) -> None:
    settings = StepSettings(
        n_steps=20, thresholds=(2.0, 1.5), eta=(0.1, 0.1), gamma=gamma, mu=0.01, binary=True
    )
    start = [
        f64([[0.7, 0.2, -0.1, 1.5], [-0.3, 0.6, 0.9, 0.05], [0.4, -0.02, 0.3, 0.8]]).t(),
        f64([[0.5, -1.2, 0.03], [0.3, 1.1, 0.4]]).t(),
    ]
    inputs = torch.tensor([[0, 1, 4, 9]])
    same, scale, _ = reference.online(inputs, torch.tensor([1]), start, f64([2, 1.5]), settings)
    assert torch.equal(same[0], start[0])
    assert torch.equal(same[1], start[1])
    assert scale is not None
    assert_equals(scale, [2, 1.5])
    weights, scale, traces = reference.online(inputs, torch.tensor([0]), start, f64([2, 1.5]), settings)
    assert scale is not None
    assert [times.tolist() for times in traces[0].times[1:]] == [[[2, 10, 10]], [[20, 11]]]
    assert traces[0].targets.tolist() == [goal]
    assert_equals(weights[1].t(), output)
    assert_equals(scale, alpha)
    assert_equals(traces[0].deltas[0], [delta])
    assert_equals(weights[0].t(), hidden)


def formula_net() -> tuple[torch.Tensor, list[torch.Tensor]]:
    i, j, k = torch.arange(12), torch.arange(6), torch.arange(4)
    hidden = (7 * j[None] + 5 * i[:, None] + i[:, None] * j[None]) % 11 - 3
    output = (3 * k[None] + 8 * j[:, None] + 2 * j[:, None] * k[None]) % 13 - 4
    return ((11 * i + 5) % 33)[None], [hidden.double(), output.double()]


@pytest.mark.parametrize(
    ("label", "goal", "delta", "sums"),
    [
        (0, [18, 32, 32, 21], (0.5386885, -0.32306844, 0.25407153, -0.60768542, -0.3388805, 0.23825948),
         (142.31393658, 22.92192799)),
        (1, [32, 18, 32, 21], (0.24219167, 0.65918141, -0.61032067, -0.19333093, -0.1377323, 0.27925743),
         (142.36795650, 22.92192799)),
        (2, [32, 32, 18, 21], (-0.29472058, 0.02111323, 0.33694703, 0.65278084, 0.24405474, 0.55988854),
         (140.03269935, 22.92192799)),
        (3, [32, 32, 32, 18], (0, 0, 0, 0, 0, 0), (142, 22)),
    ],
)  # fmt: skip
def test_vector_t5_formula_net(
    label: int, goal: list[int], delta: tuple[float, ...], sums: tuple[float, float]
) -> None:
    inputs, weights = formula_net()
    settings = StepSettings(n_steps=32, thresholds=(10.0, 6.0), eta=(0.2, 0.2), gamma=3)
    weights, _, traces = reference.online(inputs, torch.tensor([label]), weights, None, settings)
    assert traces[0].times[1].tolist() == [[17, 6, 17, 17, 17, 6]]
    assert traces[0].times[2].tolist() == [[32, 32, 32, 18]]
    assert traces[0].targets.tolist() == [goal]
    assert_equals(traces[0].deltas[0], [delta])
    assert weights[0].sum().item() == pytest.approx(sums[0], abs=5e-9)
    assert weights[1].sum().item() == pytest.approx(sums[1], abs=5e-9)


def sequence() -> tuple[torch.Tensor, torch.Tensor]:
    i, s = torch.arange(12), torch.arange(30)[:, None]
    return (11 * i + 5 + 7 * s * (i + 1)) % 33, (s[:, 0] ** 2 + 1) % 4


@pytest.mark.parametrize(
    ("settings", "alpha", "outputs", "sums", "squares"),
    [
        (
            StepSettings(n_steps=32, thresholds=(10.0, 6.0), eta=(0.2, 0.2), gamma=3, decay=1e-3),
            None,
            [(32, 32, 32, 18), (14, 32, 32, 14), (21, 32, 32, 6), (20, 32, 32, 22)],
            (139.219324, 32.136129),
            (954.124154, 343.572527),
        ),
        (
            StepSettings(
                n_steps=32, thresholds=(2.0, 1.0), eta=(0.1, 0.1), gamma=2, mu=0.05, binary=True,
                silent_target="none", sign_of_zero=0,
            ),
            (0.98942843, 0.97636495),
            [(32, 32, 32, 29), (32, 32, 32, 32), (32, 32, 32, 21), (32, 21, 32, 27)],
            (139.998736, 29.928102),
            (983.860022, 369.216268),
        ),
    ],
)  # fmt: skip
def test_vector_t6_thirty_online_steps(
    settings: StepSettings,
    alpha: tuple[float, float] | None,
    outputs: list[tuple[int, ...]],
    sums: tuple[float, float],
    squares: tuple[float, float],
) -> None:
    inputs, labels = sequence()
    start = None if alpha is None else f64([1, 1])
    weights, scale, traces = reference.online(inputs, labels, formula_net()[1], start, settings)
    assert [tuple(trace.times[2][0].tolist()) for trace in traces[:4]] == outputs
    for weight, total, square in zip(weights, sums, squares, strict=True):
        assert weight.sum().item() == pytest.approx(total, abs=5e-7)
        assert weight.square().sum().item() == pytest.approx(square, abs=5e-7)
    if alpha is None:
        assert traces[-1].times[2].tolist() == [[32, 10, 11, 11]]
    else:
        assert scale is not None
        assert_equals(scale, alpha)


def random_net(seed: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    g = torch.Generator().manual_seed(seed)
    weights = [torch.randint(-4, 8, shape, generator=g).double() + 0.25 for shape in ((9, 7), (7, 6), (6, 4))]
    return torch.randint(0, 40, (11, 9), generator=g).clamp(max=24), weights


NET = StepSettings(n_steps=24, thresholds=(8.0, 6.0, 5.0), eta=(0.1,) * 3)


@pytest.mark.parametrize("seed", range(5))
def test_properties_of_firing_times(seed: int) -> None:
    inputs, weights = random_net(seed)
    times = reference.forward(inputs, weights, None, NET)[-1]
    assert (times < 24).any()

    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    permuted = reference.forward(inputs[:, order], [weights[0][order], *weights[1:]], None, NET)[-1]
    assert torch.equal(permuted, times)

    scaled = dataclasses.replace(NET, thresholds=tuple(4 * theta for theta in NET.thresholds))
    assert torch.equal(reference.forward(inputs, [4 * w for w in weights], None, scaled)[-1], times)

    later = torch.where(inputs < 24, inputs + 2, inputs).clamp(max=24)
    shifted = reference.forward(later, weights, None, NET)[-1]
    assert torch.equal(shifted, (times + 2).clamp(max=24))

    never = inputs.clone()
    never[:, 3] = 24
    other = [weights[0].clone(), *weights[1:]]
    other[0][3] = 1000.0
    silent = [reference.forward(never, w, None, NET)[-1] for w in (weights, other)]
    assert torch.equal(*silent)

    binary = dataclasses.replace(NET, binary=True, thresholds=(1.0, 1.0, 0.5))
    twice = dataclasses.replace(binary, thresholds=(2.0, 2.0, 1.0))
    alpha = f64([0.5, 1.0, 0.25])
    assert torch.equal(
        reference.forward(inputs, weights, alpha, binary)[-1],
        reference.forward(inputs, weights, 2 * alpha, twice)[-1],
    )


@pytest.mark.parametrize("seed", range(5))
def test_deltas_have_length_one_or_zero_and_error_vanishes_at_the_margin(seed: int) -> None:
    inputs, weights = random_net(seed)
    labels = torch.arange(11) % 4
    _, _, trace = reference.batched(inputs, labels, weights, None, NET)
    for delta in trace.deltas:
        norm = delta.norm(dim=1)
        assert bool(((norm - 1).abs() < 1e-12).logical_or(norm == 0).all())
    times = trace.times[-1]
    own = times.gather(1, labels[:, None])
    rivals = times.scatter(1, labels[:, None], 10**6)
    late = (rivals - own >= NET.gamma) | (rivals == 24)  # nothing can be pushed beyond n_steps
    margin = (own[:, 0] < 24) & late.all(1)
    assert torch.equal((trace.errors == 0).all(1), margin)


def test_batch_of_one_is_the_online_step_with_weights_before_the_update() -> None:
    inputs, weights = random_net(1)
    labels = torch.tensor([2])
    before = dataclasses.replace(NET, backward_weights="pre")
    online, _, _ = reference.online(inputs[:1], labels, weights, None, before)
    batch, _, _ = reference.batched(inputs[:1], labels, weights, None, NET)
    assert all(torch.equal(a, b) for a, b in zip(online, batch, strict=True))
