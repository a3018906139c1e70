"""Every benchmark's figures: they follow from a clock that only the work done moves, by what each kind of it costs."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from bitspike.bench import BENCHMARKS, dense_bisnn, dense_hm2bp
from bitspike.bench.bisnn import bisnn
from bitspike.bench.inference import inference, trains
from bitspike.bench.memory import memory
from bitspike.bench.spike_trains import convolution, spike_trains
from bitspike.bench.training import epoch, steps, training
from bitspike.bench.uncertain import bisnn_inference, committees
from bitspike.data.augment import Augment
from bitspike.deploy.model import Model
from bitspike.networks.first_spike import FirstSpikeNetwork
from bitspike.networks.srm import SRMNetwork
from bitspike.ops.s4nn import dense as dense_s4nn
from bitspike.packed.first_spike.native import FirstSpikeEngine
from bitspike.rules.bisnn import BiSNNLearner
from bitspike.rules.first_spike_race import FirstSpikeRaceLearner
from bitspike.rules.hm2bp import HM2BPLearner
from bitspike.rules.s4nn import S4NNLearner

RIVALS = ("snntorch", "spikingjelly.activation_based.neuron", "norse.torch")


class Work:
    """A clock that stands still but for the work it is told to see: `costs` charges calls in microseconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds, self._monkeypatch = 0.0, monkeypatch

    def __call__(self) -> float:
        return self.seconds

    def spend(self, microseconds: float) -> None:
        self.seconds += microseconds * 1e-6

    def costs(self, owner: Any, name: str, microseconds: Callable[..., float]) -> None:
        """Every call of `owner.name` takes as long as `microseconds` of its arguments says."""
        whole = getattr(owner, name)

        @functools.wraps(whole)
        def spied(*args: Any, **named: Any) -> Any:
            result = whole(*args, **named)
            self.spend(microseconds(*args, **named))
            return result

        self._monkeypatch.setattr(owner, name, spied)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """The digits, which are small and there on every machine, and none of the libraries compared with."""
    monkeypatch.delenv("BITSPIKE_DATA", raising=False)
    for library in RIVALS:
        monkeypatch.setitem(sys.modules, library, None)
    return Work(monkeypatch)


