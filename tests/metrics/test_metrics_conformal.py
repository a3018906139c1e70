"""Conformal sets: the quantile by its definition, and the promised coverage on simulated data."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bitspike.errors import DataError, UsageError
from bitspike.metrics import (
    EarlyStopping,
    conformal_grid,
    conformal_threshold,
    coverage_range,
    early_figures,
    early_stopping,
    label_scores,
    prediction_sets,
    set_figures,
)


def over_time(n: int, generator: torch.Generator, n_times: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Evidence for the label that grows with time, at a speed that differs between inputs; temperature is wrong."""
    labels = torch.randint(4, (n,), generator=generator)
    speed = torch.rand(n, 1, 1, generator=generator) * 1.5
    noise = torch.randn(n, n_times, 4, generator=generator).cumsum(1)
    drift = torch.nn.functional.one_hot(labels, 4)[:, None] * torch.arange(1, n_times + 1)[None, :, None]
    return torch.softmax(2 * (noise + speed * drift), 2).float(), labels


def test_threshold_by_hand():
    scores = torch.tensor([0.5, 0.1, 0.4, 0.2, 0.3, 0.9, 0.6, 0.8, 0.7])  # n = 9
    assert conformal_threshold(scores, 0.1) == pytest.approx(0.9)  # ceil(10 * 0.9) = 9
    assert conformal_threshold(scores, 0.2) == pytest.approx(0.8)
    assert conformal_threshold(scores, 0.15) == pytest.approx(0.9)  # ceil(8.5) = 9
    assert conformal_threshold(scores, 0.7) == pytest.approx(0.3)  # 10 * 0.3 rounds above 3 in floating point
    assert conformal_threshold(scores, 0.0999) == math.inf
    assert conformal_threshold(scores, 1 - 1e-12) == pytest.approx(0.1)
    assert conformal_threshold(torch.zeros(0), 0.5) == math.inf


@given(st.integers(1, 300), st.integers(1, 999))
def test_rank_is_exact_in_thousandths(n, thousandths):
    rank = -((n + 1) * (thousandths - 1000) // 1000)  # ceil of (n + 1)(1 - alpha) in integers
    found = conformal_threshold(torch.arange(1, n + 1), thousandths / 1000)
    assert found == (rank if rank <= n else math.inf)


def test_sets_and_their_figures_by_hand():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0.34, 0.33, 0.33]])
    sets = prediction_sets(probabilities, 0.66)
    assert sets.tolist() == [[True, False, False], [True, True, False], [True, False, False]]
    assert set_figures(sets, torch.tensor([0, 1, 2])) == pytest.approx(
        {"coverage": 2 / 3, "mean_set_size": 4 / 3, "singletons": 2 / 3, "empty": 0}
    )
    assert set_figures(prediction_sets(probabilities, 0.0), torch.tensor([0, 1, 2]))["empty"] == 1
    assert bool(prediction_sets(probabilities, math.inf).all())
    assert label_scores(probabilities, torch.tensor([1, 0, 2])).tolist() == pytest.approx([0.8, 0.6, 0.67])


@given(st.lists(st.integers(1, 99), min_size=1, max_size=60), st.integers(1, 99))
def test_no_more_than_alpha_of_the_calibration_data_is_missed(hundredths, alpha):
    p = torch.tensor(hundredths, dtype=torch.float32) / 100
    probabilities, labels = torch.stack([p, 1 - p], 1), torch.zeros(len(p), dtype=torch.int64)
    scores = label_scores(probabilities, labels)
    threshold = conformal_threshold(scores, alpha / 100)
    missed = int((~prediction_sets(probabilities, threshold)[:, 0]).sum())
    assert missed <= (len(p) + 1) * alpha / 100 + 1e-9
    for level, loosened in conformal_grid(scores, (alpha / 100,)):
        assert level == alpha / 100
        assert 0.5e-4 * (1 - threshold) <= loosened - threshold + 1e-12
        assert loosened - threshold <= 1.6e-4 * (1 - threshold) + 1e-12
    assert bool(conformal_grid(scores, (alpha / 100,))) == (threshold < math.inf)


