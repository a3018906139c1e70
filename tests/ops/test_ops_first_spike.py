"""First-spike layers: native against reference, reference against autograd and central differences."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitspike.ops import first_spike as ops
from bitspike.ops.backend import native_available, resolve
from bitspike.ops.first_spike import reference

needs_native = pytest.mark.skipif(not native_available(), reason="the native module was not built")
ISAS = __import__("bitspike._native", fromlist=["x"]).instruction_sets() if native_available() else []
# batch, inputs, hidden, outputs, steps, binary
SHAPES = [
    (1, 1, 1, 2, 1, True),
    (5, 7, 3, 3, 8, True),
    (9, 100, 65, 10, 16, True),
    (9, 100, 130, 17, 40, False),
    (3, 784, 600, 10, 256, True),
    (2, 900, 64, 47, 1, True),  # more than 255 events in one slot
    (4, 33, 129, 5, 4096, False),
]


def _case(shape, seed=0):
    batch, n_in, n_hidden, n_out, n_steps, binary = shape
    g = torch.Generator().manual_seed(seed)
    times = (
        torch.randint(0, n_steps + n_steps // 2 + 1, (batch, n_in), generator=g)
        .clamp(max=n_steps)
        .to(torch.int16)
    )
    times[0] = n_steps  # a sample without any spike
    real = torch.randint(-64, 65, (n_in, n_hidden), generator=g) / 64  # sums are exact in any order
    weight = torch.where(real >= 0, 1.0, -1.0) if binary else real
    threshold = torch.rand(n_hidden, generator=g) * 4
    out = torch.where(torch.rand((n_hidden, n_out), generator=g) < 0.5, 1.0, -1.0)
    return times, weight, threshold, out, torch.rand(n_out, generator=g) * 3


@needs_native
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_native_equals_reference(shape, isa):
    from bitspike.ops.first_spike import native

    times, weight, threshold, out, out_threshold = _case(shape)
    n_hidden, n_out, n_steps, binary = shape[2:]
    slow, fast = reference.sort_times(times, n_steps), native.sort_times(times, n_steps)
    assert torch.equal(slow.n_active, fast.n_active)
    assert torch.equal(slow.bins, fast.bins)
    slow_maxima, slow_slots = reference.layer_forward(slow, weight, threshold, binary)
    fast_maxima, fast_slots = native.layer_forward(fast, weight, threshold, binary, isa)
    active = (torch.arange(slow.n_slots) < slow.n_active[:, None])[:, :, None]
    assert torch.equal(slow_slots, fast_slots)
    assert torch.equal(slow_maxima * active, torch.where(active, fast_maxima[:, :, :n_hidden].float(), 0))

    slow_hidden = reference.hidden_spikes(slow, slow_slots, None)
    fast_hidden = native.hidden_spikes(fast, fast_slots, None)
    slow_margins = reference.readout_forward(slow_hidden, out, out_threshold)
    fast_margins = native.readout_forward(fast_hidden, out, out_threshold, isa)
    torch.testing.assert_close(slow_margins, fast_margins, rtol=0, atol=1e-5)

    decided = reference.decided(fast_margins, slow.n_active)
    assert torch.equal(decided, native.decided(fast_margins, slow.n_active))
    assert torch.equal(decided[:1], fast_margins[:1, 0].argmax(1))  # without spikes the thresholds decide

    labels = torch.arange(len(times)) % n_out
    arguments = (slow.n_active, labels, 1.3, 0.9, 0.3, 1e-3)
    slow_loss, slow_gradient = reference.race_loss(slow_margins.double(), *arguments)
    fast_loss, fast_gradient = native.race_loss(fast_margins, *arguments, isa)
    torch.testing.assert_close(slow_loss.float(), fast_loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(slow_gradient.float(), fast_gradient, rtol=1e-4, atol=1e-5)

    far = torch.rand(fast_margins.shape, generator=torch.Generator().manual_seed(3))
    wide = fast_margins.masked_fill(far > 0.9, -100 * 0.9)
    wide = wide.masked_fill(far < 0.02, 15 * 0.9).masked_fill(
        far < 0.01, 100 * 0.9
    )  # hazards are capped at 12
    slow_loss, slow_gradient = reference.race_loss(wide.double(), *arguments)
    wide_loss, wide_gradient = native.race_loss(wide, *arguments, isa)
    torch.testing.assert_close(slow_loss.float(), wide_loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(slow_gradient.float(), wide_gradient, rtol=1e-4, atol=1e-5)

    gradient = fast_gradient * active
    for a, b in zip(
        reference.readout_backward(slow_hidden, gradient),
        native.readout_backward(fast_hidden, gradient, isa),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    dense = (
        torch.randn((len(times), slow.n_slots, n_hidden), generator=torch.Generator().manual_seed(1)) * active
    )
    keep = torch.rand((len(times), n_hidden), generator=torch.Generator().manual_seed(2)) < 0.7
    for source, above, kept in ((gradient, out, None), (dense, None, None), (gradient, out, keep)):
        expected = reference.layer_backward(
            slow, slow_maxima, threshold, source, above, kept, 4.0, binary, True
        )
        found = native.layer_backward(
            fast, fast_maxima, threshold, source, above, kept, 4.0, binary, True, isa
        )
        for a, b in zip(expected, found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@needs_native
def test_instruction_sets_and_threads_agree_to_the_bit():
    from bitspike.ops.first_spike import native

    times, weight, threshold, out, _ = _case((9, 100, 130, 10, 40, True))
    gradient = torch.randn(
        (9, native.sort_times(times, 40).n_slots, 10), generator=torch.Generator().manual_seed(1)
    )
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            for isa in ISAS:
                spikes = native.sort_times(times, 40)
                maxima, slots = native.layer_forward(spikes, weight, threshold, True, isa)
                back = native.layer_backward(
                    spikes, maxima, threshold, gradient, out, None, 4.0, True, True, isa
                )
                active = (torch.arange(spikes.n_slots) < spikes.n_active[:, None])[:, :, None]
                results.append((torch.where(active, maxima, 0), slots, *back))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def _autograd_loss(times, layers, n_steps, width):
    """The same network written for autograd: hard steps forward, the triangle's integral backward."""
    spikes = reference.sort_times(times, n_steps)
    active = (torch.arange(spikes.n_slots) < spikes.n_active[:, None])[:, :, None]
    s = reference._steps(spikes, torch.float64)
    for weight, threshold in layers[:-1]:
        potential = s @ weight
        place = torch.zeros_like(
            potential, dtype=torch.long
        )  # where the running maximum is attained, earliest on ties
        for a in range(1, spikes.n_slots):
            best = potential.gather(1, place[:, a - 1 : a])
            place[:, a] = torch.where(potential[:, a] > best[:, 0], a, place[:, a - 1])
        x = (potential.gather(1, place) - threshold) / width
        near = x.clamp(-1, 1)
        smooth = width * torch.where(near < 0, (1 + near) ** 2 / 2, 1 - (1 - near) ** 2 / 2)
        hard = (x > 0).double() * active
        s = hard + (smooth - smooth.detach()) * active
    weight, threshold = layers[-1]
    return s @ weight - threshold, spikes.n_active


