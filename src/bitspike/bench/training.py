"""Training steps: S4NN and the race rule against the dense formulation, an MLP with Adam, and surrogate gradients."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.bench.rivals import surrogate_steps
from bitspike.bench.subjects import coded, images, mlp, trained
from bitspike.bench.timing import alternate, torch_threads
from bitspike.coding import FirstSpike
from bitspike.coding.first_spike import time_table
from bitspike.contracts import Batch, Task, encode_images
from bitspike.data import Split
from bitspike.experiment import Experiment
from bitspike.networks.first_spike import FirstSpikeNetwork
from bitspike.ops.s4nn import dense
from bitspike.ops.s4nn.settings import StepSettings
from bitspike.packed.first_spike.native import FirstSpikeEngine
from bitspike.recipes.first_spike_race import bs4nn_mnist, s4nn_mnist
from bitspike.recipes.s4nn_paper import s4nn_mnist_paper
from bitspike.rules.s4nn import S4NN, S4NNNetwork
from bitspike.settings import layered

BATCH = 64
Step = Callable[[], object]


def s4nn_experiment(n_steps: int = 256) -> Experiment:
    """The S4NN paper's network and rule with mini-batches of 64."""
    paper = s4nn_mnist_paper
    return replace(
        paper,
        coding=FirstSpike(n_steps),
        rule=S4NN(),
        training=replace(paper.training, batch_size=BATCH),
    )


def _cycle(experiment: Experiment, data: Split) -> Callable[[], Batch]:
    """Batches of 64, one after the other; coded beforehand."""
    inputs, labels = coded(experiment, data.train_inputs), torch.from_numpy(data.train_labels)
    place = [0]

    def following() -> Batch:
        start = place[0] = (place[0] + BATCH) % (len(labels) - BATCH + 1)
        return Batch(inputs[start : start + BATCH], labels[start : start + BATCH])

    return following


def _rule_step(experiment: Experiment, data: Split, n_batches: int) -> tuple[Step, nn.Module]:
    """One training step of a network that learned from `n_batches`, and that network."""
    model, optimiser = trained(experiment, data, n_batches)
    following, generator = _cycle(experiment, data), torch.Generator().manual_seed(0)
    return partial(_step, experiment, model, optimiser, following, generator), model


def _step(
    experiment: Experiment, model: Any, optimiser: Any, following: Any, generator: torch.Generator
) -> None:
    experiment.rule.step(model, optimiser, following(), generator)


def _dense_step(experiment: Experiment, data: Split) -> Step:
    settings = StepSettings(
        n_steps=experiment.coding.n_steps, thresholds=(100.0, 100.0), eta=(0.2, 0.2), gamma=3, decay=1e-6
    )
    generator = torch.Generator().manual_seed(0)
    hidden = layered(experiment.network, "S4NN").hidden[0]
    weights = [
        torch.rand((784, hidden), generator=generator) * 5,
        torch.rand((hidden, 10), generator=generator) * 48,
    ]
    following = _cycle(experiment, data)

    def run() -> None:
        batch = following()
        dense.step(batch.inputs, batch.labels, weights, None, settings)

    return run


