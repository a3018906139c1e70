"""Test vectors B1 to B4 of the BiSNN specification, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bitspike.ops import counter, elementary
from bitspike.ops.operators import Dense
from bitspike.ops.srm import reference
from bitspike.ops.srm.neuron import SRMNeuron
from bitspike.ops.srm.settings import Update
from bitspike.ops.srm.step import Latents, Layer, State, Target

D = torch.float64
START = torch.tensor([[0.4, -0.5], [-0.02, 0.1], [0.7, -0.3]], dtype=D)  # (inputs, neurons)
READOUT = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])


def assert_close(got: torch.Tensor, wanted: object, tolerance: float = 1e-7) -> None:
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=D), atol=tolerance, rtol=0)


def layer(n_in: int = 3, n_out: int = 2) -> Layer:
    return Layer(Dense(n_in, n_out), 1, SRMNeuron(), READOUT[:n_out], torch.zeros(2))


def test_b1_traces() -> None:
    one, w = layer(1, 1), torch.ones(1, 1, dtype=D)
    state = State.zeros(one.op, 1, w)
    rows = []
    for x in (1.0, 0.0, 1.0, 1.0, 0.0, 0.0):
        state = reference.advance(state, torch.tensor([[x]], dtype=D), one.neuron)
        u = reference.potential(one, state, w, None)
        state = state._replace(s=(u >= 0).to(D))
        rows.append([float(v) for v in (state.p, state.q, state.r, u, state.s)])
    assert_close(
        torch.tensor(rows, dtype=D),
        [
            [0, 1, 0, 0, 1],
            [1, 0.84648172, 1, 0, 1],
            [1.75131914, 1.71653131, 1.60653066, 0.14478848, 1],
            [3.30119040, 2.45301238, 1.97441010, 1.32678030, 1],
            [5.44005298, 2.07643015, 2.19754026, 3.24251272, 1],
            [6.99879365, 1.75766018, 2.33287554, 4.66591811, 1],
        ],
        2e-8,
    )
    alpha, beta = one.neuron.alpha, one.neuron.beta
    kernel = [(alpha**d - beta**d) / (alpha - beta) for d in range(1, 5)]
    assert kernel == pytest.approx([1, 1.75131914, 2.30119040, 2.68873384], abs=1e-8)


def test_b2_straight_through_sequence() -> None:
    two, latents = layer(), Latents(START.clone())
    update, target = Update("straight-through", lr=0.1), Target(torch.tensor([0]))
    state = State.zeros(two.op, 1, START)
    after = [0.48746555, 0.02082483, 0.78746555]
    wanted = {
        1: ([1, 0, 1], [1, 1], [1, 0], 0.21762172, [0.41596825, -0.02, 0.71596825]),
        2: ([1.75131914, 1, 1.75131914], [1.60653066, 0.60653066], [0, 0], 0.69314718, after),
        3: ([3.30119040, 2.75131914, 2.30119040], [0.97441010, 0.36787944], [1, 0], 0.21762172, after),
    }  # fmt: skip
    potentials = {1: [0.15470054, -2.15470054], 2: [-0.16163177, -2.05142955], 3: [3.84860081, -2.01394066]}
    for t, x in enumerate(([1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1])):
        sign = reference.sample(latents.weight, update, 0)[0]
        inputs = torch.tensor([x], dtype=D)
        state, out = reference.step(two, state, inputs, latents, target if t else None, update, 0)
        if t:
            p, r, s, loss, row = wanted[t]
            assert_close(state.p[0], p)
            assert_close(state.r[0], r)
            assert_close(reference.potential(two, state, sign, None)[0], potentials[t])
            assert out.spikes[0].tolist() == s
            assert float(out.losses) == pytest.approx(loss, abs=1e-8)
            assert_close(latents.weight[:, 0], row)
            assert_close(latents.weight[:, 1], START[:, 1].tolist())


def prescribed() -> tuple[Layer, State]:
    p, r = torch.tensor([[0.8, 0.5, 0.3]], dtype=D), torch.tensor([[0.3, 0.1]], dtype=D)
    return layer(), State(p, p, r, r)


def test_b2b_single_update() -> None:
    two, state = prescribed()
    update, w = Update(lr=0.1), START.clone()
    sign, factor = reference.sample(w, update, 0)
    u = reference.potential(two, state, sign, None)
    assert_close(u[0], [0.04641016, -0.44641016])
    read = reference.readout(two, (u >= 0).to(D))
    assert_close(elementary.softmax(read)[0], [0.80442968, 0.19557032])
    e = reference.local_error(two, reference.loss(read, Target(torch.tensor([0])))[1], u, u, 0.5)
    assert_close(e[0], [-0.27657820, 0.27657820])
    g = reference.gradient(two, e, state.p)[0]
    assert_close(g[:, 0], [-0.12774600, -0.07984125, -0.04790475])
    reference.move(w, g, factor, 0.0, None, update)
    assert_close(w.T, [[0.41277460, -0.01201588, 0.70479047], [-0.51277460, 0.09201588, -0.30479047]])


@pytest.mark.parametrize(
    ("w", "eps", "tau", "g", "eta", "rho", "p0", "weight", "s", "after"),
    [
        (0.3, 0.7, 1.0, 0.25, 0.5, 0.01, 0.5, 0.61916445, 0.67381760, 0.21427280),
        (0.3, 0.7, 0.1, 0.25, 0.5, 0.01, 0.5, 0.99999896, 0.00002265, 0.29849717),
        (0.3, 0.7, 1.0, 0.25, 0.5, 0.01, 0.6, 0.61916445, 0.67381760, 0.21528646),
        (-1.2, 0.35, 0.5, -0.4, 0.2, 0.1, 0.5, -0.99523908, 0.06228557, -1.17101715),
    ],
)
@pytest.mark.parametrize("stabiliser", ["additive", "log"])
def test_b3a_bayes_scalar(
    w: float, eps: float, tau: float, g: float, eta: float, rho: float, p0: float, weight: float, s: float,
    after: float, stabiliser: str,
) -> None:  # fmt: skip
    update = Update("relaxed", lr=eta, rho=rho, tau=tau, stabiliser=stabiliser)  # type: ignore[arg-type]
    latent = torch.tensor([w], dtype=D)
    got, factor = reference.relaxed(latent, torch.tensor([eps], dtype=D), update)
    assert_close(got, [weight])
    assert_close(factor, [s], 2e-8 if stabiliser == "additive" else 1e-7)
    prior = 0.5 * math.log(p0 / (1 - p0))
    reference.move(latent, torch.tensor([g], dtype=D), factor, prior, None, update)
    assert_close(latent, [after])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_b3b_saturation(dtype: torch.dtype) -> None:
    eps = torch.tensor([0.2, 0.5, 0.8, 1e-4], dtype=dtype)
    w = torch.full((4,), 10.0, dtype=dtype)
    s = reference.relaxed(w, eps, Update("relaxed", s_max=1e5))[1]
    wanted = torch.tensor([4.0, 1.0, 0.25, 9998.59], dtype=D)
    torch.testing.assert_close(s.double(), wanted, rtol=1e-6 if dtype == D else 2e-5, atol=0)
    assert reference.relaxed(w, eps, Update("relaxed"))[1].max() == 1000  # s_max
    if dtype == D:
        additive = reference.relaxed(w, eps, Update("relaxed", stabiliser="additive"))[1]
        torch.testing.assert_close(
            additive, torch.tensor([3.96405, 1, 0.258988, 9878.78], dtype=D), rtol=2e-6, atol=0
        )


def test_b3c_slope_of_the_divergence() -> None:
    w0, w = 0.5 * math.log(0.6 / 0.4), 0.3
    assert w - w0 == pytest.approx(0.09726745, abs=1e-8)

    def divergence(mu: float) -> float:
        p = (1 + mu) / 2
        return p * math.log(p / 0.6) + (1 - p) * math.log((1 - p) / 0.4)

    mu, h = math.tanh(w), 1e-6
    assert (divergence(mu + h) - divergence(mu - h)) / (2 * h) == pytest.approx(w - w0, abs=1e-8)


def test_b4_bayes_layer() -> None:
    two, state = prescribed()
    update, w = Update("relaxed", lr=0.1, rho=0.05), START.clone()
    eps = torch.tensor([[0.7, 0.4], [0.2, 0.85], [0.55, 0.1]], dtype=D)
    weight, factor = reference.relaxed(w, eps, update)
    assert_close(weight.T, [[0.67705103, -0.61264656, 0.66422421], [-0.60609937, 0.74751563, -0.88505132]])
    assert_close(factor.T, [[0.63297961, 0.62491410, 0.88037080], [0.80443178, 0.44564732, 0.23677784]])
    u = reference.potential(two, state, weight, None)
    assert_close(u[0], [-0.04909234, -0.31745152])
    read = reference.readout(two, (u >= 0).to(D))
    assert read.tolist() == [[0, 0]]
    e = reference.local_error(two, reference.loss(read, Target(torch.tensor([0])))[1], u, u, 0.5)
    assert_close(e[0], [-0.70710678, 0.70710678])
    g = reference.gradient(two, e, state.p)[0]
    assert_close(g[:, 0], [-0.32659863, -0.20412415, -0.12247449])
    reference.move(w, g, factor, 0.0, None, update)
    assert_close(w.T, [[0.41867303, -0.00714399, 0.70728230], [-0.52377263, 0.09040326, -0.30139993]])


def test_step_is_autograd_of_its_loss() -> None:
    generator = torch.Generator().manual_seed(1)
    wide = Layer(
        Dense(7, 5), 1, SRMNeuron(),
        torch.randint(0, 2, (5, 3), generator=generator) * 2.0 - 1, torch.ones(3),
    )  # fmt: skip
    p = torch.rand(4, 7, generator=generator, dtype=D)
    r = torch.rand(4, 5, generator=generator, dtype=D) * 0.4
    w = torch.randn(7, 5, generator=generator, dtype=D).requires_grad_()
    labels = torch.tensor([0, 2, 1, 1])
    state = State(p, p, r, r)
    u = reference.potential(wide, state, w, None)
    surrogate = u.clamp(-0.5, 0.5)  # its slope is the box
    spikes = (u >= 0).to(D) + surrogate - surrogate.detach()
    read = reference.readout(wide, spikes)
    torch.nn.functional.cross_entropy(read, labels).backward()
    e = reference.local_error(
        wide, reference.loss(read.detach(), Target(labels))[1], u.detach(), u.detach(), 0.5
    )
    assert e.count_nonzero() > 4
    torch.testing.assert_close(reference.gradient(wide, e, p)[0], w.grad, atol=1e-12, rtol=1e-10)


def test_small_temperature_gives_the_sign() -> None:
    w, u = torch.linspace(-2, 2, 99, dtype=D), torch.linspace(0.01, 0.97, 99, dtype=D)
    weight = reference.relaxed(w, u, Update("relaxed", tau=1e-4))[0]
    delta = 0.5 * torch.log(u / (1 - u))
    assert torch.equal(weight.sign(), (w + delta).sign())
    assert float(weight.abs().min()) > 0.99


@pytest.mark.parametrize("latent", [-1.5, -0.2, 0.0, 0.7])
def test_draws_follow_the_posterior(latent: float) -> None:
    n = 100_000
    weight, factor = reference.sample(torch.full((n,), latent), Update("hard"), counter.key(3, 1, 4))
    p = 1 / (1 + math.exp(-2 * latent))
    assert float((weight > 0).double().mean()) == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n))
    assert set(weight.tolist()) == {-1.0, 1.0}
    assert bool((factor == 1).all())


def test_without_gradient_latents_shrink_to_the_prior() -> None:
    w = torch.tensor([2.0, -1.0], dtype=D)
    reference.move(
        w, torch.zeros(2, dtype=D), torch.ones(2, dtype=D), 0.5, None, Update("hard", lr=0.1, rho=0.2)
    )
    assert_close(w, [0.5 + 1.5 * 0.98, 0.5 - 1.5 * 0.98])


def test_elementary_functions_agree_between_libraries() -> None:
    x = np.linspace(-90, 90, 100_001, dtype=np.float32)
    assert np.array_equal(elementary.exp(x), elementary.exp(torch.from_numpy(x)).numpy())
    np.testing.assert_allclose(elementary.exp(x), np.exp(x.clip(-87, 87).astype(np.float64)), rtol=1.5e-7)
    positive = np.exp(np.linspace(-80, 80, 100_001)).astype(np.float32)
    logs = elementary.log(positive)
    assert np.array_equal(logs, elementary.log(torch.from_numpy(positive)).numpy())
    np.testing.assert_allclose(logs, np.log(positive.astype(np.float64)), rtol=1.5e-7, atol=1e-7)
