"""The autograd form of S4NN equals the batched rule, with any optimiser of torch around it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from bitspike.errors import BackendError
from bitspike.ops.backend import native_available
from bitspike.ops.s4nn import reference
from bitspike.ops.s4nn.function import FirstSpikeTimes, relative_target_loss
from bitspike.ops.s4nn.settings import StepSettings

SETTINGS = StepSettings(n_steps=40, thresholds=(6.0, 5.0, 4.0), eta=(0.25, 0.25, 0.25))
needs_native = pytest.mark.skipif(not native_available(), reason="the native module is not built")


def problem(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    g = torch.Generator().manual_seed(3)
    shapes = ((19, 13), (13, 9), (9, 5))
    weights = [torch.randint(-24, 48, shape, generator=g).to(dtype) / 8 + 1 / 16 for shape in shapes]
    return torch.randint(0, 60, (17, 19), generator=g).clamp(max=40), torch.arange(17) % 5, weights


def network(weights: list[torch.Tensor], normalise: bool, backend: str) -> nn.Sequential:
    layers = zip(weights, SETTINGS.thresholds, strict=True)
    return nn.Sequential(
        *(FirstSpikeTimes(w.clone(), theta, 40, normalise=normalise, backend=backend) for w, theta in layers)
    )


@pytest.mark.parametrize(
    ("backend", "dtype"),
    [("reference", torch.float64), pytest.param("native", torch.float32, marks=needs_native)],
)
@pytest.mark.parametrize("normalise", [True, False])
def test_sgd_on_stacked_layers_is_the_batched_rule(backend: str, dtype: torch.dtype, normalise: bool) -> None:
    inputs, labels, weights = problem(dtype)
    settings = dataclasses.replace(SETTINGS, normalise=normalise)
    doubles = [weight.double() for weight in weights]
    expected, _, trace = reference.batched(inputs, labels, doubles, None, settings)
    assert (trace.errors != 0).any(1).sum() > 5

    model = network(weights, normalise, backend)
    times = model(inputs.to(dtype))
    assert torch.equal(times.long(), trace.times[-1])
    optimiser = torch.optim.SGD(model.parameters(), lr=0.25)
    loss = relative_target_loss(times, labels, 40)
    assert loss.item() == pytest.approx(40 * float(0.5 * trace.errors.square().sum()), rel=1e-6)
    loss.backward()
    optimiser.step()
    tolerance = 1e-12 if dtype == torch.float64 else 3e-6
    for layer, theirs, before in zip(model, expected, weights, strict=True):
        torch.testing.assert_close(layer.weight.double(), theirs, rtol=0, atol=tolerance)
        assert not torch.equal(layer.weight, before)


def test_loss_sends_minus_the_error_back() -> None:
    times = torch.tensor([[5.0, 9.0, 6.0], [20.0, 20.0, 20.0]], requires_grad=True)
    loss = relative_target_loss(times, torch.tensor([2, 0]), 20, gamma=3)
    loss.backward()
    # tau = 5: the true class is pulled to 5, class 0 pushed to 8, class 1 is late enough; then nobody fires.
    error = torch.tensor([[3.0, 0.0, -1.0], [-3.0, 0.0, 0.0]]) / 20
    assert times.grad is not None
    torch.testing.assert_close(times.grad, -error)


def test_backward_is_the_mask_and_the_weights() -> None:
    """t0 = (0, 3, 6), threshold 5: h0 fires at 4, h1 at 7; gradients by hand."""
    weight = torch.tensor([[4.0, 1.0], [2.0, 3.0], [-1.0, 4.0]], dtype=torch.float64)
    layer = FirstSpikeTimes(weight, 5.0, 20, normalise=False, backend="reference")
    times = torch.tensor([[0.0, 3.0, 6.0]], dtype=torch.float64, requires_grad=True)
    out = layer(times)
    assert out.tolist() == [[4.0, 7.0]]
    (out * torch.tensor([1.0, 10.0])).sum().backward()
    assert layer.weight.grad is not None
    assert times.grad is not None
    assert layer.weight.grad.tolist() == [[-1.0, -10.0], [-1.0, -10.0], [0.0, -10.0]]
    # dt_j/dt_i = +w_ij M_ij with dt/dV = -1: an earlier excitatory input makes an earlier spike.
    assert times.grad.tolist() == [[14.0, 32.0, 40.0]]


@pytest.mark.parametrize("delay", [0, 1])
@needs_native
def test_native_and_reference_layers_agree(delay: int) -> None:
    inputs, _, weights = problem(torch.float32)
    results = []
    for backend in ("native", "reference"):
        layer = FirstSpikeTimes(weights[0].clone(), 6.0, 40, delay=delay, backend=backend)
        times = inputs.float().requires_grad_()
        out = layer(times)
        (out * torch.arange(13)).sum().backward()
        results.append((out.detach(), layer.weight.grad, times.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert torch.equal(results[0][0], results[1][0])


def test_any_optimiser_learns_a_toy_task() -> None:
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    inputs = torch.full((60, 12), 32)
    noise = torch.randint(0, 6, (60, 4), generator=g)
    for row, label in enumerate(labels.tolist()):
        inputs[row, 4 * label : 4 * label + 4] = noise[row]
    weights = [torch.rand(12, 16, generator=g) * 4, torch.rand(16, 3, generator=g) * 4]
    model = nn.Sequential(*(FirstSpikeTimes(w, 6.0, 32) for w in weights))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        loss = relative_target_loss(model(inputs.float()), labels, 32)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]


def test_native_back_end_refuses_what_it_cannot_do() -> None:
    layer = FirstSpikeTimes(torch.ones(3, 2, dtype=torch.float64), 1.0, 8, backend="native")
    with pytest.raises(BackendError, match="works on float32"):
        layer(torch.zeros(1, 3, dtype=torch.float64))
