"""BiSNN: an online learning step, against the same rule in plain PyTorch, and its cost in longer windows."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, cast

import torch

from bitspike.bench import dense_bisnn
from bitspike.bench.subjects import first_batch, images, trained
from bitspike.bench.timing import Call, Clock, alternate, does, torch_threads
from bitspike.contracts import Progress
from bitspike.data import Split
from bitspike.experiment import Experiment
from bitspike.networks.srm import SRMNetwork
from bitspike.recipes.bisnn import bayes_bisnn_mnist
from bitspike.rules.bisnn import BiSNN

OURS = "BiSNN"
RIVALS = {
    "closed form, plain PyTorch": dense_bisnn.ClosedForm,
    "autograd, plain PyTorch": dense_bisnn.Autograd,
}


def experiment(n_steps: int, hidden: int = 256, batch: int = 64) -> Experiment:
    """bayes-bisnn-mnist, 784-hidden-hidden: hard draws and Adam; every step but the first two learns."""
    return bayes_bisnn_mnist.with_changes(
        {
            "coding.n_steps": n_steps,
            "network.hidden": (str(hidden), str(hidden)),
            "network.burn_in": 2,
            "training.batch_size": batch,
        }
    )


def bisnn(
    seconds: float = 3.0,
    n_batches: int = 100,
    steps: tuple[int, ...] = (50, 200, 800),
    hidden: int = 256,
    batch: int = 64,
    threads: tuple[int, ...] = (1, 2),
    clock: Clock = time.perf_counter,
) -> list[dict[str, Any]]:
    """Microseconds per time step of training, 784-256-256, batch 64, coding included; flat in the window's length.

    The rivals get their trains drawn beforehand. snnTorch, SpikingJelly and Norse have no rule of this kind.
    """
    source, data = images()
    short = experiment(steps[0], hidden, batch)
    network = cast(SRMNetwork, trained(short, data, n_batches).network)
    calls: dict[tuple[str, int], Call] = {
        (OURS, n_steps): _ours(experiment(n_steps, hidden, batch), network, data) for n_steps in steps
    }
    for name, rival in RIVALS.items():
        calls[name, steps[0]] = _rival(rival, short, network, data)
    rows = []
    for count in threads:
        with torch_threads(count):
            times = alternate({f"{name}/{n}": call for (name, n), call in calls.items()}, seconds / 2, clock)
        ours = times[f"{OURS}/{steps[0]}"]
        rows += [
            {
                "system": name,
                "steps": n_steps,
                "threads": count,
                "us per step": round(times[f"{name}/{n_steps}"] * 1e6, 1),
                "BiSNN is faster by": round(times[f"{name}/{n_steps}"] / ours, 2),
                "data": f"{source}, after {n_batches} batches",
            }
            for name, n_steps in calls
        ]
    return rows


def _ours(longer: Experiment, network: SRMNetwork, data: Split) -> Call:
    """The rule's own steps over a window, of a copy of the network; counted in time steps."""
    twin = trained(longer, data, 0)
    twin.network.load_state_dict(network.state_dict())
    batch, generator = first_batch(longer, data), torch.Generator().manual_seed(0)
    return does(longer.coding.n_steps, partial(twin.learner.step, batch, Progress(), generator))


def _rival(kind: type[dense_bisnn.Online], short: Experiment, network: SRMNetwork, data: Split) -> Call:
    batch = first_batch(short, data)
    adam = partial(torch.optim.Adam, lr=short.optimizer.lr, fused=True)
    rival = kind(network, cast(BiSNN, short.rule).box, adam)
    window = network.window(batch.inputs).float()
    return does(len(window), partial(rival.window, window, batch.labels))