def test_three_layers_equal_autograd_in_float64():
    g = torch.Generator().manual_seed(3)
    times = torch.randint(0, 30, (6, 20), generator=g).clamp(max=24).to(torch.int16)
    widths = (20, 15, 12, 4)
    layers = [
        (
            torch.randn((a, b), generator=g, dtype=torch.float64),
            torch.rand(b, generator=g, dtype=torch.float64) * 2,
        )
        for a, b in itertools.pairwise(widths)
    ]
    labels = torch.arange(6) % 4
    parameters = [p.clone().requires_grad_() for layer in layers for p in layer]
    x = reference.sort_times(times, 24)
    hidden = ops.hidden_layer(x, parameters[0], parameters[1], width=3.0, binary=False, backend="reference")
    margins, _ = ops.hidden_readout(hidden, *parameters[2:], width=3.0, binary=False, backend="reference")
    ops.race_loss(
        margins, x.n_active, labels, tau_c=1.0, tau_h=0.8, beta=0.3, skip=0.0, backend="reference"
    ).sum().backward()

    expected = [p.clone().requires_grad_() for layer in layers for p in layer]
    pairs = list(zip(expected[::2], expected[1::2], strict=True))
    out, n_active = _autograd_loss(times, pairs, 24, 3.0)
    active = (torch.arange(x.n_slots) < n_active[:, None])[:, :, None]
    torch.testing.assert_close(out * active, margins.detach() * active)
    _, gradient = reference.race_loss(out, n_active, labels, 1.0, 0.8, 0.3, 0.0)
    (out * gradient).sum().backward()
    for a, b in zip(parameters, expected, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-12)
        assert b.grad.abs().max() > 0


