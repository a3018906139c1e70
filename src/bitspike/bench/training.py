"""Training steps: S4NN and the race rule against the dense formulation, an MLP with Adam, and surrogate gradients."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from bitspike.bench.rivals import surrogate_steps
from bitspike.bench.subjects import CLASSES, batches, images, learning, mlp, pixels, trained
from bitspike.bench.timing import Call, Clock, alternate, does, torch_threads
from bitspike.coding import FirstSpike
from bitspike.contracts import Batch, Progress, Task
from bitspike.data import Split
from bitspike.experiment import Experiment
from bitspike.networks.first_spike import FirstSpikeNetwork
from bitspike.ops.s4nn import dense
from bitspike.ops.s4nn.settings import StepSettings
from bitspike.packed.first_spike.native import FirstSpikeEngine
from bitspike.recipes.first_spike_race import bs4nn_mnist, s4nn_mnist
from bitspike.recipes.s4nn_paper import s4nn_mnist_paper
from bitspike.rules.s4nn import S4NN, S4NNLearner
from bitspike.training.trainer import Trainer

BATCH = 64
SPREAD = (256, 4096)  # steps that the same spikes are spread over
S4NN_STEP, ONE_BIT = "S4NN step", "race step, one bit, 784-600-10"


def s4nn_experiment() -> Experiment:
    """The S4NN paper's network and rule with mini-batches of 64."""
    return s4nn_mnist_paper.with_changes(
        {"coding": FirstSpike(SPREAD[0]), "rule": S4NN(), "training.batch_size": BATCH}
    )


def training(
    seconds: float = 3.0,
    n_batches: int = 4000,
    threads: tuple[int, ...] = (1, 2),
    clock: Clock = time.perf_counter,
) -> list[dict[str, Any]]:
    """Microseconds per image of a training step at batch 64, 784-400-10 unless stated, on one thread and two."""
    source, data = images()
    s4nn = s4nn_experiment()
    trainer = trained(s4nn, data, n_batches)
    learner = cast(S4NNLearner, trainer.learner)
    calls: dict[str, Call] = {
        S4NN_STEP: learning(trainer, batches(s4nn, data)),
        ONE_BIT: _race_step(bs4nn_mnist, data, n_batches),
        "race step, real": _race_step(s4nn_mnist, data, n_batches),
        "S4NN, dense PyTorch": _dense_step(s4nn, data),
        "MLP with Adam": _mlp_step(400, data, fused=False),
        "MLP with Adam (fused)": _mlp_step(400, data, fused=True),
        "MLP with Adam, 784-600-10": _mlp_step(600, data, fused=False),
        **surrogate_steps(data, hidden=400, n_steps=25, batch=BATCH),
    }
    rows = []
    for count in threads:
        with torch_threads(count):
            times = alternate(calls, seconds / 2, clock)
        right = 1 - int(learner.wrong) / int(learner.seen)
        rows += [
            {
                "system": name,
                "threads": count,
                "us per image": round(t * 1e6, 2),
                "S4NN step is faster by": round(t / times[S4NN_STEP], 2),
                "race step is faster by": round(t / times[ONE_BIT], 2),
                "data": f"{source}, after {n_batches} batches; {right:.0%} of S4NN's samples without error",
            }
            for name, t in times.items()
        ]
    return rows


def _race_step(recipe: Experiment, data: Split, n_batches: int) -> Call:
    experiment = recipe.with_path("training.batch_size", BATCH)
    return learning(trained(experiment, data, n_batches), batches(experiment, data))


def _dense_step(experiment: Experiment, data: Split) -> Call:
    settings = StepSettings(
        n_steps=experiment.coding.n_steps, thresholds=(100.0, 100.0), eta=(0.2, 0.2), gamma=3, decay=1e-6
    )
    generator = torch.Generator().manual_seed(0)
    hidden = experiment.network.hidden[0]
    weights = [
        torch.rand((784, hidden), generator=generator) * 5,
        torch.rand((hidden, 10), generator=generator) * 48,
    ]
    following = batches(experiment, data)

    def run() -> int:
        batch = following()
        dense.step(batch.inputs, batch.labels, weights, None, settings)
        return len(batch.labels)

    return run