def test_grid_leaves_out_what_the_data_cannot_support():
    scores = torch.rand(99, generator=torch.Generator().manual_seed(0))
    pairs = conformal_grid(scores)
    assert pairs[0][0] == 0.01  # ceil(100 * 0.99) = 99 samples
    assert [t for _, t in pairs] == sorted((t for _, t in pairs), reverse=True)


def test_coverage_on_simulated_data():
    """Mean coverage over repetitions lies between 1 - alpha and 1 - alpha + 1/(n + 1), within 4 standard errors."""
    generator, alpha, covered = torch.Generator().manual_seed(1), 0.1, []
    for _ in range(200):
        probabilities, labels = over_time(99 + 400, generator)
        last = probabilities[:, -1]
        threshold = conformal_threshold(label_scores(last[:99], labels[:99]), alpha)
        covered.append(set_figures(prediction_sets(last[99:], threshold), labels[99:])["coverage"])
    values = torch.tensor(covered)
    error = 4 * float(values.std()) / math.sqrt(len(covered))
    assert 1 - alpha - error < float(values.mean()) < 1 - alpha + 1 / 100 + error
    assert error < 0.02


def test_range_of_coverage_by_hand():
    assert coverage_range(1, 0.5) == pytest.approx((0.025, 0.975))  # Beta(1, 1): uniform
    assert coverage_range(9, 0.1, 0.9) == pytest.approx((0.05 ** (1 / 9), 0.95 ** (1 / 9)))  # Beta(9, 1): x^9
    low, high = coverage_range(9, 0.2)  # Beta(8, 2): 9 x^8 - 8 x^9
    assert [9 * x**8 - 8 * x**9 for x in (low, high)] == pytest.approx([0.025, 0.975])
    assert coverage_range(9, 0.05) == (1.0, 1.0)  # sets of all classes
    # 240 samples, alpha = 0.1: Beta(217, 24) of mean 0.9004 and standard deviation 0.01925
    low, high = coverage_range(240, 0.1, level=0.6827)
    assert ((low + high) / 2, (high - low) / 2) == pytest.approx((0.9004, 0.01925), abs=3e-4)
    assert coverage_range(240, 0.1) == pytest.approx((0.85968, 0.93487), abs=1e-5)
    for alpha, level in ((0.0, 0.95), (1.0, 0.95), (0.1, 0.0), (0.1, 1.0), (0.1, math.nan)):
        with pytest.raises(UsageError, match="between 0 and 1"):
            coverage_range(9, alpha, level)


