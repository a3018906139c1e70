"""The native S4NN kernels against the reference: firing times exactly, weights to float32 rounding."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch

from bitspike.errors import DataError, UsageError
from bitspike.ops.s4nn import dense, reference
from bitspike.ops.s4nn import native as cpu
from bitspike.ops.s4nn.settings import StepSettings

native = pytest.importorskip("bitspike._native")
SETS = native.instruction_sets()
SHAPES = [((13, 7, 3), 20), ((9, 1, 2), 12), ((37, 67, 11), 48), ((30, 17, 9, 5), 33), ((21, 4), 300)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Case:
    """Random net on binary fractions (so that sums are exact) with about half its neurons firing."""

    def __init__(self, shape: tuple[int, ...], n_steps: int, *, seed: int = 0, n: int = 13, **options: Any):
        g = torch.Generator().manual_seed(seed)
        depth, binary = len(shape) - 1, options.get("binary", False)
        self.weights = [torch.randint(-40, 64, (a, b), generator=g) / 8 + 1 / 16 for a, b in pairwise(shape)]
        self.inputs = torch.randint(0, 2 * n_steps, (n, shape[0]), generator=g).clamp(max=n_steps).short()
        self.labels = torch.randint(0, shape[-1], (n,), generator=g)
        self.alpha = torch.full((depth,), 1.5, dtype=torch.float64)
        if not binary:
            self.alpha.fill_(1.0)
        theta = (2.0,) * depth if binary else (6.0,) * depth
        base = StepSettings(n_steps=n_steps, thresholds=theta, eta=(0.25,) * depth, mu=0.05)
        self.settings = dataclasses.replace(base, **options)

    def expected(self, online: bool, **changes: Any) -> Any:
        rule = reference.online if online else reference.batched
        weights = [weight.double() for weight in self.weights]
        settings = dataclasses.replace(self.settings, **changes)
        return rule(self.inputs, self.labels, weights, self.alpha, settings)

    def run(self, online: bool, **options: Any) -> tuple[list[torch.Tensor], torch.Tensor, cpu.StepSums]:
        weights, alpha = [weight.clone() for weight in self.weights], self.alpha.clone()
        sums = cpu.step(self.inputs, self.labels, weights, alpha, self.settings, online=online, **options)
        return weights, alpha, sums


def empty_times(case: Case) -> list[torch.Tensor]:
    return [torch.full((len(case.labels), w.shape[1]), -7, dtype=torch.int16) for w in case.weights]


def assert_times_are_the_references(case: Case, isa: str) -> list[torch.Tensor]:
    """Also of neurons that an early stop would not follow; returns the times of every layer."""
    times = empty_times(case)
    case.run(False, times=times, early_stop=False, isa=isa)
    weights = [weight.double() for weight in case.weights]
    expected = reference.forward(case.inputs, weights, case.alpha, case.settings)[1:]
    for ours, theirs in zip(times, expected, strict=True):
        assert torch.equal(ours.long(), theirs)
    return expected


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize(("shape", "n_steps"), SHAPES)
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("delay", [0, 1])
def test_times_equal_the_reference(
    shape: tuple[int, ...], n_steps: int, binary: bool, delay: int, isa: str
) -> None:
    case = Case(shape, n_steps, binary=binary, delay=delay)
    expected = assert_times_are_the_references(case, isa)
    assert any(0 < (theirs < n_steps).sum() < theirs.numel() for theirs in expected)


@pytest.mark.parametrize("isa", SETS)
def test_binary_weights_of_zero_count_as_plus_one(isa: str) -> None:
    case = Case((13, 35, 3), 20, binary=True)
    for weight in case.weights:
        weight[::2], weight[1] = 0.0, -0.0
    expected = assert_times_are_the_references(case, isa)
    assert 0 < (expected[0] < 20).sum() < expected[0].numel()


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize(("shape", "n_steps"), SHAPES)
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("online", [False, True])
def test_update_equals_the_reference(
    shape: tuple[int, ...], n_steps: int, binary: bool, online: bool, isa: str
) -> None:
    case = Case(shape, n_steps, binary=binary)
    weights, alpha, sums = case.run(online, isa=isa)
    expected, scale, traces = case.expected(online)
    for ours, theirs, before in zip(weights, expected, case.weights, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=3e-6)
        assert not torch.equal(ours, before)
    torch.testing.assert_close(alpha, scale, rtol=0, atol=1e-8)
    errors = torch.cat([trace.errors for trace in traces]) if online else traces.errors
    assert sums.loss == pytest.approx(float(0.5 * errors.square().sum()), abs=1e-12)
    assert sums.n_error == int((errors != 0).any(1).sum())


@pytest.mark.parametrize(
    "options",
    [
        {"backward_weights": "pre"},
        {"normalise": False},
        {"silent_target": "none", "thresholds": (6.0, 1e6)},
        {"silent_target": "early", "thresholds": (6.0, 1e6)},
        {"decay": 0.01},
        {"clip": 2.0},
        {"gamma": 0},
        {"gamma": 15, "delay": 0},
        {"decay": 0.01, "clip": 5.0, "binary": True, "thresholds": (2.0, 2.0)},
    ],
)
@pytest.mark.parametrize("online", [False, True])
def test_options_equal_the_reference(options: dict[str, Any], online: bool) -> None:
    case = Case((13, 7, 3), 20, **options)
    if case.settings.clip is not None:
        for weight in case.weights:
            weight.clamp_(-case.settings.clip, case.settings.clip)
    weights, alpha, _ = case.run(online)
    expected, scale, _ = case.expected(online)
    for ours, theirs in zip(weights, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=3e-6)
    torch.testing.assert_close(alpha, scale, rtol=0, atol=1e-8)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("online", [False, True])
def test_bits_depend_neither_on_threads_nor_on_instruction_set(binary: bool, online: bool) -> None:
    case = Case((37, 67, 11), 48, binary=binary, decay=1e-3, n=50)
    fired = torch.zeros(67, dtype=torch.int32)
    first = case.run(online, fired=fired)
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        for isa in SETS:
            again_fired = torch.zeros(67, dtype=torch.int32)
            again = case.run(online, fired=again_fired, isa=isa)
            assert all(torch.equal(a, b) for a, b in zip(first[0], again[0], strict=True))
            assert torch.equal(first[1], again[1])
            assert torch.equal(fired, again_fired)
            assert first[2] == again[2]


@pytest.mark.parametrize(("shape", "n_steps"), SHAPES)
@pytest.mark.parametrize("quota", [0, 4, 2**31 - 1])
@pytest.mark.parametrize("online", [False, True])
def test_early_stop_changes_no_weight_and_no_count(
    shape: tuple[int, ...], n_steps: int, quota: int, online: bool
) -> None:
    for seed in range(3):
        case = Case(shape, n_steps, seed=seed, n=40)
        hidden = sum(shape[1:-1])
        counts = [torch.zeros(hidden, dtype=torch.int32) for _ in range(2)]
        runs = [
            case.run(online, fired=fired, quota=quota, early_stop=stop)
            for fired, stop in zip(counts, (True, False), strict=True)
        ]
        assert all(torch.equal(a, b) for a, b in zip(runs[0][0], runs[1][0], strict=True))
        assert torch.equal(*counts)
        assert dataclasses.replace(runs[0][2], fired=()) == dataclasses.replace(runs[1][2], fired=())


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("quota", [1, 2, 3, 4, 5, 6])
def test_late_spikes_count_up_to_the_quota(quota: int, online: bool, isa: str) -> None:
    """Hidden neuron 0 makes the decision at once; neuron 1 fires long after it, in 4 of 6 samples."""
    settings = StepSettings(n_steps=20, thresholds=(6.0, 6.0), eta=(0.0, 0.0), gamma=3, mu=0.0)
    weights = [torch.tensor([[10.0, 0.0], [0.0, 10.0]]), torch.tensor([[10.0, 0.0], [0.0, 0.0]])]
    late = torch.tensor([15, 20, 16, 17, 20, 15])
    inputs = torch.stack([torch.zeros(6, dtype=torch.int64), late], 1).short()
    for early_stop in (True, False):
        fired = torch.zeros(2, dtype=torch.int32)
        for row in range(6):
            cpu.step(
                inputs[row : row + 1], torch.tensor([0]), weights, torch.ones(2, dtype=torch.float64), settings,
                online=online, fired=fired, quota=quota, early_stop=early_stop, isa=isa,
            )  # fmt: skip
        assert fired.tolist() == [min(6, quota), min(4, quota)]
    times = [torch.full((1, 2), -7, dtype=torch.int16) for _ in range(2)]
    cpu.step(
        inputs[:1], torch.tensor([0]), weights, torch.ones(2, dtype=torch.float64), settings,
        online=online, times=times, isa=isa,
    )  # fmt: skip
    assert int(times[0][0, 1]) != 16  # without counts nobody follows it: the sample did end early


def test_counts_are_the_samples_in_which_a_neuron_fired() -> None:
    case = Case((37, 67, 11), 48, n=40)
    fired = torch.zeros(67, dtype=torch.int32)
    case.run(False, fired=fired)
    weights = [weight.double() for weight in case.weights]
    hidden = reference.forward(case.inputs, weights, None, case.settings)[1]
    assert torch.equal(fired.long(), (hidden < 48).sum(0))


def test_decision_and_count_of_correct_answers() -> None:
    case = Case((37, 67, 11), 48, n=60)
    _, _, sums = case.run(False)
    weights = [weight.double() for weight in case.weights]
    layers = reference.forward(case.inputs, weights, None, case.settings)
    labels, _ = reference.decide(layers, weights, None, case.settings)
    assert sums.n_correct == int((labels == case.labels).sum()) > 0


def test_gradient_mode_gives_the_summed_gradient_and_leaves_the_weights() -> None:
    case = Case((37, 67, 11), 48)
    grads = [torch.zeros_like(weight) for weight in case.weights]
    weights, _, _ = case.run(False, grads=grads)
    _, _, trace = case.expected(False)
    assert all(torch.equal(a, b) for a, b in zip(weights, case.weights, strict=True))
    for ours, theirs in zip(grads, reference.gradients(trace, case.settings), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=3e-6)


@pytest.mark.parametrize("binary", [False, True])
def test_dense_formulation_equals_the_reference(binary: bool) -> None:
    case = Case((13, 7, 3), 20, binary=binary, decay=0.01)
    weights, alpha = [weight.double() for weight in case.weights], case.alpha.clone()
    layers = dense.step(case.inputs, case.labels, weights, alpha, case.settings)
    expected, scale, trace = case.expected(False)
    for ours, theirs in zip(layers, trace.times, strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(weights, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(alpha, scale)


def test_samples_without_error_change_nothing() -> None:
    case = Case((13, 7, 3), 20, gamma=3)
    for row in range(len(case.labels)):
        one = slice(row, row + 1)
        weights = [weight.clone() for weight in case.weights]
        layers = reference.forward(case.inputs[one], weights, None, case.settings)
        times, label = layers[-1][0], int(case.labels[row])
        others = torch.cat([times[:label], times[label + 1 :]])
        far = bool(times[label] < 20) and bool(((others - times[label] >= 3) | (others == 20)).all())
        sums = cpu.step(case.inputs[one], case.labels[one], weights, case.alpha, case.settings, online=True)
        same = all(torch.equal(a, b) for a, b in zip(weights, case.weights, strict=True))
        assert sums.n_error == (0 if far else 1)
        assert not far or same


def test_wrong_arguments_are_refused() -> None:
    case = Case((13, 7, 3), 20)
    case.labels[0] = 3
    with pytest.raises(ValueError, match="label is out of range"):
        case.run(True)
    case = Case((13, 7, 3), 20)
    case.weights[0] = case.weights[0].double()
    with pytest.raises(DataError, match="contiguous float32"):
        case.run(True)
    case = Case((13, 7, 3), 20)
    with pytest.raises(TypeError):
        case.run(True, fired=torch.zeros(7, dtype=torch.int64))
    case = Case((13, 7, 3), 20, sign_of_zero=0)
    with pytest.raises(UsageError, match=r"sgn\(0\)"):
        case.run(True)
    case = Case((13, 7, 3), 20)
    case.weights[1] = torch.zeros(8, 3)
    with pytest.raises(ValueError, match="shapes do not follow"):
        case.run(True)
