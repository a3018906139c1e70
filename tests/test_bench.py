"""Every benchmark runs, small, and its rows line up; times are not asserted."""

import pytest

from bitspike.bench.inference import inference
from bitspike.bench.timing import alternate
from bitspike.bench.training import epoch, steps, training


@pytest.mark.parametrize(
    ("run", "systems"),
    [
        (lambda: inference(0.01, n_batches=3), 12),
        (lambda: training(0.01, n_batches=3), 14),
        (lambda: steps(0.01, n_batches=3), 6),
        (lambda: epoch(500, n_batches=2), 2),
    ],
    ids=["inference", "training", "steps", "epoch"],
)
def test_benchmark_runs(run, systems, monkeypatch):
    monkeypatch.delenv("BITSPIKE_DATA", raising=False)  # the digits: small, and there on every machine
    rows = run()
    assert len(rows) >= systems
    assert all(row.keys() == rows[0].keys() for row in rows)
    assert all(value > 0 for row in rows for value in row.values() if not isinstance(value, str))


def test_rivals_take_turns():
    order = []
    alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 0.0, at_least=3)
    assert order == ["a", "a", "b", "b"] * 3  # the first call of a turn is not counted
