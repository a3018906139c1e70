"""Every benchmark runs, small, and its rows line up; times are not asserted. The dense rival is the same algorithm."""

from functools import partial

import pytest
import torch
from bitspike.weights import Weights

from bitspike.bench import BENCHMARKS, dense_bisnn, dense_hm2bp
from bitspike.bench.bisnn import bisnn
from bitspike.bench.inference import inference, trains
from bitspike.bench.memory import memory
from bitspike.bench.spike_trains import convolution, experiment, spike_trains
from bitspike.bench.timing import alternate
from bitspike.bench.training import epoch, steps, training
from bitspike.bench.uncertain import bisnn_inference, committees
from bitspike.coding import Direct, Poisson
from bitspike.networks.lif import LIFNetwork
from bitspike.networks.srm import SRMNetwork
from bitspike.ops.lif.function import Macro
from bitspike.ops.lif.signals import Current, pack
from bitspike.ops.srm import reference
from bitspike.ops.srm.settings import Update
from bitspike.ops.srm.step import State, Target
from bitspike.settings import SRM

SMALL = {
    inference: (lambda: inference(0.01, n_batches=3), 12),
    training: (lambda: training(0.01, n_batches=3), 14),
    steps: (lambda: steps(0.01, n_batches=3), 6),
    epoch: (lambda: epoch(500, n_batches=2), 2),
    spike_trains: (lambda: spike_trains(0.01, 2, steps=(40,), hidden=32, batch=8, threads=(1,)), 6),
    convolution: (lambda: convolution(0.01, 1, batch=2, threads=(1,)), 1),
    trains: (lambda: trains(0.01, 3, batches=(4, 1), threads=(1,)), 6),
    memory: (lambda: memory((20,), hidden=32, batch=8), 1),
    bisnn_inference: (lambda: bisnn_inference(0.01, 2, n=20, threads=(1,)), 3),
    committees: (lambda: committees(0.01, 2, (2,), n=20, threads=(1,)), 3),
    bisnn: (lambda: bisnn(0.01, 2, steps=(12, 20), hidden=16, batch=8, threads=(1,)), 4),
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_runs(name, monkeypatch):
    monkeypatch.delenv("BITSPIKE_DATA", raising=False)  # the digits: small, and there on every machine
    run, systems = SMALL[BENCHMARKS[name]]
    rows = run()
    assert len(rows) >= systems
    assert all(row.keys() == rows[0].keys() for row in rows)
    assert all(value > 0 for row in rows for value in row.values() if not isinstance(value, str))


def test_rivals_take_turns():
    order = []
    alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 0.0, at_least=3)
    assert order == ["a", "a", "b", "b"] * 3  # the first call of a turn is not counted


@pytest.mark.parametrize("coding", [Direct(100), Poisson(100, rate=0.727), Poisson(400)], ids=str)
def test_dense_rival_is_the_same_rule(coding):
    generator = torch.Generator().manual_seed(1)
    wanted = experiment(coding, hidden=20)
    model = LIFNetwork(
        (30,), 4, coding, wanted.network, wanted.weights, generator, backend="reference"
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
    rule = wanted.rule
    counts = model(signal, rule._micro(), Macro(labels, int(coding.n_steps / rule.desired))).counts
    error = counts - torch.full_like(counts, rule.undesired).scatter_(1, labels[:, None], rule.desired)
    (0.5 * torch.where(error.abs() > rule.margin, error, 0).square().sum(1)).mean().backward()
    assert (counts.detach().gather(1, labels[:, None]) == 0).any()  # an injected target,
    assert (counts > 0).any()  # and outputs that fire
    weights = [latent.detach() for latent in model.latents]
    found = dense_hm2bp.gradients(x, labels, weights, model.neurons, coding.n_steps, rule)
    for gradient, latent in zip(found, model.latents, strict=True):
        assert gradient.abs().max() > 0
        torch.testing.assert_close(gradient, latent.grad)


@pytest.mark.parametrize("rival", [dense_bisnn.ClosedForm, dense_bisnn.Autograd])
def test_online_rival_is_the_same_rule(rival):
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
    states = [State.zeros(layer.op, 5, x) for layer in layers]
    for now in x:
        for index, layer in enumerate(layers):
            states[index], out = reference.step(
                layer, states[index], now, model.learned(index), Target(labels), Update(lr=0.5, box=0.8), 0
            )
            now = out.spikes
    found = [latent for layer in online.layers for latent in (layer.weight, layer.bias)]
    for latent, expected, start in zip(found, model.latents, before, strict=True):
        assert not torch.equal(expected, start)
        torch.testing.assert_close(latent, expected.detach())
