"""One optimiser for all rules: the same bits as torch's own, and one meaning of weight decay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bitspike.errors import UsageError
from bitspike.settings import Optimizer


def parameters() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(shape, generator=generator).requires_grad_()
        for shape in ((13, 7), (7,), (), (3, 3, 2, 5))
    ]


def run(optimiser: torch.optim.Optimizer, tensors: list[Tensor], steps: int = 25) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    for _ in range(steps):
        for tensor in tensors:
            tensor.grad = torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
        optimiser.step()
    return [tensor.detach() for tensor in tensors]


def groups(tensors: list[Tensor]) -> list[dict[str, Any]]:
    return [
        {"params": tensors[:2], "lr": 1e-2, "weight_decay": 0.05},
        {"params": tensors[2:3], "lr": 0.05, "weight_decay": 0.0},
        {"params": [tensors[3]], "lr": 0.1, "weight_decay": 0.0},
    ]


@pytest.mark.parametrize(
    ("name", "own"), [("adam", lambda g: torch.optim.AdamW(g, fused=True)), ("sgd", torch.optim.SGD)]
)
def test_the_bits_are_those_of_torch(name: Any, own: Any) -> None:
    mine, other = parameters(), parameters()
    theirs = run(own(groups(other)), other)
    ours = run(Optimizer(name).build(groups(mine)), mine)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_without_decay_it_is_adam_to_the_bit() -> None:
    mine, other = parameters(), parameters()
    theirs = run(torch.optim.Adam([{"params": other, "lr": 1e-2}], fused=True), other)
    ours = run(Optimizer("adam").build([{"params": mine, "lr": 1e-2}]), mine)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_decay_means_the_same_for_both(name: Any) -> None:
    """Where there is no gradient, w <- w (1 - lr * weight_decay)."""
    (tensor,) = parameters()[:1]
    start = tensor.detach().double()
    optimiser = Optimizer(name).build([{"params": [tensor], "lr": 0.1, "weight_decay": 0.5}])
    for _ in range(3):
        tensor.grad = torch.zeros_like(tensor)
        optimiser.step()
    assert torch.allclose(tensor.detach().double(), start * (1 - 0.1 * 0.5) ** 3, rtol=1e-6)


def test_groups_say_what_the_learner_asks() -> None:
    tensors = parameters()
    optimiser = Optimizer("adam", weight_decay=0.3).build([{"params": iter(tensors), "lr": 0.2}])
    (group,) = optimiser.param_groups
    assert (group["lr"], group["weight_decay"], len(group["params"])) == (0.2, 0.0, 4)


def test_other_types_take_the_plain_kernels() -> None:
    tensors = [tensor.detach().bfloat16().requires_grad_() for tensor in parameters()]
    optimiser = Optimizer("adam").build([{"params": tensors, "lr": 1e-2}])
    run(optimiser, tensors, steps=2)
    assert not optimiser.defaults["fused"]
    assert all(torch.isfinite(tensor).all() for tensor in tensors)


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        ("cosine", (1, 0.5)),
        ("linear", (1, 0.505)),
        ("exponential", (1, 0.1)),
        ("constant", (1, 1)),
        ("inverse-sqrt", (1, 1)),
    ],
)
def test_schedules(schedule: Any, values: tuple[float, float]) -> None:
    optimizer = Optimizer(schedule=schedule, final=0.01)
    assert (optimizer.factor(0.0), optimizer.factor(0.5)) == pytest.approx(values)
    assert optimizer.factor(0.5, epoch=4) == pytest.approx(0.5 if schedule == "inverse-sqrt" else values[1])


@pytest.mark.parametrize(
    ("schedule", "middle", "end"),
    [("cosine", 0.5, 0.0), ("linear", 0.6, 0.2), ("exponential", 0.2**0.5, 0.2)],
)
def test_step_sizes_are_held_before_they_shrink(schedule: Any, middle: float, end: float) -> None:
    optimizer = Optimizer(schedule=schedule, hold=0.75, final=0.2)
    assert [optimizer.factor(share) for share in (0.0, 0.5, 0.75)] == [1, 1, 1]
    assert optimizer.factor(0.875) == pytest.approx(middle)
    assert optimizer.factor(1.0) == pytest.approx(end)


def test_hold_of_a_schedule_by_epochs_is_refused() -> None:
    with pytest.raises(UsageError, match=r"optimizer\.hold"):
        Optimizer(schedule="inverse-sqrt", hold=0.5)
    with pytest.raises(UsageError, match=r"optimizer\.hold"):
        Optimizer(hold=1.0)
