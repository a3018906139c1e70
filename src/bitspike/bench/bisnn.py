"""BiSNN: an online learning step, against the same rule in plain PyTorch, and its cost in longer windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from bitspike.bench import dense_bisnn
from bitspike.bench.subjects import coded, images, trained
from bitspike.bench.timing import alternate, torch_threads
from bitspike.coding import Poisson
from bitspike.contracts import Batch
from bitspike.data import Split
from bitspike.experiment import Experiment
from bitspike.networks.srm import SRMNetwork
from bitspike.recipes.bisnn import bayes_bisnn_mnist
from bitspike.rules.bisnn import BiSNN
from bitspike.settings import SRM

OURS = "BiSNN"


def experiment(n_steps: int, hidden: int = 256, batch: int = 64) -> Experiment:
    """bayes-bisnn-mnist, 784-hidden-hidden: hard draws and Adam; every step but the first two learns."""
    base = bayes_bisnn_mnist
    assert isinstance(base.network, SRM)
    assert isinstance(base.coding, Poisson)
    return replace(
        base,
        coding=replace(base.coding, n_steps=n_steps),
        network=replace(base.network, hidden=(str(hidden), str(hidden)), burn_in=2),
        training=replace(base.training, batch_size=batch),
    )


def bisnn(
    seconds: float = 3.0,
    n_batches: int = 100,
    steps: tuple[int, ...] = (50, 200, 800),
    hidden: int = 256,
    batch: int = 64,
    threads: tuple[int, ...] = (1, 2),
) -> list[dict[str, Any]]:
    """Microseconds per time step of training, 784-256-256, batch 64, coding included; flat in the window's length.

    The rivals get their trains drawn beforehand. snnTorch, SpikingJelly and Norse have no rule of this kind.
    """
    source, data = images()
    wanted = experiment(steps[0], hidden, batch)
    model, _ = trained(wanted, data, n_batches)
    assert isinstance(model, SRMNetwork)
    calls: dict[tuple[str, int], Callable[[], object]] = {
        (OURS, n_steps): _ours(experiment(n_steps, hidden, batch), model, data) for n_steps in steps
    }
    for name, rival in (("closed form", dense_bisnn.ClosedForm), ("autograd", dense_bisnn.Autograd)):
        calls[f"{name}, plain PyTorch", steps[0]] = _rival(rival, wanted, model, data)
    rows = []
    for count in threads:
        with torch_threads(count):
            times = alternate({f"{name}/{n}": call for (name, n), call in calls.items()}, seconds / 2)
        ours = times[f"{OURS}/{steps[0]}"] / steps[0]
        rows += [
            {
                "system": name,
                "steps": n_steps,
                "threads": count,
                "us per step": round(times[f"{name}/{n_steps}"] / n_steps * 1e6, 1),
                "BiSNN is faster by": round(times[f"{name}/{n_steps}"] / n_steps / ours, 2),
                "data": f"{source}, after {n_batches} batches",
            }
            for name, n_steps in calls
        ]
    return rows


def _batch(wanted: Experiment, data: Split) -> Batch:
    size = wanted.training.batch_size
    return Batch(coded(wanted, data.train_inputs[:size]), torch.from_numpy(data.train_labels[:size]))


def _ours(wanted: Experiment, model: SRMNetwork, data: Split) -> Callable[[], object]:
    """The rule's own step over a window, of a copy of the network."""
    twin, optimiser = trained(wanted, data, 0)
    twin.load_state_dict(model.state_dict())
    return partial(wanted.rule.step, twin, optimiser, _batch(wanted, data), torch.Generator().manual_seed(0))


def _rival(
    kind: type[dense_bisnn.Online], wanted: Experiment, model: SRMNetwork, data: Split
) -> Callable[[], object]:
    batch, rule = _batch(wanted, data), wanted.rule
    assert isinstance(rule, BiSNN)
    adam = partial(torch.optim.Adam, lr=wanted.optimizer.lr, fused=True)
    rival = kind(model, rule.box, adam)
    return partial(rival.window, model.window(batch.inputs).float(), batch.labels)