def test_race_loss_gradient_by_central_differences():
    g = torch.Generator().manual_seed(0)
    margins = torch.randn((3, 5, 4), generator=g, dtype=torch.float64) - 1.5
    n_active, labels = torch.tensor([5, 3, 1], dtype=torch.int32), torch.tensor([0, 3, 2])
    arguments = (n_active, labels, 1.3, 0.7, 0.3, 0.0)
    _, gradient = reference.race_loss(margins, *arguments)
    numeric = torch.zeros_like(margins)
    for index in range(margins.numel()):
        shift = torch.zeros(margins.numel(), dtype=torch.float64)
        shift[index] = 1e-6
        up, down = (
            reference.race_loss(margins + sign * shift.view_as(margins), *arguments)[0].sum()
            for sign in (1, -1)
        )
        numeric.view(-1)[index] = (up - down) / 2e-6
    torch.testing.assert_close(gradient, numeric, rtol=1e-5, atol=1e-7)
    assert (gradient[1, 3:] == 0).all()  # unused slots


def test_race_loss_tends_to_the_honest_decision():
    margins = torch.tensor([[[-1.0, 2.0], [3.0, 2.5]], [[-2.0, -1.0], [-0.5, -1.0]]], dtype=torch.float64)
    n_active = torch.tensor([2, 2], dtype=torch.int32)
    for label, expected in ((1, 0.0), (0, 1.0)):  # sample 0: output 1 fires first
        loss, _ = reference.race_loss(margins[:1], n_active[:1], torch.tensor([label]), 0.01, 0.01, 1.0, 0.0)
        assert float(loss) > 10 if expected else float(loss) < 1e-6
    loss, _ = reference.race_loss(margins[1:], n_active[1:], torch.tensor([0]), 0.01, 0.01, 1.0, 0.0)
    assert float(loss) < 1e-6  # silent: the largest last potential decides


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 70))
def test_permuting_inputs_with_their_weights_changes_nothing(seed, n_in, n_hidden):
    times, weight, threshold, _, _ = _case((4, n_in, n_hidden, 2, 12, True), seed)
    order = torch.randperm(n_in, generator=torch.Generator().manual_seed(seed))
    for kernels in [reference] + ([ops.implementation("native")] if native_available() else []):
        _, a = kernels.layer_forward(kernels.sort_times(times, 12), weight, threshold, True)
        _, b = kernels.layer_forward(
            kernels.sort_times(times[:, order].contiguous(), 12), weight[order].contiguous(), threshold, True
        )
        assert torch.equal(a, b)


@needs_native
def test_memory_of_a_step_does_not_depend_on_the_number_of_steps():
    from bitspike.ops.first_spike import native

    times = torch.randint(0, 16, (50, 100), generator=torch.Generator().manual_seed(0)).to(torch.int16)
    near, far = native.sort_times(times, 16), native.sort_times(times * 256, 4096)
    assert near.n_slots == far.n_slots
    assert torch.equal(near.events, far.events)
    assert torch.equal(far.bins, torch.where(near.bins == 16, 4096, near.bins * 256).to(torch.int16))


def test_named_back_ends_run_or_raise():
    from bitspike.errors import BackendError

    assert resolve("reference") == "reference"
    assert resolve("auto", "cuda") == "reference"
    for name, device in (("fast", "cpu"), ("native", "cuda")):
        with pytest.raises(BackendError):
            resolve(name, device)


@needs_native
def test_bad_arguments_are_refused():
    from bitspike.ops.first_spike import native

    with pytest.raises(ValueError, match="negative"):
        native.sort_times(torch.tensor([[-1]], dtype=torch.int16), 4)
    spikes = native.sort_times(torch.zeros((2, 3), dtype=torch.int16), 4)
    with pytest.raises(ValueError, match="weight rows"):
        native.layer_forward(spikes, torch.ones(4, 5), torch.zeros(5), True)
    with pytest.raises(ValueError, match="instruction set"):
        native.layer_forward(spikes, torch.ones(3, 5), torch.zeros(5), True, "quantum")
    with pytest.raises(ValueError, match="label"):
        native.race_loss(
            torch.zeros(1, 1, 2), torch.ones(1, dtype=torch.int32), torch.tensor([2]), 1.0, 1.0, 0.3, 0.0
        )
