"""Spike trains: training steps of HM2-BP against plain PyTorch, the dense products alone, and surrogate gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bitspike.bench import dense_hm2bp, rivals_trains
from bitspike.bench.subjects import coded, images, trained
from bitspike.bench.timing import alternate, torch_threads
from bitspike.coding import Direct, Poisson
from bitspike.contracts import Batch
from bitspike.data import Split
from bitspike.experiment import Experiment
from bitspike.networks.lif import LIFNetwork
from bitspike.recipes.hm2bp import hm2bp_mnist, hm2bp_mnist_cnn, hm2bp_mnist_poisson
from bitspike.rules.hm2bp import HM2BP
from bitspike.settings import LIF

OURS, BINNED = "HM2-BP step, exact", "HM2-BP step, bins of 2 tau_s"
PRODUCTS = "its two float32 products alone"
AIMS = {PRODUCTS: 8, "snnTorch": 10, "SpikingJelly": 10}  # how much faster a step should be at 400 steps
Step = Callable[[], object]


def experiment(
    coding: Direct | Poisson, hidden: int = 800, batch: int = 64, bins: bool = False
) -> Experiment:
    """784-hidden-10: hm2bp-mnist, with the time constants of hm2bp-mnist-poisson where trains are 400 steps or longer.

    Backward exact, or in bins of 2 tau_s. Short windows want fewer spikes of the target.
    """
    base = hm2bp_mnist_poisson if isinstance(coding, Poisson) and coding.n_steps >= 400 else hm2bp_mnist
    assert isinstance(base.network, LIF)
    network = replace(base.network, hidden=(str(hidden),))
    rule = HM2BP(
        desired=min(35.0, 0.35 * coding.n_steps), backward_bin=round(2 * network.tau_s) if bins else 1
    )
    training = replace(base.training, batch_size=batch)
    return replace(base, coding=coding, network=network, rule=rule, training=training)


def pixels(data: Split, batch: int) -> Tensor:
    """A batch of training images, uint8 `(batch, 784)`."""
    return torch.from_numpy(data.train_inputs[:batch]).flatten(1)


def spikes_of(coding: Poisson, images: Tensor) -> Tensor:
    """Their trains as dense libraries take them, float32 `(n_steps, batch, n)`."""
    return torch.from_numpy(coding.trains(images.numpy())).transpose(0, 1).float().contiguous()


def rule_step(wanted: Experiment, data: Split, n_batches: int) -> tuple[Step, LIFNetwork]:
    """A training step of a network that learned from `n_batches`: its coder, rule and optimiser; and that network."""
    model, optimiser = trained(wanted, data, n_batches)
    assert isinstance(model, LIFNetwork)
    inputs, labels = coded(wanted, data.train_inputs), torch.from_numpy(data.train_labels)
    generator, size, place = torch.Generator().manual_seed(0), wanted.training.batch_size, [0]

    def run() -> None:
        start = place[0] = (place[0] + size) % (len(labels) - size + 1)
        batch = Batch(inputs[start : start + size], labels[start : start + size])
        wanted.rule.step(model, optimiser, batch, generator)

    return run, model


def spike_trains(
    seconds: float = 2.0,
    n_batches: int = 300,
    steps: tuple[int, ...] = (100, 400),
    hidden: int = 800,
    batch: int = 64,
    threads: tuple[int, ...] = (1, 2),
) -> list[dict[str, Any]]:
    """Microseconds per image of a training step, 784-800-10, batch 64 (aims at 400 steps: 8 and 10 times faster)."""
    source, data = images()
    codings: list[Direct | Poisson] = [Direct(min(steps))]
    codings += [Poisson(n, rate=1 / 5.5 if n >= 400 else 0.727) for n in steps]  # equal spikes per image
    rows = []
    for coding in codings:
        ours, model = rule_step(experiment(coding, hidden, batch), data, n_batches)
        note = _state(model, data, f"{source}, after {n_batches} batches")
        calls: dict[str, Step] = {OURS: ours}
        if isinstance(coding, Poisson):
            calls[BINNED], twin = rule_step(experiment(coding, hidden, batch, bins=True), data, 0)
            twin.load_state_dict(model.state_dict())
        calls |= _dense_rivals(coding, model, data, batch)
        for count in threads:
            with torch_threads(count):
                times = alternate(calls, seconds / 6)
            exact, binned = times[OURS], times.get(BINNED, times[OURS])
            rows += [
                {
                    "system": name,
                    "input": type(coding).__name__,
                    "steps": coding.n_steps,
                    "threads": count,
                    "us per image": round(t / batch * 1e6, 1),
                    "exact is faster by": round(t / exact, 2),
                    "bins are faster by": round(t / binned, 2),
                    "aim": _aim(name, coding.n_steps, t / exact, t / binned),
                    "data": note,
                }
                for name, t in times.items()
            ]
    return rows


def _aim(name: str, n_steps: int, exact: float, binned: float) -> str:
    wanted = next((aim for key, aim in AIMS.items() if name.startswith(key)), None)
    if wanted is None or n_steps < 400:
        return ""
    verdicts = ["met" if found >= wanted else "missed" for found in (exact, binned)]
    return f"{wanted}: exact {verdicts[0]}, bins {verdicts[1]}"


def _state(model: LIFNetwork, data: Split, prefix: str) -> str:
    """How the network stands that is timed: accuracy and spikes on 200 test images."""
    prediction = model.decide(torch.from_numpy(data.test_inputs[:200]).flatten(1))
    right = (prediction.labels == torch.from_numpy(data.test_labels[:200])).double().mean()
    return f"{prefix}: {right:.0%} right, {prediction.n_spikes.double().mean():.0f} spikes per image"


def _dense_rivals(coding: Direct | Poisson, model: LIFNetwork, data: Split, batch: int) -> dict[str, Step]:
    """The same shape, steps and batch in plain PyTorch and the libraries; trains are drawn before the clock starts."""
    labels, constant = torch.from_numpy(data.train_labels[:batch]), isinstance(coding, Direct)
    x = pixels(data, batch)
    x = x.float() * (coding.rate / 255) if isinstance(coding, Direct) else spikes_of(coding, x)
    calls: dict[str, Step] = {"HM2-BP, plain PyTorch": _plain_step(model, coding.n_steps, x, labels)}
    hidden = model.operators[0].n_out
    for library in rivals_trains.NAMES:
        rival = rivals_trains.network(library, rivals_trains.dense(hidden), coding.n_steps)
        if rival is not None:
            calls[f"{library}, BPTT"] = rivals_trains.step(rival, x, labels, constant)
    if not constant:
        weight, errors = torch.rand((784, hidden)), torch.rand((coding.n_steps * batch, hidden))
        calls[PRODUCTS] = partial(_products, x.flatten(0, 1), weight, errors)
    return calls


def _products(x: Tensor, weight: Tensor, errors: Tensor) -> None:
    torch.matmul(x, weight)
    torch.matmul(x.T, errors)


def _plain_step(model: LIFNetwork, n_steps: int, x: Tensor, labels: Tensor) -> Step:
    weights = [latent.detach().clone() for latent in model.latents]
    optimiser = torch.optim.Adam(weights, lr=1e-2, fused=True)
    rule = HM2BP(desired=min(35.0, 0.35 * n_steps))

    def run() -> None:
        gradients = dense_hm2bp.gradients(x, labels, weights, model.neurons, n_steps, rule)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        optimiser.step()

    return run


def convolution(
    seconds: float = 2.0, n_batches: int = 50, batch: int = 64, threads: tuple[int, ...] = (1, 2)
) -> list[dict[str, Any]]:
    """Microseconds per image of a training step of 15C5-P2-40C5-P2-300-10, 32 steps, constant input, batch 64."""
    source, data = images()
    wanted = replace(hm2bp_mnist_cnn, training=replace(hm2bp_mnist_cnn.training, batch_size=batch))
    ours, model = rule_step(wanted, data, n_batches)
    note = _state(model, data, f"{source}, after {n_batches} batches")
    calls: dict[str, Step] = {OURS: ours}
    x = pixels(data, batch).float().reshape(-1, 1, 28, 28) / 255
    labels, n_steps = torch.from_numpy(data.train_labels[:batch]), wanted.coding.n_steps
    for library in rivals_trains.NAMES:
        rival = rivals_trains.network(library, rivals_trains.convolutions(), n_steps)
        if rival is not None:
            calls[f"{library}, BPTT"] = rivals_trains.step(rival, x, labels, constant=True)
    rows = []
    for count in threads:
        with torch_threads(count):
            times = alternate(calls, seconds / 2)
        rows += [
            {
                "system": name,
                "threads": count,
                "us per image": round(t / batch * 1e6, 1),
                "HM2-BP is faster by": round(t / times[OURS], 2),
                "data": note,
            }
            for name, t in times.items()
        ]
    return rows