@pytest.mark.parametrize(("n", "alpha"), [(20, 0.1), (150, 0.05), (1000, 0.2)])
def test_coverage_of_single_calibration_sets_lies_in_its_range(n, alpha):
    """Scores are uniform, so that the coverage of a threshold is the threshold itself."""
    scores = torch.rand(2000, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    covered = torch.tensor([conformal_threshold(each, alpha) for each in scores])
    low, high = coverage_range(n, alpha)
    for outside in (covered < low, covered > high):
        assert float(outside.double().mean()) == pytest.approx(0.025, abs=4 * math.sqrt(0.025 / 2000))


def test_early_stopping_keeps_coverage_and_saves_time():
    generator, alpha, times = torch.Generator().manual_seed(2), 0.1, torch.arange(6) * 10
    found = []
    for _ in range(200):
        probabilities, labels = over_time(198 + 400, generator)
        rule = early_stopping(probabilities[:198], labels[:198], alpha, generator)
        found.append(early_figures(rule, probabilities[198:], labels[198:], times))
    values = torch.tensor([figures["coverage"] for figures in found])
    error = 4 * float(values.std()) / math.sqrt(len(found))
    assert 1 - alpha - error < float(values.mean()) < 1 - alpha + 1 / 100 + error
    assert error < 0.02
    mean_time = sum(figures["decision_time"] for figures in found) / len(found)
    assert mean_time < 40  # of 50
    assert min(figures["decision_time"] for figures in found) < max(
        figures["decision_time"] for figures in found
    )


def test_each_half_of_the_calibration_data_has_its_own_use():
    """The first tells when to stop and nothing else, the second the threshold there and nothing else."""
    probabilities, labels = over_time(20, torch.Generator().manual_seed(4))

    def rule(given: torch.Tensor) -> EarlyStopping:
        return early_stopping(probabilities, given, 0.2, torch.Generator().manual_seed(5))

    order = torch.randperm(20, generator=torch.Generator().manual_seed(5))
    first, second = order[:10], order[10:]
    learned = rule(labels)
    stop = learned.stop(probabilities[second])
    scores = 1 - probabilities[second, stop, labels[second]].double()
    assert learned.threshold == float(scores.sort().values[8])  # ceil(11 * 0.8) = 9
    assert learned.n_samples == 10
    for k in range(6):
        scores = 1 - probabilities[first, k, labels[first]].double()
        assert float(learned.preliminary[k]) == float(scores.sort().values[8])
    others = labels.clone()
    others[second] = (others[second] + 1) % 4
    assert torch.equal(rule(others).preliminary, learned.preliminary)
    assert rule(others).threshold != learned.threshold


def test_a_quantile_of_the_last_step_would_not_cover_at_the_stopping_time():
    """What the second half of the data is for: without it the same sets miss more than alpha."""
    generator, alpha = torch.Generator().manual_seed(3), 0.1
    probabilities, labels = over_time(20_000, generator)
    rule = early_stopping(probabilities[:10_000], labels[:10_000], alpha, generator)
    naive = EarlyStopping(rule.preliminary, float(rule.preliminary[-1]), rule.size)
    sets, _ = naive.sets(probabilities[10_000:])
    assert set_figures(sets, labels[10_000:])["coverage"] < 1 - alpha - 0.02
    sets, _ = rule.sets(probabilities[10_000:])
    assert set_figures(sets, labels[10_000:])["coverage"] == pytest.approx(1 - alpha, abs=0.015)


def test_stopping_times_by_hand():
    p = torch.tensor([0.4, 0.6, 0.95])
    two = torch.stack([p, 1 - p], 1)  # (times, classes)
    probabilities = torch.stack([two, two.flip(0), torch.full((3, 2), 0.5)])
    rule = EarlyStopping(torch.tensor([0.45, 0.45, 0.45], dtype=torch.float64), 0.4)
    # sets of those with p >= 0.55: input 0 {1}, {0}, {0}; 1 {0}; 2 never any: the last time
    assert rule.stop(probabilities).tolist() == [0, 0, 2]
    sets, _ = rule.sets(probabilities)
    assert sets.tolist() == [[False, True], [True, False], [False, False]]
    both = EarlyStopping(torch.tensor([0.7, 0.45, 0.45], dtype=torch.float64), 0.4, size=1)
    assert both.stop(probabilities).tolist() == [1, 0, 2]  # {0, 1} is too many
    assert EarlyStopping(both.preliminary, 0.4, size=2).stop(probabilities).tolist() == [0, 0, 0]
    times, labels = torch.tensor([2, 5, 9]), torch.tensor([1, 0, 0])
    figures = early_figures(rule, probabilities, labels, times)
    assert figures["decision_time"] == pytest.approx((2 + 2 + 9) / 3)
    assert figures["coverage"] == pytest.approx(2 / 3)
    sooner = early_figures(rule, probabilities, labels, times, torch.tensor([1, 4, 7]))
    assert sooner["decision_time"] == pytest.approx((1 + 2 + 7) / 3)


def test_what_cannot_be_calibrated_is_refused():
    generator = torch.Generator()
    probabilities, labels = over_time(5, generator)
    for alpha in (0.0, 1.0, -0.1, math.nan):
        with pytest.raises(UsageError, match="alpha is"):
            conformal_threshold(torch.zeros(3), alpha)
    with pytest.raises(DataError, match="n_times"):
        early_stopping(probabilities[:, 0], labels, 0.1, generator)
    with pytest.raises(DataError, match="size is 0"):
        early_stopping(probabilities, labels, 0.1, generator, size=0)
    with pytest.raises(DataError, match="at least 2"):
        early_stopping(probabilities[:1], labels[:1], 0.1, generator)
    with pytest.raises(DataError, match="labels run"):
        label_scores(probabilities[:, 0], labels + 4)
    with pytest.raises(DataError, match="empty"):
        set_figures(torch.zeros(0, 3).bool(), torch.zeros(0, dtype=torch.int64))
    few = early_stopping(
        probabilities, labels, 0.1, generator
    )  # too few data for 90 %: every class, at the end
    sets, place = few.sets(probabilities)
    assert bool(sets.all())
    assert place.tolist() == [5] * 5
