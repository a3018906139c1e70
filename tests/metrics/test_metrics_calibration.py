import math

import pytest
import torch
from scipy.optimize import minimize_scalar
from torchmetrics.functional.classification import multiclass_calibration_error

from bitspike.errors import DataError
from bitspike.metrics import (
    brier,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)


def noisy_margins(n: int = 2000, n_classes: int = 5, scale: float = 7.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, n_classes, (n,), generator=generator)
    margins = torch.randn((n, n_classes), generator=generator)
    margins[torch.arange(n), labels] += 1.5
    return (margins * scale).round(), labels


def test_nll_and_brier_by_hand():
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    labels = torch.tensor([0, 2])
    assert negative_log_likelihood(probabilities, labels) == pytest.approx(math.log(2) / 2)
    assert brier(probabilities, labels) == pytest.approx((0.25 + 0.0625 + 0.0625) / 2)
    assert brier(torch.tensor([[1.0, 0.0]]), torch.tensor([1])) == 2.0


def test_nll_of_an_underflown_probability_is_finite():
    nll = negative_log_likelihood(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    assert nll == pytest.approx(87.34, abs=0.01)


def test_nll_equals_cross_entropy():
    margins, labels = noisy_margins(scale=1.0)
    expected = torch.nn.functional.cross_entropy(margins.double(), labels)
    assert negative_log_likelihood(torch.softmax(margins, dim=1), labels) == pytest.approx(
        float(expected), rel=1e-6
    )


@pytest.mark.parametrize("n_bins", [1, 10, 15])
def test_ece_equals_torchmetrics(n_bins):
    margins, labels = noisy_margins(scale=2.0)
    probabilities = torch.softmax(margins + torch.linspace(0, 0.1, 5), dim=1)
    confidence, decided = probabilities.max(dim=1)
    expected = multiclass_calibration_error(probabilities, labels, num_classes=5, n_bins=n_bins, norm="l1")
    ours = expected_calibration_error(confidence, decided == labels, n_bins)
    assert ours == pytest.approx(float(expected), abs=1e-6)


def test_bins_are_open_below_and_closed_above():
    bins = reliability(torch.tensor([0.0, 0.2, 0.2000001, 1.0]), torch.tensor([True, True, False, True]), 5)
    assert bins.count.tolist() == [2, 1, 0, 0, 1]
    assert bins.accuracy[[0, 1, 4]].tolist() == [1.0, 0.0, 1.0]
    assert bins.accuracy[2].isnan()
    assert bins.confidence[2].isnan()
    # 1/15, 2/15, ..., rounded to float32 or not, belong to the lower bin
    for dtype in (torch.float32, torch.float64):
        edges = (torch.arange(1, 16, dtype=torch.float64) / 15).to(dtype)
        assert reliability(edges, torch.ones(15, dtype=torch.bool)).count.tolist() == [1] * 15


def test_ece_at_the_ends():
    yes, no = torch.tensor([True]), torch.tensor([False])
    assert expected_calibration_error(torch.tensor([1.0]), yes) == 0.0
    assert expected_calibration_error(torch.tensor([1.0]), no) == 1.0
    assert expected_calibration_error(torch.tensor([0.0]), no) == 0.0
    # ten tied classes, one in ten right: perfectly calibrated
    hits = torch.arange(10) == 0
    assert expected_calibration_error(torch.full((10,), 0.1), hits) == pytest.approx(0.0, abs=1e-7)


def test_calibration_refuses_what_is_no_probability():
    empty = torch.zeros(0)
    with pytest.raises(DataError, match="empty"):
        expected_calibration_error(empty, empty.bool())
    with pytest.raises(DataError, match="empty"):
        brier(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(DataError, match="must lie in"):
        expected_calibration_error(torch.tensor([float("nan")]), torch.tensor([True]))
    with pytest.raises(DataError, match="sum to 1"):
        negative_log_likelihood(torch.tensor([[0.5, 0.2]]), torch.tensor([0]))
    with pytest.raises(DataError, match="sum to 1"):
        brier(torch.tensor([[float("nan"), 1.0]]), torch.tensor([0]))
    with pytest.raises(DataError, match="2 classes"):
        negative_log_likelihood(torch.tensor([[0.5, 0.5]]), torch.tensor([2]))
    with pytest.raises(DataError, match="at least 1"):
        reliability(torch.tensor([0.5]), torch.tensor([True]), 0)


@pytest.mark.parametrize("scale", [1.0, 7.0, 1000.0])
def test_temperature_minimises_the_nll(scale):
    margins, labels = noisy_margins(scale=scale)

    def nll(log_temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(margins.double() / math.exp(log_temperature), labels))

    around = math.log(scale)
    best = minimize_scalar(nll, bounds=(around - 4, around + 4), method="bounded", options={"xatol": 1e-9})
    assert fit_temperature(margins, labels) == pytest.approx(math.exp(best.x), rel=1e-4)


def test_temperature_follows_the_scale_of_the_margins():
    margins, labels = noisy_margins()
    assert fit_temperature(margins * 16, labels) == pytest.approx(
        16 * fit_temperature(margins, labels), rel=1e-9
    )
    assert fit_temperature(margins + 1e4, labels) == pytest.approx(fit_temperature(margins, labels), rel=1e-9)


def test_temperature_of_separable_data_is_cold_but_positive():
    labels = torch.arange(4)
    margins = torch.eye(4) * 10
    temperature = fit_temperature(margins, labels)
    assert temperature == pytest.approx(7.5 / 50)  # 1/50 of the mean of max - mean = 10 - 2.5
    assert bool(torch.softmax(margins / temperature, dim=1).isfinite().all())


def test_temperature_of_useless_margins_is_hot():
    labels = torch.arange(4).roll(1)  # the margins point to the wrong class every time
    temperature = fit_temperature(torch.eye(4) * 10, labels)
    assert temperature == pytest.approx(7500.0)
    assert fit_temperature(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])) == 1.0


def test_temperature_refuses_nan_and_nothing():
    with pytest.raises(DataError, match="NaN or infinity"):
        fit_temperature(torch.tensor([[float("nan"), 1.0]]), torch.tensor([0]))
    with pytest.raises(DataError, match="empty"):
        fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