def columns(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The rows without their last column, which says what they were measured on; the back end of names is left out."""
    assert all(row.keys() == rows[0].keys() for row in rows)
    assert all(str(row["data"]).startswith("digits, enlarged") for row in rows)
    return [(row["system"].split(" (native")[0], *list(row.values())[1:-1]) for row in rows]


def test_every_benchmark_is_asserted() -> None:
    here = {
        inference, training, steps, epoch, spike_trains, convolution, trains, bisnn_inference, committees, bisnn
    }  # fmt: skip
    assert set(BENCHMARKS.values()) == {*here, memory}  # the last one in test_bench_timing.py
    assert all(function.__doc__ for function in BENCHMARKS.values())


def test_inference(work: Work) -> None:
    work.costs(Model, "predict", lambda model, x, threads=None: len(x) * 2 / (threads or 1))
    slower = {torch.float32: 6, torch.bfloat16: 30}
    work.costs(nn.Sequential, "forward", lambda _, x: len(x) * slower[x.dtype] / torch.get_num_threads())
    rows = inference(0.0, n_batches=3, batches=(64, 1), clock=work)
    assert list(rows[0])[2:5] == ["batch", "us per image", "packed is faster by"]
    assert columns(rows) == [
        (name, threads, batch, factor * 2 / threads, factor)
        for threads in (1, 2)
        for batch in (64, 1)
        for name, factor in [
            ("packed one-bit", 1.0),
            ("PyTorch MLP float32", 3.0),
            ("PyTorch MLP bfloat16", 15.0),
        ]
    ]


def test_inference_of_spike_trains(work: Work) -> None:
    work.costs(
        Model, "predict", lambda model, x, threads=None: len(x) * (2 if model.one_bit else 8) / (threads or 1)
    )
    work.costs(nn.Sequential, "forward", lambda _, x: len(x) * 4 / torch.get_num_threads())
    rows = trains(0.0, n_batches=2, batches=(400, 1), threads=(2,), clock=work)
    assert list(rows[0])[2:6] == ["batch", "us per image", "one-bit is faster by", "real is faster by"]
    assert columns(rows) == [
        (name, 2, batch, us, us / 1.0, us / 4.0)
        for batch in (400, 1)
        for name, us in [("packed one-bit", 1.0), ("packed real", 4.0), ("PyTorch MLP float32", 2.0)]
    ]


def test_training(work: Work) -> None:
    race = {"binary": 4, "real": 3}
    work.costs(S4NNLearner, "step", lambda learner, batch, *_: len(batch.labels) * 2)
    work.costs(
        FirstSpikeRaceLearner,
        "step",
        lambda learner, batch, *_: len(batch.labels) * race[learner.network.synapse.kind],
    )
    work.costs(dense_s4nn, "step", lambda times, labels, *_: len(labels) * 500)
    work.costs(nn.Sequential, "forward", lambda model, x: len(x) * model[0].out_features / 100)

    def adam(optimiser: torch.optim.Optimizer, args: Any, named: Any) -> None:
        if type(optimiser) is torch.optim.Adam:
            work.spend(64 * (1 if optimiser.defaults["fused"] else 6))

    hook = register_optimizer_step_post_hook(adam)
    try:
        rows = training(0.0, n_batches=3, threads=(1,), clock=work)
    finally:
        hook.remove()
    assert list(rows[0])[2:5] == ["us per image", "S4NN step is faster by", "race step is faster by"]
    assert columns(rows) == [
        (name, 1, us, us / 2, us / 4)
        for name, us in [
            ("S4NN step", 2.0),
            ("race step, one bit, 784-600-10", 4.0),
            ("race step, real", 3.0),
            ("S4NN, dense PyTorch", 500.0),
            ("MLP with Adam", 10.0),
            ("MLP with Adam (fused)", 5.0),
            ("MLP with Adam, 784-600-10", 12.0),
        ]
    ]


def test_steps(work: Work) -> None:
    pytest.importorskip("bitspike._native")
    longer = {256: 1, 4096: 1.5}
    for learner, us in ((S4NNLearner, 2), (FirstSpikeRaceLearner, 4)):
        work.costs(
            learner,
            "step",
            lambda own, batch, *_, us=us: len(batch.labels) * us * longer[own.network.n_steps],
        )
    work.costs(FirstSpikeEngine, "decide", lambda engine, x, threads: len(x) * longer[engine._n_steps])
    work.costs(FirstSpikeNetwork, "load_state_dict", lambda *_: 1e6)  # no part of a step
    rows = steps(0.0, n_batches=3, clock=work)
    assert list(rows[0]) == ["system", "steps", "us per image", "relative", "data"]
    assert columns(rows[:4]) == [
        ("S4NN step", 256, 2.0, 1.0),
        ("S4NN step", 4096, 3.0, 1.5),
        ("race step, one bit", 256, 4.0, 1.0),
        ("race step, one bit", 4096, 6.0, 1.5),
    ]
    assert [(row["steps"], row["us per image"], row["relative"]) for row in rows[4:]] == [
        (256, 1.0, 1.0),
        (4096, 1.5, 1.5),
    ]
    assert {row["system"][:33] for row in rows[4:]} == {
        "packed one-bit inference (" + rows[4]["system"][26:33]
    }


def test_epoch(work: Work) -> None:
    work.costs(
        FirstSpikeRaceLearner,
        "step",
        lambda _, batch, *__: len(batch.labels) * 4000 / torch.get_num_threads(),
    )
    work.costs(Augment, "__call__", lambda _, images, __: len(images) * 1000)
    work.costs(FirstSpikeNetwork, "decide", lambda *_: 1e9)  # validation is no part of it
    rows = epoch(450, n_batches=2, clock=work)
    assert list(rows[0])[2:5] == ["images", "seconds", "us per image"]
    assert columns(rows) == [
        ("bs4nn-mnist, one epoch", 1, 450, 2.25, 5000.0),
        ("bs4nn-mnist, one epoch", 2, 450, 1.35, 3000.0),
    ]


def test_spike_trains(work: Work) -> None:
    work.costs(
        HM2BPLearner,
        "step",
        lambda own, batch, *_: len(batch.labels) * (2 if own.rule.backward_bin > 1 else 1),
    )
    work.costs(dense_hm2bp, "gradients", lambda x, labels, *_: len(labels) * 20)
    work.costs(torch, "matmul", lambda *_: 4 * 6)  # two of them make 12 per image of a batch of 4
    rows = spike_trains(0.0, 2, steps=(20, 400), hidden=16, batch=4, threads=(1,), clock=work)
    assert list(rows[0])[1:8] == [
        "input", "steps", "threads", "us per image", "exact is faster by", "bins are faster by", "aim"
    ]  # fmt: skip
    exact, binned = "HM2-BP step, exact", "HM2-BP step, bins of 2 tau_s"
    plain, products = "HM2-BP, plain PyTorch", "its two float32 products alone"
    assert columns(rows) == [
        (exact, "Direct", 20, 1, 1.0, 1.0, 1.0, ""),
        (plain, "Direct", 20, 1, 20.0, 20.0, 20.0, ""),
        *(
            (name, "Poisson", n_steps, 1, us, us, us / 2, aim if n_steps == 400 else "")
            for n_steps in (20, 400)
            for name, us, aim in [
                (exact, 1.0, ""),
                (binned, 2.0, ""),
                (plain, 20.0, ""),
                (products, 12.0, "8: exact met, bins missed"),
            ]
        ),
    ]


def test_convolution(work: Work) -> None:
    work.costs(HM2BPLearner, "step", lambda _, batch, *__: len(batch.labels) * 30 / torch.get_num_threads())
    rows = convolution(0.0, 1, batch=2, clock=work)
    assert list(rows[0])[2:4] == ["us per image", "HM2-BP is faster by"]
    assert columns(rows) == [("HM2-BP step, exact", 1, 30.0, 1.0), ("HM2-BP step, exact", 2, 15.0, 1.0)]


def test_bisnn(work: Work) -> None:
    work.costs(BiSNNLearner, "step", lambda own, *_: own.network.n_steps * 2 + 12)  # 12 for every window
    work.costs(dense_bisnn.ClosedForm, "step", lambda *_: 9)
    work.costs(dense_bisnn.Autograd, "step", lambda *_: 30)
    rows = bisnn(0.0, 2, steps=(12, 24), hidden=16, batch=8, threads=(1,), clock=work)
    assert list(rows[0])[1:5] == ["steps", "threads", "us per step", "BiSNN is faster by"]
    assert columns(rows) == [
        ("BiSNN", 12, 1, 3.0, 1.0),
        ("BiSNN", 24, 1, 2.5, 0.83),
        ("closed form, plain PyTorch", 12, 1, 9.0, 3.0),
        ("autograd, plain PyTorch", 12, 1, 30.0, 10.0),
    ]


def test_bisnn_inference(work: Work) -> None:
    work.costs(Model, "decide", lambda model, x, threads: len(x) * (20 if model.one_bit else 50) / threads)
    work.costs(
        SRMNetwork,
        "_decide",
        lambda own, x, *_: len(x) * 800 / torch.get_num_threads() * (own.implementation == "reference"),
    )
    rows = bisnn_inference(0.0, 2, n=20, clock=work)
    assert list(rows[0])[2:5] == ["us per image", "images per second", "relative"]
    assert columns(rows) == [
        ("packed one-bit", 1, 20.0, 50_000, 1.0),
        ("packed real", 1, 50.0, 20_000, 2.5),
        ("plain PyTorch, one-bit", 1, 800.0, 1250, 40.0),
        ("packed one-bit", 2, 10.0, 100_000, 1.0),
        ("packed real", 2, 25.0, 40_000, 2.5),
        ("plain PyTorch, one-bit", 2, 400.0, 2500, 40.0),
    ]


def test_committees(work: Work) -> None:
    work.costs(
        Model, "decide", lambda model, x, threads: len(x) * 4 * max(1, len(model.network.members)) / threads
    )
    work.costs(Model, "predict", lambda model, x, threads=None: len(x) * 2 / (threads or 1))
    rows = committees(0.0, 2, (2, 3), n=20, threads=(2,), clock=work)
    assert columns(rows) == [
        ("one model", 2, 2.0, 500_000, 1.0),
        ("one model, labels alone", 2, 1.0, 1_000_000, 0.5),
        ("committee of 2", 2, 4.0, 250_000, 2.0),
        ("committee of 3", 2, 6.0, 166_667, 3.0),
    ]
