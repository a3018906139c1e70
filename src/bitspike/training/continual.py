"""Learning one task after the other: which training inputs an epoch sees, and how well each task is still known."""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.errors import UsageError
from bitspike.experiment import Training


def task_of(settings: Training, epoch: int) -> int:
    """The task of epoch 1, 2, ...: epochs are shared evenly among the tasks."""
    return (epoch - 1) * len(settings.tasks) // settings.epochs


def ends_task(settings: Training, epoch: int) -> bool:
    """Is this epoch the last of a task that another one follows?"""
    last = epoch == settings.epochs
    return bool(settings.tasks) and not last and task_of(settings, epoch) != task_of(settings, epoch + 1)


def rows(settings: Training, labels: Tensor, epoch: int, noise: torch.Generator) -> Tensor:
    """Numbers of the training inputs that this epoch may see: all of its task's, and a coreset of every past task.

    A past task's coreset is its first `coreset` batches of inputs in an order drawn by `noise`, which must be the same
    in every epoch. Skatchkovsky, Jang and Simeone, arXiv 2208.13723; specification, section 7.
    """
    seen, now = [], task_of(settings, epoch)
    shuffled = torch.randperm(len(labels), generator=noise)
    for task, group in enumerate(settings.classes()[: now + 1]):
        own = shuffled[torch.isin(labels[shuffled], torch.tensor(group))]
        if not len(own):
            raise UsageError(f"training.tasks: no training input is of the classes {settings.tasks[task]}")
        seen.append(own if task == now else own[: settings.coreset * settings.batch_size])
    return torch.cat(seen)


def accuracies(settings: Training, predicted: Tensor, labels: Tensor, epoch: int) -> list[float]:
    """Accuracy on the classes of every task learned so far; decisions are among all classes."""
    found = []
    for group in settings.classes()[: task_of(settings, epoch) + 1]:
        chosen = torch.isin(labels, torch.tensor(group))
        found.append(float((predicted[chosen] == labels[chosen]).double().mean()))
    return found
