"""Risk-coverage curves and scores of strangeness, by hand and against scikit-learn."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from bitspike.errors import DataError
from bitspike.metrics import (
    auroc,
    entropy,
    false_positive_rate,
    least_confidence,
    mutual_information,
    risk_coverage,
)


def test_risk_coverage_by_hand():
    curve = risk_coverage(torch.tensor([0.6, 0.9, 0.8, 0.7]), torch.tensor([False, True, False, True]))
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert curve.aurc == pytest.approx(4 / 12)
    # the best order answers both errors last: risks 0, 0, 1/3, 1/2
    assert curve.eaurc == pytest.approx((1 / 2 + 1 / 3 + 1 / 2 - 1 / 3 - 1 / 2) / 4)


def test_perfect_ranking_has_no_excess_and_no_error_no_area():
    confidence = torch.tensor([0.9, 0.8, 0.7, 0.2, 0.1])
    curve = risk_coverage(confidence, torch.tensor([True, True, True, False, False]))
    assert curve.eaurc == pytest.approx(0, abs=1e-15)
    assert curve.aurc == pytest.approx((1 / 4 + 2 / 5) / 5)
    assert risk_coverage(confidence, torch.ones(5).bool()).aurc == 0
    nothing = risk_coverage(confidence, torch.zeros(5).bool())
    assert (nothing.aurc, nothing.eaurc) == (1, pytest.approx(0, abs=1e-15))


def test_ties_count_as_the_mean_over_all_orders():
    confidence = torch.tensor([0.9, 0.5, 0.5, 0.5, 0.1])
    correct = [True, True, False, True, False]
    expected = np.mean(
        [
            [np.cumsum([0, *middle, 1])[k] / (k + 1) for k in range(5)]
            for middle in itertools.permutations([0, 1, 0])
        ],
        axis=0,
    )
    for order in itertools.permutations([1, 2, 3]):  # labels in any order: the same curve
        rows = [0, *order, 4]
        curve = risk_coverage(confidence[rows], torch.tensor(correct)[rows])
        assert curve.risk.tolist() == pytest.approx(expected.tolist())


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40))
def test_a_constant_confidence_risks_the_error_rate_and_no_ranking_beats_the_best(samples):
    confidence = torch.tensor([level / 6 for level, _ in samples])
    correct = torch.tensor([hit for _, hit in samples])
    error = 1 - correct.double().mean()
    flat = risk_coverage(torch.zeros(len(samples)), correct)
    torch.testing.assert_close(flat.risk, error.expand(len(samples)))
    curve = risk_coverage(confidence, correct)
    assert curve.eaurc >= -1e-12
    assert float(curve.risk[-1]) == pytest.approx(float(error))


def test_entropy_and_mutual_information_by_hand():
    p = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.25, 0.25, 0.5]])
    assert entropy(p).tolist() == pytest.approx([math.log(2), 0, 1.5 * math.log(2)])
    assert least_confidence(p).tolist() == pytest.approx([0.5, 0, 0.5])
    members = torch.tensor([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]])
    # input 0: sure but of one mind each; input 1: both unsure, no disagreement
    assert mutual_information(members).tolist() == pytest.approx([math.log(2), 0])
    same = torch.softmax(torch.randn(1, 7, 4, generator=torch.Generator().manual_seed(0)), 2)
    assert mutual_information(same.expand(3, 7, 4)).tolist() == pytest.approx([0] * 7, abs=1e-12)
    with pytest.raises(DataError, match="members, n, classes"):
        mutual_information(p)


scores = st.lists(st.integers(0, 8), min_size=1, max_size=40)


@given(scores, scores)
def test_auroc_equals_scikit_learn(inside, outside):
    expected = roc_auc_score([0] * len(inside) + [1] * len(outside), inside + outside)
    found = auroc(torch.tensor(inside), torch.tensor(outside))
    assert found == pytest.approx(expected)
    assert auroc(torch.tensor(outside), torch.tensor(inside)) == pytest.approx(1 - expected)


def test_auroc_by_hand():
    inside, outside = torch.tensor([0.1, 0.2, 0.2]), torch.tensor([0.2, 0.3])
    assert auroc(inside, outside) == pytest.approx((3 + 1 + 0.5 + 0.5) / 6)
    assert auroc(inside, torch.ones(4)) == 1


@given(scores, scores, st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_false_positive_rate_equals_scikit_learns_curve(inside, outside, accepted):
    # inputs of the distribution are the positives; their score is certainty
    truth = [1] * len(inside) + [0] * len(outside)
    fpr, tpr, _ = roc_curve(truth, [-s for s in inside + outside], drop_intermediate=False)
    expected = fpr[np.argmax(tpr >= accepted - 1e-12)]
    found = false_positive_rate(torch.tensor(inside), torch.tensor(outside), accepted)
    assert found == pytest.approx(expected)


def test_scores_that_are_none_are_refused():
    good = torch.tensor([0.1])
    for bad in (torch.zeros(0), torch.tensor([float("nan")]), torch.zeros(2, 2)):
        for function in (auroc, false_positive_rate):
            with pytest.raises(DataError, match="inside"):
                function(bad, good)
            with pytest.raises(DataError, match="outside"):
                function(good, bad)
    with pytest.raises(DataError, match="accepted is 0"):
        false_positive_rate(good, good, 0)
    with pytest.raises(DataError, match="NaN"):
        risk_coverage(torch.tensor([float("nan")]), torch.tensor([True]))
    with pytest.raises(DataError, match="empty"):
        risk_coverage(torch.zeros(0), torch.zeros(0).bool())
