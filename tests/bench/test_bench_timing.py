"""How benchmarks measure: turns, medians per unit of work, subjects as training leaves them, memory of a process."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from bitspike.bench.memory import Usage, in_a_process, kept, memory
from bitspike.bench.subjects import digits, trained
from bitspike.bench.timing import alternate, does, torch_threads
from bitspike.networks.first_spike import FirstSpikeNetwork
from bitspike.recipes.first_spike_race import bs4nn_mnist
from bitspike.rules.first_spike_race import FirstSpikeRaceLearner


def test_rivals_take_turns() -> None:
    order: list[str] = []
    rivals = {"a": does(1, lambda: order.append("a")), "b": does(1, lambda: order.append("b"))}
    alternate(rivals, 0.0, at_least=3)
    assert order == ["a", "a", "b", "b"] * 3  # the first call of a turn is not counted


def test_seconds_are_medians_per_unit_of_work() -> None:
    now, lengths = [0.0], iter([9.0, 2.0, 9.0, 40.0, 9.0, 8.0])  # every other call is not counted

    def take(seconds: float) -> None:
        now[0] += seconds

    rivals = {"four at once": does(4, lambda: take(next(lengths))), "one": does(1, lambda: take(3.0))}
    assert alternate(rivals, 0.0, clock=lambda: now[0], turn=50.0) == {"four at once": 2.0, "one": 3.0}


def test_calls_fill_a_turn_and_turns_the_time_given() -> None:
    now, calls = [0.0], [0]

    def take() -> None:
        now[0], calls[0] = now[0] + 0.25, calls[0] + 1

    assert alternate({"one": does(2, take)}, 4.0, clock=lambda: now[0], turn=1.0, at_least=1) == {
        "one": 0.125
    }
    assert calls == [4 * (1 + 4)]


def test_long_calls_are_not_warmed_again() -> None:
    now, calls = [0.0], [0]

    def take() -> None:
        now[0], calls[0] = now[0] + 11.0, calls[0] + 1

    alternate({"one": does(1, take)}, 0.0, clock=lambda: now[0], turn=1.0, at_least=3)
    assert calls == [1 + 3]


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_subjects_are_trained_in_epochs_at_the_first_step_size(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[Any] = []
    whole = FirstSpikeRaceLearner.step

    def step(learner: Any, batch: Any, *rest: Any) -> Any:
        happened.append(len(batch.labels))
        return whole(learner, batch, *rest)

    monkeypatch.setattr(FirstSpikeRaceLearner, "step", step)
    monkeypatch.setattr(FirstSpikeRaceLearner, "end_epoch", lambda *_: happened.append("end") or {})
    monkeypatch.setattr(FirstSpikeNetwork, "decide", lambda *_: happened.append("decided"))
    data = digits()
    n = len(data.train_labels)
    trainer = trained(bs4nn_mnist, data, n // 100 + 2)
    assert happened == [100] * (n // 100) + [n % 100, "end", 100, "end"]
    assert [group["lr"] for group in trainer.learner.optimiser.param_groups] == trainer.learner.first


def test_memory() -> None:
    usages = {
        "HM2-BP step, exact": Usage(2**20, 3 * 2**20, 8 * 20 * 7),
        "SpikingJelly": Usage(0, 5 * 2**20, 80),
    }
    asked: list[tuple[Any, ...]] = []

    def measure(system: str, *sizes: int) -> Usage | None:
        asked.append((system, *sizes))
        return usages.get(system)

    rows = memory((20, 40), hidden=32, batch=8, measure=measure)
    systems = ("HM2-BP step, exact", "snnTorch", "SpikingJelly")
    assert asked == [(system, n_steps, 32, 8) for n_steps in (20, 40) for system in systems]
    assert list(rows[0])[2:] == [
        "peak MB", "of which for the step", "times ours", "bytes kept per sample and step"
    ]  # fmt: skip
    assert [tuple(row.values()) for row in rows] == [
        ("HM2-BP step, exact", 20, 3.0, 2.0, 1.0, 7.0),
        ("SpikingJelly", 20, 5.0, 5.0, 2.5, 0.5),
        ("HM2-BP step, exact", 40, 3.0, 2.0, 1.0, 3.5),
        ("SpikingJelly", 40, 5.0, 5.0, 2.5, 0.2),
    ]


def test_memory_of_a_process() -> None:
    usage = in_a_process("HM2-BP step, exact", 20, 32, 8)
    assert usage is not None
    assert 0 < usage.start < usage.peak
    words = 8 * 20 * 13 * 8  # 8 samples, 20 steps, 784 bits in 13 words of 8 bytes
    assert words < usage.kept < 4 * words


def test_bytes_kept_for_backward() -> None:
    model, x = nn.Linear(5, 3), torch.rand(7, 5)
    assert kept(lambda: model(x).square().sum().backward(), model) == (7 * 5 + 7 * 3) * 4
