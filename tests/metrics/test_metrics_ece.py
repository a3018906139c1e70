"""Binned calibration error: the vector of the BiSNN specification, equal-mass bins, bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from torch.utils._python_dispatch import TorchDispatchMode

from bitspike.errors import DataError
from bitspike.metrics import ece_interval, expected_calibration_error, reliability

# BiSNN specification, vector B5
CONFIDENCE = torch.tensor([0.95, 0.82, 0.61, 0.45, 0.99, 0.70, 0.55, 0.35, 1.0, 0.62])
CORRECT = torch.tensor([1, 1, 0, 1, 1, 1, 0, 0, 1, 1]).bool()


def noisy(n: int = 10_000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A calibrated model."""
    generator = torch.Generator().manual_seed(seed)
    confidence = torch.rand(n, generator=generator)
    return confidence, torch.rand(n, generator=generator) < confidence


def test_vector_b5():
    bins = reliability(CONFIDENCE, CORRECT, 5)
    assert bins.count.tolist() == [0, 1, 2, 3, 4]
    assert bins.accuracy[1:].tolist() == pytest.approx([0, 0.5, 2 / 3, 1])
    assert bins.confidence[1:].tolist() == pytest.approx([0.35, 0.5, 0.64333333, 0.94])
    assert expected_calibration_error(CONFIDENCE, CORRECT, 5) == pytest.approx(0.066, abs=1e-7)


def test_equal_mass_by_hand():
    # sorted: .35 .45 | .55 .61 | .62 .70 | .82 .95 | .99 1.0, right: 0 1 | 0 0 | 1 1 | 1 1 | 1 1
    bins = reliability(CONFIDENCE, CORRECT, 5, "mass")
    assert bins.count.tolist() == [2] * 5
    assert bins.upper.tolist() == pytest.approx([0.45, 0.61, 0.70, 0.95, 1.0])
    assert bins.accuracy.tolist() == [0.5, 0, 1, 1, 1]
    expected = (abs(0.5 - 0.4) + 0.58 + 0.34 + 0.115 + 0.005) / 5
    assert expected_calibration_error(CONFIDENCE, CORRECT, 5, "mass") == pytest.approx(expected, abs=1e-7)


def test_equal_mass_agrees_with_scikit_learn():
    confidence, correct = noisy(3000)
    bins = reliability(confidence, correct, 10, "mass")
    share, mean = calibration_curve(correct.numpy(), confidence.numpy(), n_bins=10, strategy="quantile")
    np.testing.assert_allclose(bins.accuracy, share, atol=5e-3)  # edges between two samples may differ by one
    np.testing.assert_allclose(bins.confidence, mean, atol=2e-3)
    assert bins.count.tolist() == [300] * 10


@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30),
    st.integers(1, 8),
    st.randoms(use_true_random=False),
)
def test_equal_mass_bins_keep_ties_together_in_any_order(samples, n_bins, random):
    shuffled = samples[:]
    random.shuffle(shuffled)
    first, second = (
        reliability(
            torch.tensor([level / 4 for level, _ in rows]),
            torch.tensor([hit for _, hit in rows]),
            n_bins,
            "mass",
        )
        for rows in (samples, shuffled)
    )
    assert first.count.tolist() == second.count.tolist()
    assert int(first.count.sum()) == len(samples)
    torch.testing.assert_close(first.accuracy, second.accuracy, equal_nan=True)
    levels = sorted(level for level, _ in samples)
    for lower, upper, count in zip(first.lower[1:], first.upper[1:], first.count[1:], strict=True):
        assert int(count) == sum(lower < level / 4 <= upper for level in levels)


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_interval_is_that_of_explicit_resampling(binning):
    confidence, correct = noisy(60)
    bins = reliability(confidence, correct, 4, binning)
    place = torch.bucketize(confidence, bins.upper[:-1].float())
    generator, errors = torch.Generator().manual_seed(5), []
    for _ in range(50):
        drawn = torch.randint(60, (60,), generator=generator)
        gap = (correct.double() - confidence.double())[drawn]
        errors.append(sum(abs(float(gap[place[drawn] == b].sum())) for b in range(4)) / 60)
    low, high = np.quantile(errors, [0.05, 0.95])
    found = ece_interval(
        confidence, correct, torch.Generator().manual_seed(5), 4, binning, level=0.9, n_resamples=50
    )
    assert found == pytest.approx((low, high))


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_interval_holds_the_error_of_a_miscalibrated_model(binning):
    confidence, correct = noisy(2000)
    claimed = 0.5 + confidence / 2  # always too sure, by a quarter on average
    low, high = ece_interval(claimed, correct, torch.Generator().manual_seed(1), 10, binning)
    ece = expected_calibration_error(claimed, correct, 10, binning)
    assert low < ece < high
    assert low < 0.25 < high
    assert high - low < 0.06


def test_the_same_generator_gives_the_same_interval():
    confidence, correct = noisy(100)
    first, second = (ece_interval(confidence, correct, torch.Generator().manual_seed(2)) for _ in range(2))
    assert first == second
    assert first != ece_interval(confidence, correct, torch.Generator().manual_seed(3))
    one = ece_interval(torch.tensor([0.75]), torch.tensor([True]), torch.Generator())
    assert one == (0.25, 0.25)


class Counted(TorchDispatchMode):
    """How many operations torch was asked for."""

    def __init__(self):
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.n += 1
        return operation(*args, **(kwargs or {}))


def test_resamples_are_drawn_many_at_once():
    confidence, correct = noisy()
    with Counted() as counted:
        ece_interval(confidence, correct, torch.Generator(), n_resamples=1000)
    assert 0 < counted.n < 1000


def test_what_makes_no_interval_is_refused():
    with pytest.raises(DataError, match="level is 1"):
        ece_interval(CONFIDENCE, CORRECT, torch.Generator(), level=1)
    with pytest.raises(DataError, match="empty"):
        ece_interval(torch.zeros(0), torch.zeros(0).bool(), torch.Generator())
    with pytest.raises(DataError, match="must lie in"):
        reliability(torch.tensor([1.5]), torch.tensor([True]), 3, "mass")
