import dataclasses

import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy

from bitspike.errors import DataError
from bitspike.metrics import accuracy, accuracy_interval, accuracy_tie_optimistic, spike_cost, summarise
from bitspike.metrics.spikes import accuracy_over_time
from bitspike.prediction import Prediction


def prediction() -> Prediction:
    """Four samples, three classes: a clear winner, a tie of 0 and 2, a silent one, a clear mistake."""
    return Prediction(
        labels=torch.tensor([1, 0, 2, 0]),
        probabilities=torch.tensor([[0.1, 0.8, 0.1], [0.5, 0.1, 0.4], [0.2, 0.2, 0.6], [0.9, 0.05, 0.05]]),
        decision_time=torch.tensor([3, 5, 8, 0]),
        silent=torch.tensor([False, False, True, False]),
        tied=torch.tensor(
            [[False, True, False], [True, False, True], [False, False, False], [True, False, False]]
        ),
        potentials=torch.tensor([[-1.0, 2, -1], [2, -1, 1], [-3, -3, -1], [3, -1, -1]]),
        n_spikes=torch.tensor([10, 20, 30, 4]),
        n_synops=torch.tensor([100, 200, 300, 40]),
    )


def test_accuracy_counts_one_decision_per_sample():
    assert accuracy(prediction(), torch.tensor([1, 2, 2, 2])) == 0.5
    assert accuracy(prediction(), torch.tensor([1, 0, 2, 0])) == 1.0


def test_tie_optimistic_counts_the_label_among_the_tied():
    assert accuracy_tie_optimistic(prediction(), torch.tensor([1, 2, 2, 2])) == 0.75
    assert accuracy_tie_optimistic(prediction(), torch.tensor([1, 1, 2, 2])) == 0.5


def test_tie_optimistic_judges_silent_samples_by_their_decision():
    assert accuracy_tie_optimistic(prediction(), torch.tensor([0, 1, 2, 1])) == 0.25
    assert accuracy_tie_optimistic(prediction(), torch.tensor([0, 1, 0, 1])) == 0.0


def test_accuracy_equals_torchmetrics():
    generator = torch.Generator().manual_seed(1)
    decided, labels = torch.randint(0, 7, (2, 1000), generator=generator)
    blank = torch.zeros(1000, 7)
    given = Prediction(
        decided, blank, decided, decided > 9, blank.bool(), blank, n_spikes=decided, n_synops=decided
    )
    expected = multiclass_accuracy(decided, labels, num_classes=7, average="micro")
    assert accuracy(given, labels) == pytest.approx(float(expected), abs=1e-7)


def test_summary_of_hand_computed_samples():
    summary = summarise(prediction(), torch.tensor([1, 2, 2, 2]), n_steps=8)
    assert summary["n"] == 4
    assert summary["accuracy"] == 0.5
    assert summary["accuracy_tie_optimistic"] == 0.75
    assert summary["decision_time"] == 4.0
    assert summary["spikes"] == 16.0
    assert summary["synops"] == 160.0
    assert summary["silent"] == 0.25
    assert summary["ties"] == 0.25
    # confidences 0.8 right, 0.5 wrong, 0.6 right, 0.9 wrong, each in a bin of its own
    assert summary["ece"] == pytest.approx((0.2 + 0.5 + 0.4 + 0.9) / 4, abs=1e-6)
    assert summary["energy_uj"] == pytest.approx(160 * (0.05 + 5 / 32) * 1e-6)


def test_summary_is_json_and_real_weights_cost_more():
    import json

    labels = torch.tensor([1, 2, 2, 2])
    binary, real = summarise(prediction(), labels, 8), summarise(prediction(), labels, 8, weights="real")
    assert json.loads(json.dumps(binary, allow_nan=False)) == binary
    assert real["energy_uj"] == pytest.approx(160 * 5.9e-6)


def test_empty_and_mismatched_sets_are_refused():
    nobody = Prediction(**{k: v[:0] for k, v in vars(prediction()).items() if v is not None})
    for metric in (accuracy, accuracy_tie_optimistic, lambda p, y: summarise(p, y, 8)):
        with pytest.raises(DataError, match="empty"):
            metric(nobody, torch.tensor([], dtype=torch.int64))
        with pytest.raises(DataError, match="4 samples but there are 3 labels"):
            metric(prediction(), torch.tensor([1, 2, 2]))
    with pytest.raises(DataError, match="empty"):
        spike_cost(nobody)


def test_out_of_range_labels_and_times_are_refused():
    with pytest.raises(DataError, match="3 classes"):
        accuracy_tie_optimistic(prediction(), torch.tensor([1, 2, 3, 0]))
    with pytest.raises(DataError, match="beyond n_steps = 7"):
        summarise(prediction(), torch.tensor([1, 2, 2, 2]), n_steps=7)


def test_accuracy_over_time_ends_at_the_accuracy():
    correct = torch.tensor([True, False, True, False])
    curve = accuracy_over_time(prediction().decision_time, correct, 8)
    assert curve.decided.tolist() == [0.25, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 0.75, 1.0]
    assert curve.correct.tolist() == [0.0, 0.0, 0.0, 0.25, 0.25, 0.25, 0.25, 0.25, 0.5]
    with pytest.raises(DataError, match=r"0\.\.7"):
        accuracy_over_time(prediction().decision_time, correct, 7)


def test_accuracy_interval_by_hand():
    # z = 1.95996: (0.5 + z^2 / 200 +- z sqrt(0.0025 + z^2 / 40000)) / (1 + z^2 / 100)
    assert accuracy_interval(0.5, 100) == pytest.approx((0.403832, 0.596168), abs=1e-6)
    assert accuracy_interval(1.0, 4) == pytest.approx((4 / (4 + 1.959964**2), 1.0), abs=1e-6)
    assert accuracy_interval(0.0, 4, level=0.9) == pytest.approx(
        (0.0, 1.644854**2 / (4 + 1.644854**2)), abs=1e-6
    )
    for share, n, level in ((0.5, 0, 0.95), (1.1, 9, 0.95), (float("nan"), 9, 0.95), (0.5, 9, 1.0)):
        with pytest.raises(DataError, match="no interval"):
            accuracy_interval(share, n, level)


def test_ties_need_two_classes():
    alone = dataclasses.replace(prediction(), tied=torch.eye(4, 3, dtype=torch.bool))
    assert spike_cost(alone).ties == 0.0
