"""Spike trains: training steps of HM2-BP against plain PyTorch, the dense products alone, and surrogate gradients."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from bitspike.bench import dense_hm2bp, rivals_trains
from bitspike.bench.subjects import batches, images, learning, pixels, trained
from bitspike.bench.timing import Call, Clock, alternate, does, torch_threads
from bitspike.coding import Direct, Poisson
from bitspike.data import Split
from bitspike.experiment import Experiment
from bitspike.networks.base import Network
from bitspike.networks.lif import LIFNetwork
from bitspike.recipes.hm2bp import hm2bp_mnist, hm2bp_mnist_cnn, hm2bp_mnist_poisson
from bitspike.rules.hm2bp import HM2BP
from bitspike.settings import LIF

OURS, BINNED = "HM2-BP step, exact", "HM2-BP step, bins of 2 tau_s"
PLAIN = "HM2-BP, plain PyTorch"
PRODUCTS = "its two float32 products alone"
AIMS = {PRODUCTS: 8, "snnTorch": 10, "SpikingJelly": 10}  # how much faster a step should be at 400 steps


def experiment(
    coding: Direct | Poisson, hidden: int = 800, batch: int = 64, bins: bool = False
) -> Experiment:
    """784-hidden-10: hm2bp-mnist, with the time constants of hm2bp-mnist-poisson where trains are 400 steps or longer.

    Backward exact, or in bins of 2 tau_s. In short windows the target has fewer spikes.
    """
    base = hm2bp_mnist_poisson if isinstance(coding, Poisson) and coding.n_steps >= 400 else hm2bp_mnist
    width = round(2 * cast(LIF, base.network).tau_s) if bins else 1
    return base.with_changes(
        {
            "coding": coding,
            "network.hidden": (str(hidden),),
            "rule": HM2BP(desired=min(35.0, 0.35 * coding.n_steps), backward_bin=width),
            "training.batch_size": batch,
        }
    )


def spikes_of(coding: Poisson, images: Tensor) -> Tensor:
    """Their trains as dense libraries take them, float32 `(n_steps, batch, n)`."""
    return torch.from_numpy(coding.trains(images.numpy())).transpose(0, 1).float().contiguous()


def rule_step(settings: Experiment, data: Split, n_batches: int) -> tuple[Call, Network]:
    """A training step of a network that learned from `n_batches`, and that network."""
    trainer = trained(settings, data, n_batches)
    return learning(trainer, batches(settings, data)), trainer.network


def spike_trains(
    seconds: float = 2.0,
    n_batches: int = 300,
    steps: tuple[int, ...] = (100, 400),
    hidden: int = 800,
    batch: int = 64,
    threads: tuple[int, ...] = (1, 2),
    clock: Clock = time.perf_counter,
) -> list[dict[str, Any]]:
    """Microseconds per image of a training step, 784-800-10, batch 64 (aims at 400 steps: 8 and 10 times faster)."""
    source, data = images()
    codings: list[Direct | Poisson] = [Direct(min(steps))]
    codings += [Poisson(n, rate=1 / 5.5 if n >= 400 else 0.727) for n in steps]  # equal spikes per image
    rows = []
    for coding in codings:
        exact = experiment(coding, hidden, batch)
        ours, network = rule_step(exact, data, n_batches)
        note = _state(network, data, f"{source}, after {n_batches} batches")
        calls = {OURS: ours}
        if isinstance(coding, Poisson):
            calls[BINNED], twin = rule_step(experiment(coding, hidden, batch, bins=True), data, 0)
            twin.load_state_dict(network.state_dict())
        calls |= _dense_rivals(coding, exact, network, data)
        for count in threads:
            with torch_threads(count):
                times = alternate(calls, seconds / 6, clock)
            binned = times.get(BINNED, times[OURS])
            rows += [
                {
                    "system": name,
                    "input": type(coding).__name__,
                    "steps": coding.n_steps,
                    "threads": count,
                    "us per image": round(t * 1e6, 1),
                    "exact is faster by": round(t / times[OURS], 2),
                    "bins are faster by": round(t / binned, 2),
                    "aim": _aim(name, coding.n_steps, t / times[OURS], t / binned),
                    "data": note,
                }
                for name, t in times.items()
            ]
    return rows


def _aim(name: str, n_steps: int, exact: float, binned: float) -> str:
    aim = next((factor for key, factor in AIMS.items() if name.startswith(key)), None)
    if aim is None or n_steps < 400:
        return ""
    verdicts = ["met" if factor >= aim else "missed" for factor in (exact, binned)]
    return f"{aim}: exact {verdicts[0]}, bins {verdicts[1]}"


def _state(network: Network, data: Split, prefix: str) -> str:
    """How the network stands that is timed: accuracy and spikes on 200 test images."""
    prediction = network.decide(torch.from_numpy(data.test_inputs[:200]).flatten(1))
    right = (prediction.labels == torch.from_numpy(data.test_labels[:200])).double().mean()
    return f"{prefix}: {right:.0%} right, {prediction.n_spikes.double().mean():.0f} spikes per image"


def _dense_rivals(
    coding: Direct | Poisson, exact: Experiment, network: Network, data: Split
) -> dict[str, Call]:
    """The same shape, steps and batch in plain PyTorch and the libraries; trains are drawn before the clock starts."""
    batch, n_steps, hidden = exact.training.batch_size, coding.n_steps, int(exact.network.hidden[0])
    x, labels = pixels(data, batch), torch.from_numpy(data.train_labels[:batch])
    x = spikes_of(coding, x) if isinstance(coding, Poisson) else x.float() * coding.current_per_level
    constant = isinstance(coding, Direct)
    calls = {PLAIN: _plain_step(cast(LIFNetwork, network), cast(HM2BP, exact.rule), x, labels)}
    for library in rivals_trains.NAMES:
        rival = rivals_trains.network(library, rivals_trains.dense(hidden), n_steps)
        if rival is not None:
            calls[f"{library}, BPTT"] = rivals_trains.step(rival, x, labels, constant)
    if not constant:
        weight, errors = torch.rand((784, hidden)), torch.rand((n_steps * batch, hidden))
        calls[PRODUCTS] = does(batch, partial(_products, x.flatten(0, 1), weight, errors))
    return calls


def _products(x: Tensor, weight: Tensor, errors: Tensor) -> None:
    torch.matmul(x, weight)
    torch.matmul(x.T, errors)


def _plain_step(network: LIFNetwork, rule: HM2BP, x: Tensor, labels: Tensor) -> Call:
    weights = [latent.detach().clone() for latent in network.latents]
    optimiser = torch.optim.Adam(weights, lr=1e-2, fused=True)

    def run() -> int:
        gradients = dense_hm2bp.gradients(x, labels, weights, network.neurons, network.n_steps, rule)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        optimiser.step()
        return len(labels)

    return run


def convolution(
    seconds: float = 2.0,
    n_batches: int = 50,
    batch: int = 64,
    threads: tuple[int, ...] = (1, 2),
    clock: Clock = time.perf_counter,
) -> list[dict[str, Any]]:
    """Microseconds per image of a training step of 15C5-P2-40C5-P2-300-10, 32 steps, constant input, batch 64."""
    source, data = images()
    settings = hm2bp_mnist_cnn.with_path("training.batch_size", batch)
    ours, network = rule_step(settings, data, n_batches)
    note = _state(network, data, f"{source}, after {n_batches} batches")
    calls = {OURS: ours}
    x = pixels(data, batch).float().reshape(-1, 1, 28, 28) / 255
    labels = torch.from_numpy(data.train_labels[:batch])
    for library in rivals_trains.NAMES:
        rival = rivals_trains.network(library, rivals_trains.convolutions(), settings.coding.n_steps)
        if rival is not None:
            calls[f"{library}, BPTT"] = rivals_trains.step(rival, x, labels, constant=True)
    rows = []
    for count in threads:
        with torch_threads(count):
            times = alternate(calls, seconds / 2, clock)
        rows += [
            {
                "system": name,
                "threads": count,
                "us per image": round(t * 1e6, 1),
                "HM2-BP is faster by": round(t / times[OURS], 2),
                "data": note,
            }
            for name, t in times.items()
        ]
    return rows
