import numpy as np
import pytest
import torch

from bitspike.errors import DataError
from bitspike.metrics import regression_figures


def test_figures_by_hand():
    figures = regression_figures(np.array([1.0, 2.0, 4.0]), np.array([1.0, 0.0, 3.0]))
    assert figures == {"rmse": pytest.approx((5 / 3) ** 0.5), "mae": pytest.approx(1.0)}
    members = torch.tensor([[1.0, 3.0], [2.0, 2.0], [0.0, 4.0]])
    figures = regression_figures(torch.ones(3), torch.ones(3), members)
    assert figures["spread"] == pytest.approx((2**0.5 + 0 + 8**0.5) / 3)
    assert figures["rmse"] == figures["mae"] == 0


@pytest.mark.parametrize("n", [1, 7, 600])
def test_the_bits_are_those_of_the_plain_expressions(n):
    """Figures of runs that were made before this function existed stay as they are, on all inputs and on some."""
    noise = torch.Generator().manual_seed(n)
    mean, targets = torch.rand(2, n, generator=noise, dtype=torch.float64)
    members = torch.rand((n, 10, 1), generator=noise)[:, :, 0]
    rows = torch.rand(n, generator=noise) < 0.5
    rows[0] = True
    for chosen in (None, rows):
        some = slice(None) if chosen is None else chosen
        assert regression_figures(mean, targets, members, chosen) == {
            "rmse": float((mean - targets)[some].square().mean().sqrt()),
            "mae": float((mean - targets)[some].abs().mean()),
            "spread": float(members.double().std(1)[some].mean()),
        }


def test_what_cannot_be_averaged_is_refused():
    with pytest.raises(DataError, match="at least one"):
        regression_figures(torch.zeros(0), torch.zeros(0))
    with pytest.raises(DataError, match="at least one"):
        regression_figures(torch.zeros(2), torch.zeros(2), rows=torch.zeros(2, dtype=torch.bool))
    with pytest.raises(DataError, match=r"\(2,\), targets \(3,\)"):
        regression_figures(torch.zeros(2), torch.zeros(3))
