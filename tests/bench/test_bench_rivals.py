"""The rivals of the benchmarks: those in plain PyTorch are the same algorithms, libraries learn where installed."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from bitspike.bench import dense_bisnn, dense_hm2bp
from bitspike.bench.rivals import surrogate_steps
from bitspike.bench.rivals_trains import convolutions, dense, network, step
from bitspike.bench.spike_trains import experiment
from bitspike.bench.subjects import digits
from bitspike.coding import Direct, Poisson
from bitspike.networks.lif import LIFNetwork
from bitspike.networks.srm import SRMNetwork
from bitspike.ops.lif.function import Macro
from bitspike.ops.lif.signals import Current, pack
from bitspike.ops.srm import reference
from bitspike.ops.srm.settings import Update
from bitspike.ops.srm.step import Latents, State, Target
from bitspike.settings import SRM, Weights


@pytest.mark.parametrize(
    ("module", "library"), [("snntorch", "snnTorch"), ("spikingjelly", "SpikingJelly"), ("norse", "Norse")]
)
def test_installed_libraries_learn(module: str, library: str) -> None:
    pytest.importorskip(module)
    assert surrogate_steps(digits(), hidden=8, n_steps=3, batch=6)[f"{library}, 3 steps"]() == 6


@pytest.mark.parametrize(("module", "library"), [("snntorch", "snnTorch"), ("spikingjelly", "SpikingJelly")])
def test_installed_libraries_take_trains_and_constant_inputs(module: str, library: str) -> None:
    pytest.importorskip(module)
    labels = torch.tensor([3, 1, 4, 1, 5, 9])
    for layers, x, constant in (
        (dense(8), torch.ones(3, 6, 784), False),
        (convolutions(), torch.ones(6, 1, 28, 28), True),
    ):
        rival = network(library, layers, n_steps=3)
        assert rival is not None
        counts = rival(x, constant)
        assert counts.shape == (6, 10)
        assert ((counts >= 0) & (counts <= 3)).all()
        assert step(rival, x, labels, constant)() == 6


@pytest.mark.parametrize("coding", [Direct(100), Poisson(100, rate=0.727), Poisson(400)], ids=str)
def test_dense_rival_is_the_same_rule(coding: Direct | Poisson) -> None:
    generator = torch.Generator().manual_seed(1)
    settings = experiment(coding, hidden=20)
    model = LIFNetwork(
        (30,), 4, coding, settings.network, settings.weights, generator, backend="reference"
    ).double()
    for latent in model.latents:
        latent.data.mul_(3)  # 30 inputs must move neurons made for 784
    pixels = torch.randint(0, 256, (6, 30), generator=generator, dtype=torch.uint8)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    if isinstance(coding, Direct):
        x = pixels.double() * (coding.rate / 255)
        signal = Current(x, coding.n_steps)
    else:
        trains = torch.from_numpy(coding.trains(pixels.numpy()))
        signal, x = pack(trains), trains.transpose(0, 1).double()
    rule = settings.rule
    counts = model(signal, rule, Macro(labels, int(coding.n_steps / rule.desired))).counts
    error = counts - torch.full_like(counts, rule.undesired).scatter_(1, labels[:, None], rule.desired)
    (0.5 * torch.where(error.abs() > rule.margin, error, 0).square().sum(1)).mean().backward()
    assert (counts.detach().gather(1, labels[:, None]) == 0).any()  # an injected target,
    assert (counts > 0).any()  # and outputs that fire
    weights = [latent.detach() for latent in model.latents]
    gradients = dense_hm2bp.gradients(x, labels, weights, model.neurons, coding.n_steps, rule)
    for gradient, latent in zip(gradients, model.latents, strict=True):
        assert gradient.abs().max() > 0
        torch.testing.assert_close(gradient, latent.grad)


@pytest.mark.parametrize("rival", [dense_bisnn.ClosedForm, dense_bisnn.Autograd])
def test_online_rival_is_the_same_rule(rival: type[dense_bisnn.Online]) -> None:
    generator = torch.Generator().manual_seed(1)
    coding = Poisson(6)
    model = SRMNetwork(
        (12,), 3, coding, SRM(("9", "7"), bias=True), Weights(), generator, backend="reference"
    )
    online = rival(model, 0.8, partial(torch.optim.SGD, lr=0.5), lambda w: torch.where(w >= 0, 1.0, -1.0))
    x, labels = (torch.rand(6, 5, 12, generator=generator) < 0.5).float(), torch.tensor([0, 1, 2, 2, 1])
    before = [latent.detach().clone() for latent in model.latents]
    online.window(x, labels)
    layers = [model.layer(index) for index in range(2)]
    learned = [
        Latents(model.latents[weight].data, model.latents[bias].data, 0.0, 0.0, None)
        for weight, bias in map(model.place, range(2))
    ]
    states = [State.zeros(layer.op, 5, x) for layer in layers]
    for now in x:
        for index, layer in enumerate(layers):
            states[index], out = reference.step(
                layer, states[index], now, learned[index], Target(labels), Update(lr=0.5, box=0.8), 0
            )
            now = out.spikes
    moved = [latent for layer in online.layers for latent in (layer.weight, layer.bias)]
    for latent, expected, start in zip(moved, model.latents, before, strict=True):
        assert not torch.equal(expected, start)
        torch.testing.assert_close(latent, expected.detach())
