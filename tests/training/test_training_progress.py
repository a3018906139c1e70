"""What a person sees: lines where there is no terminal, a bar where there is one, warnings in time."""

from __future__ import annotations

from typing import Any

import pytest

from bitspike.contracts import StepReport
from bitspike.training.progress import Display, Totals


def figures(epoch: int, firing: list[float]) -> dict[str, Any]:
    return {
        "epoch": epoch, "loss": 0.25, "accuracy": 0.875, "firing": firing, "validation_accuracy": 0.75,
        "images_per_second": 12345.6,
    }  # fmt: skip


def test_totals_add_up_over_batches() -> None:
    totals = Totals()
    totals.add(StepReport(loss=6.0, n=3, n_correct=2, firing=(1.5, 3.0)))
    totals.add(StepReport(loss=2.0, n=1, n_correct=0, firing=(0.5, 0.0)))
    assert totals.figures() == {"loss": 2.0, "accuracy": 0.5, "firing": [0.5, 0.75]}
    other = Totals()
    other.set([2 * value for value in totals.as_list()])
    assert other.figures() == totals.figures()
    assert other.n == 8


def test_one_plain_line_per_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(True, 100, 1, 4, n_hidden=1)
    for epoch in (1, 2):
        totals = Totals()
        totals.add(StepReport(25.0, 100, 88, (20.0, 50.0)))
        display.step(epoch, 100, totals)
        display.epoch(figures(epoch, [0.2, 0.5]))
    display.close()
    out, told = capsys.readouterr()
    assert out == ""
    lines = told.splitlines()
    assert len(lines) == 2
    for part in (
        "epoch 2/4",
        "loss 0.2500",
        "accuracy 87.50 %",
        "firing 20.0 / 50.0 %",
        "75.00 %",
        "12,346 images/s",
    ):
        assert part in lines[1]
    assert lines[1].endswith("0:00 left")


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    display = Display(True, 100, 1, 4, n_hidden=1)
    totals = Totals()
    totals.add(StepReport(12.5, 50, 44, (10.0,)))
    display.step(1, 50, totals)
    display.close()
    told = capsys.readouterr().err
    assert "epoch 1/4" in told
    assert "━" in told


def test_warnings_come_once_per_layer_and_name_the_mend(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(False, 100, 1, 9, n_hidden=2)
    for epoch in (1, 2):
        display.epoch(figures(epoch, [0.0009, 0.995, 0.5]))
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert "layer 1 is silent" in told[0]
    assert "optimizer.lr" in told[0]
    assert "layer 2 is saturated" in told[1]
    display.epoch(figures(3, [0.5, 0.5, 0.0]))
    assert "layer 3 is silent" in capsys.readouterr().err


def test_no_warning_within_the_limits_nor_for_busy_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    Display(False, 100, 1, 9, n_hidden=2).epoch(figures(1, [0.0011, 0.989, 1.0]))
    assert capsys.readouterr().err == ""


def test_the_warning_comes_early_in_the_first_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(False, 60_000, 1, 9, n_hidden=1)
    totals = Totals()
    for done in range(100, 3000, 100):
        totals.add(StepReport(1.0, 100, 10, (0.0,)))
        display.step(1, done, totals)
    assert capsys.readouterr().err.count("is silent") == 1