def _mlp_step(hidden: int, data: Split, fused: bool) -> Step:
    network = mlp(784, hidden, 10)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, fused=fused)
    floats: Tensor = torch.from_numpy(data.train_inputs[:BATCH]).flatten(1).float() / 255
    labels = torch.from_numpy(data.train_labels[:BATCH])

    def run() -> None:
        optimiser.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(network(floats), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return run


def training(seconds: float = 3.0, n_batches: int = 4000) -> list[dict[str, Any]]:
    """Microseconds per image of a training step at batch 64, 784-400-10 unless stated, on one thread and two."""
    source, data = images()
    s4nn = s4nn_experiment()
    binary = replace(bs4nn_mnist, training=replace(bs4nn_mnist.training, batch_size=BATCH))
    real = replace(s4nn_mnist, training=binary.training)
    s4nn_step, s4nn_model = _rule_step(s4nn, data, n_batches)
    assert isinstance(s4nn_model, S4NNNetwork)
    rivals: dict[str, Step] = {
        "S4NN step": s4nn_step,
        "race step, one bit, 784-600-10": _rule_step(binary, data, n_batches)[0],
        "race step, real": _rule_step(real, data, n_batches)[0],
        "S4NN, dense PyTorch": _dense_step(s4nn, data),
        "MLP with Adam": _mlp_step(400, data, fused=False),
        "MLP with Adam (fused)": _mlp_step(400, data, fused=True),
        "MLP with Adam, 784-600-10": _mlp_step(600, data, fused=False),
        **surrogate_steps(data, hidden=400, n_steps=25, batch=BATCH),
    }
    rows = []
    for threads in (1, 2):
        with torch_threads(threads):
            times = alternate(rivals, seconds / 2)
        right = 1 - int(s4nn_model.wrong) / int(s4nn_model.seen)
        rows += [
            {
                "system": name,
                "threads": threads,
                "us per image": round(t / BATCH * 1e6, 2),
                "S4NN step is faster by": round(t / times["S4NN step"], 2),
                "race step is faster by": round(t / times["race step, one bit, 784-600-10"], 2),
                "data": f"{source}, after {n_batches} batches; {right:.0%} of S4NN's samples without error",
            }
            for name, t in times.items()
        ]
    return rows


def steps(seconds: float = 2.0, n_batches: int = 300) -> list[dict[str, Any]]:
    """Cost with the same spikes spread over 4096 steps instead of 256 (aim: at most 1.1 times)."""
    source, data = images()
    rows = []
    experiments = {
        "S4NN step": s4nn_experiment(),
        "race step, one bit": replace(
            bs4nn_mnist, coding=FirstSpike(256), training=s4nn_experiment().training
        ),
    }
    for name, experiment in experiments.items():
        model, _ = trained(experiment, data, n_batches)
        following, generator = _cycle(experiment, data), torch.Generator().manual_seed(0)
        inputs = [following() for _ in range(10)]
        calls: dict[str, Step] = {}
        for n_steps in (256, 4096):
            clone, clone_optimiser = experiment.rule.init(
                replace(experiment, coding=FirstSpike(n_steps)), _task(inputs[0]), generator
            )
            clone.load_state_dict(model.state_dict())
            scaled = [Batch((b.inputs * (n_steps // 256)).to(torch.int16), b.labels) for b in inputs]

            def run(clone: Any = clone, optimiser: Any = clone_optimiser, scaled: Any = scaled) -> None:
                for batch in scaled:
                    experiment.rule.step(clone, optimiser, batch, generator)  # noqa: B023

            calls[str(n_steps)] = run
        with torch_threads(1):
            times = alternate(calls, seconds / 2)
        rows += _per_steps(name, times, BATCH * len(inputs), source)
    assert isinstance(model, FirstSpikeNetwork)
    network, pixels = (
        model.packed(),
        data.test_inputs.reshape(len(data.test_inputs), -1),
    )  # the one-bit network
    engines: dict[str, Step] = {}
    for n_steps in (256, 4096):
        engine = FirstSpikeEngine(replace(network, n_steps=n_steps))
        engines[str(n_steps)] = partial(engine.run_images, pixels, time_table(n_steps), 1)
    rows += _per_steps(
        f"packed one-bit inference ({engine.isa})", alternate(engines, seconds / 2), len(pixels), source
    )
    return rows


def _per_steps(name: str, times: dict[str, float], n_images: int, source: str) -> list[dict[str, Any]]:
    return [
        {
            "system": name,
            "steps": int(n_steps),
            "us per image": round(t / n_images * 1e6, 2),
            "relative": round(t / times["256"], 3),
            "data": source,
        }
        for n_steps, t in times.items()
    ]


def _task(batch: Batch) -> Task:
    return Task(batch.inputs, 10)


def epoch(n_images: int | None = None, n_batches: int = 300) -> list[dict[str, Any]]:
    """Seconds of one epoch of bs4nn-mnist, augmentation and coding included, on one thread and two."""
    source, data = images()
    experiment = bs4nn_mnist
    rows = []
    for threads in (1, 2):
        with torch_threads(threads):
            generator = torch.Generator().manual_seed(0)
            model, optimiser = trained(experiment, data, n_batches)
            pixels, labels = torch.from_numpy(data.train_inputs), torch.from_numpy(data.train_labels)
            n = min(n_images or len(labels), len(labels))
            order = torch.randperm(n, generator=generator)
            begin = time.perf_counter()
            for chosen in torch.split(order, experiment.training.batch_size):
                inputs = encode_images(
                    experiment.coding, experiment.augment(pixels[chosen], generator).flatten(1)
                )
                experiment.rule.step(model, optimiser, Batch(inputs, labels[chosen]), generator)
            elapsed = time.perf_counter() - begin
        rows.append(
            {
                "system": "bs4nn-mnist, one epoch",
                "threads": threads,
                "images": n,
                "seconds": round(elapsed, 2),
                "us per image": round(elapsed / n * 1e6, 2),
                "data": source,
            }
        )
    return rows
