"""Tasks learned one after the other: which inputs an epoch sees, where a task ends, what is still known."""

from __future__ import annotations

import pytest
import torch

from bitspike.errors import UsageError
from bitspike.experiment import Training
from bitspike.training import continual

SETTINGS = Training(epochs=6, batch_size=2, tasks=("0,1", "2", "3,4"), coreset=1)
LABELS = torch.arange(5).repeat(4)


def noise() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_a_task_ends_where_another_follows() -> None:
    assert [continual.task_of(SETTINGS, epoch) for epoch in range(1, 7)] == [0, 0, 1, 1, 2, 2]
    ends = [continual.ends_task(SETTINGS, epoch) for epoch in range(1, 7)]
    assert ends == [False, True, False, True, False, False]
    assert not continual.ends_task(Training(epochs=2), 1)


@pytest.mark.parametrize(("epoch", "known"), [(1, [8, 0, 0]), (4, [2, 4, 0]), (6, [2, 2, 8])])
def test_an_epoch_sees_its_task_and_a_coreset_of_the_past_ones(epoch: int, known: list[int]) -> None:
    """A coreset of one batch of two; the same ones in every epoch."""
    rows = continual.rows(SETTINGS, LABELS, epoch, noise())
    task = torch.tensor([0, 0, 1, 2, 2])[LABELS[rows]]
    assert torch.bincount(task, minlength=3).tolist() == known
    assert len(rows.unique()) == len(rows)
    assert torch.equal(rows[:2], continual.rows(SETTINGS, LABELS, 3, noise())[:2]) or epoch == 1


def test_what_is_still_known() -> None:
    predicted = torch.where(LABELS == 1, 0, LABELS)
    assert continual.accuracies(SETTINGS, predicted, LABELS, 2) == [0.5]
    assert continual.accuracies(SETTINGS, predicted, LABELS, 5) == [0.5, 1.0, 1.0]
    with pytest.raises(UsageError, match="no training input is of the classes 2"):
        continual.rows(SETTINGS, LABELS % 2, 3, noise())