def _mlp_step(hidden: int, data: Split, fused: bool) -> Call:
    network = mlp(784, hidden, 10)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, fused=fused)
    floats, labels = pixels(data, BATCH).float() / 255, torch.from_numpy(data.train_labels[:BATCH])

    def run() -> int:
        optimiser.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(network(floats), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return len(labels)

    return run


def steps(
    seconds: float = 2.0, n_batches: int = 300, clock: Clock = time.perf_counter
) -> list[dict[str, Any]]:
    """Cost with the same spikes spread over 4096 steps instead of 256 (aim: at most 1.1 times)."""
    source, data = images()
    s4nn = s4nn_experiment()
    race = replace(bs4nn_mnist, coding=s4nn.coding, training=s4nn.training)
    trainers = {
        "S4NN step": trained(s4nn, data, n_batches),
        "race step, one bit": trained(race, data, n_batches),
    }
    times: dict[str, dict[int, float]] = {}
    for name, trainer in trainers.items():
        following = batches(trainer.experiment, data)
        given = [following() for _ in range(10)]
        calls = {str(n_steps): _spread(trainer, given, n_steps) for n_steps in SPREAD}
        times[name] = _by_steps(calls, seconds, clock)
    packed = cast(FirstSpikeNetwork, trainers["race step, one bit"].network).packed()
    raw, calls = data.test_inputs.reshape(len(data.test_inputs), -1), {}
    for n_steps in SPREAD:
        engine = FirstSpikeEngine(replace(packed, n_steps=n_steps))
        calls[str(n_steps)] = does(len(raw), partial(engine.decide, raw, threads=1))
    times[f"packed one-bit inference ({engine.isa})"] = _by_steps(calls, seconds, clock)
    return [
        {
            "system": name,
            "steps": n_steps,
            "us per image": round(t * 1e6, 2),
            "relative": round(t / each[SPREAD[0]], 3),
            "data": source,
        }
        for name, each in times.items()
        for n_steps, t in each.items()
    ]


def _by_steps(calls: dict[str, Call], seconds: float, clock: Clock) -> dict[int, float]:
    with torch_threads(1):
        return {int(n_steps): t for n_steps, t in alternate(calls, seconds / 2, clock).items()}


def _spread(trainer: Trainer, given: list[Batch], n_steps: int) -> Call:
    """A training step of each batch with the trained network's twin, whose window has `n_steps`."""
    experiment = trainer.experiment.with_path("coding.n_steps", n_steps)
    generator, rule = torch.Generator().manual_seed(0), experiment.rule
    network = rule.build(experiment, Task(given[0].inputs, len(CLASSES)), generator)
    network.load_state_dict(trainer.network.state_dict())
    learner = rule.learner(network, experiment)
    learner.load_state_dict(trainer.learner.state_dict())
    factor = n_steps // SPREAD[0]
    spread = [Batch((batch.inputs * factor).to(torch.int16), batch.labels) for batch in given]

    def run() -> int:
        for batch in spread:
            learner.step(batch, Progress(), generator)
        return sum(len(batch.labels) for batch in spread)

    return run


def epoch(
    n_images: int | None = None,
    n_batches: int = 300,
    threads: tuple[int, ...] = (1, 2),
    clock: Clock = time.perf_counter,
) -> list[dict[str, Any]]:
    """Seconds of one epoch of bs4nn-mnist, augmentation and coding included, on one thread and two."""
    source, data = images()
    few = replace(data, train_inputs=data.train_inputs[:n_images], train_labels=data.train_labels[:n_images])
    n = len(few.train_labels)
    # Two epochs, the first of which ends without a look at the validation data.
    experiment = bs4nn_mnist.with_changes({"training.epochs": 2, "training.evaluate_every": 2})
    rows = []
    for count in threads:
        with torch_threads(count):
            network = trained(bs4nn_mnist, data, n_batches).network
            trainer = Trainer(experiment, few, len(CLASSES), data.train_inputs.shape[1:])
            trainer.network.load_state_dict(network.state_dict())
            begin = clock()
            trainer.run(epochs=1)
            elapsed = clock() - begin
        rows.append(
            {
                "system": "bs4nn-mnist, one epoch",
                "threads": count,
                "images": n,
                "seconds": round(elapsed, 2),
                "us per image": round(elapsed / n * 1e6, 2),
                "data": source,
            }
        )
    return rows
