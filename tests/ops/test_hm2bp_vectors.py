"""The specification's vectors (docs/methods/hm2bp.md, section 13) in float64: reference and autograd function."""

import math

import pytest
import torch
from torch import Tensor

from bitspike.contracts import Batch
from bitspike.ops.lif import pairwise, reference
from bitspike.ops.lif.function import Macro, Micro, _lateral_factor, inject, layer
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.lif.settings import Adjoint
from bitspike.ops.lif.signals import Spikes, pack, unpack
from bitspike.ops.operators import Dense
from bitspike.rules.hm2bp import Boost, regulariser

F = torch.float64
ONE = Neuron(1.0, epsilon=1e-6)


def trains(*times: list[int], n_steps: int) -> Spikes:
    """One sample: a list of spike times per neuron."""
    dense = torch.zeros((1, n_steps, len(times)))
    for j, steps in enumerate(times):
        dense[0, steps, j] = 1
    return pack(dense)


def times(spikes: Spikes) -> list[list[int]]:
    dense = unpack(spikes)[0]
    return [dense[:, j].nonzero().flatten().tolist() for j in range(spikes.n)]


def e_of(out: Spikes, x: Spikes, how: Adjoint) -> Tensor:
    """e by the adjoint: R^T s, `(n_post, n_pre)`."""
    r, s = reference.adjoint(out, ONE, how, F), unpack(x, F)
    return torch.einsum("bti,btj->ij", r, s)


def test_neuron():  # 13.1
    x = trains([2, 3, 4, 5, 6], n_steps=20)
    current = reference.input_current(Dense(1, 1), x, torch.tensor([[3.0]], dtype=F))
    result = reference.scan(current, ONE)
    assert times(result.spikes) == [[4, 7, 11, 15]]
    before = [1.07226562, 1.46127319, 1.82021448, 1.06697631]
    assert float(result.tpsp) == pytest.approx(sum(before), abs=3e-8)
    assert float(result.membrane) == pytest.approx(0.62544192, abs=1e-8)


PAIRS = [  # 13.2: post, pre, T, closed without cut-off, euler
    ([20], [10], 40, 0.588134241615, 0.675674598400),
    ([20, 30], [10, 25], 40, 1.061685965525, 1.269658168161),
    ([12, 24, 50], [3, 8, 9, 22, 23, 40], 60, 3.996041669284, 4.316667486600),
    ([10, 20], [10, 18, 19, 20, 30], 40, 0.588134241615, 0.828187204321),
    ([300], [10, 60], 320, 0.040426600896, 0.037966318533),
]


@pytest.mark.parametrize(("post", "pre", "n_steps", "closed", "trace"), PAIRS)
def test_spsp_of_single_pairs(post, pre, n_steps, closed, trace):
    out, x = trains(post, n_steps=n_steps), trains(pre, n_steps=n_steps)
    for mode, value in (("closed", closed), ("trace", trace)):
        how = Adjoint(mode)
        assert float(e_of(out, x, how)) == pytest.approx(value, abs=1e-9)
        assert float(pairwise.spsp(out, x, ONE, how)) == pytest.approx(value, abs=1e-9)


def test_the_cutoff_of_the_closed_form():
    out, x = trains([300], n_steps=320), trains([10, 60], n_steps=320)
    assert float(pairwise.spsp(out, x, ONE, Adjoint("closed"), 4.0)) == pytest.approx(
        0.027730604853, abs=1e-9
    )


@pytest.mark.parametrize(("refractory", "as_written"), [(2, True), (1, True), (0, False)])
def test_the_closed_form_of_a_current_in_step_0(refractory, as_written):
    neuron, first = Neuron(1.0, 64.0, 8.0, refractory), 10
    r = reference.adjoint(trains([first, 30], n_steps=40), neuron, Adjoint("closed"), F)[0, 0, 0]
    expected = 0.0  # section 5.2 with t_g = 0 and resets at 1 and `first` + refractory
    for t, reset in ((first, 1), (30, first + refractory)):
        s, n = t - reset, t - refractory
        m, late = min(s, n), max(n - s, 0)
        expected += math.exp(-late / 8) / (1 - 8 / 64) * (math.exp(-m / 64) - math.exp(-m / 8))
    assert (float(r) == pytest.approx(expected, abs=1e-12)) is as_written


STEP = {0: 4, 1: 6, 2: 9}
INPUT = [list(range(2 + j + (j == 2), 60, STEP[j])) for j in range(3)]
W1 = torch.tensor([[2, 1, 0.5], [0.5, 1.5, -1], [-1, 0.25, 0.25]], dtype=F).T.contiguous()
W2 = torch.tensor([[1.5, 1, 0.5], [-0.5, 2, 1]], dtype=F).T.contiguous()
PAPER = {"side_effect": True, "silent_side": "code"}
EXPECTED = {
    "closed": {
        "dW2": [[-36.3222773358, -21.3592396327, 0], [40.7381803316, 24.5624145595, 0]],
        "d_hidden": [-2.5941866746, 1.8401436415, 1.5],
        "dW1": [
            [-37.3143289602, -24.2077698295, -16.1486853833],
            [27.9474141398, 17.3849188570, 12.5279920661],
            [0.1125, 0.1125, 0.1125],
        ],
        "d_input": [-3.1990660703, 0.6498182194, -1.0443783852],
    },
    "trace": {
        "dW2": [[-44.2903918435, -25.6478998352, 0], [47.7642295895, 28.3538603960, 0]],
        "d_hidden": [-2.9424858076, 2.0095508679, 1.5],
        "dW1": [
            [-47.5544217667, -32.1737726957, -19.9683943309],
            [35.4981263533, 24.3261580133, 15.9653553596],
            [0.1125, 0.1125, 0.1125],
        ],
        "d_input": [-3.5923873011, 0.7499268750, -1.2959709254],
    },
}  # fmt: skip


def two_layers(micro: Micro, output: Neuron = ONE, macro: Macro | None = None):
    """The network of 13.3 with targets (14, 2) and margin 1; returns counts, output trains and all gradients."""
    x = trains(*INPUT, n_steps=60)
    counts_in = unpack(x, F).sum(1).requires_grad_()
    w1, w2 = W1.clone().requires_grad_(), W2.clone().requires_grad_()
    hidden = layer(Dense(3, 3), x, counts_in, w1, ONE, micro, "reference")
    hidden.counts.retain_grad()
    out = layer(Dense(3, 2), hidden.spikes, hidden.counts, w2, output, micro, "reference", macro)
    error = out.counts - torch.tensor([[14.0, 2.0]], dtype=F)
    (0.5 * torch.where(error.abs() > 1, error, 0).square().sum()).backward()
    grads = {
        "dW1": w1.grad.T,
        "dW2": w2.grad.T,
        "d_hidden": hidden.counts.grad[0],
        "d_input": counts_in.grad[0],
    }
    return hidden, out, grads


@pytest.mark.parametrize("mode", ["closed", "trace"])
def test_two_layer_network(mode):  # 13.3
    hidden, out, grads = two_layers(Micro(mode, **PAPER))
    assert times(hidden.spikes)[0] == [6, 11, *range(15, 60, 4)]
    assert times(hidden.spikes)[1:] == [[10, 17, 23, 29, 36, 42, 48, 55], []]
    assert times(out.spikes) == [[12, 17, 22, 26, 30, 35, 40, 44, 49, 53, 57], [20, 28, 37, 45, 52]]
    for name, expected in EXPECTED[mode].items():
        torch.testing.assert_close(grads[name], torch.tensor(expected, dtype=F), rtol=0, atol=1e-9)


def test_without_the_ratio_the_error_is_the_transposed_product():
    _, _, grads = two_layers(Micro("closed", ratio=False, **PAPER))
    torch.testing.assert_close(grads["d_hidden"], torch.tensor([-6.0, 3.0, 1.5], dtype=F))


@pytest.mark.parametrize("mode", ["closed", "trace"])
def test_the_ratio_of_silent_neurons_is_that_of_the_neuron_above(mode):
    """Both outputs fire, hidden neuron 2 is silent: its own d is unchanged, what passes through it counts a quarter."""
    _, _, grads = two_layers(Micro(mode, silent_ratio=0.25, **PAPER))
    d_hidden = torch.tensor(EXPECTED[mode]["d_hidden"], dtype=F)
    torch.testing.assert_close(grads["d_hidden"], d_hidden, rtol=0, atol=1e-9)
    d_input = torch.tensor(EXPECTED[mode]["d_input"], dtype=F) - 0.75 * 1.5 * W1[:, 2]
    torch.testing.assert_close(grads["d_input"], d_input, rtol=0, atol=1e-9)


def test_tpsp_is_the_membrane_at_the_spikes():  # identity 5.4
    x = trains(*INPUT, n_steps=60)
    result = reference.forward(Dense(3, 3), x, W1, ONE)
    torch.testing.assert_close(
        result.tpsp[0], torch.tensor([19.4971562353, 8.9755221206, 0], dtype=F), rtol=0, atol=1e-9
    )
    again = reference.tpsp(Dense(3, 3), x, W1, result.spikes, ONE, Adjoint())
    torch.testing.assert_close(again, result.tpsp)


def test_strong_lateral_inhibition():
    lateral = Neuron(1.0, epsilon=1e-6, lateral=1.0)
    micro = Micro("closed", lateral_factor="code", **PAPER)
    _, out, grads = two_layers(micro, lateral, Macro(torch.tensor([0]), None))
    assert out.counts.tolist() == [[11, 0]]
    torch.testing.assert_close(grads["dW2"][1], torch.tensor([-0.45, -0.45, 0], dtype=F), rtol=0, atol=1e-9)
    expected = torch.tensor([-0.8564237238, -5.2736104607, -3.5], dtype=F)
    torch.testing.assert_close(grads["d_hidden"], expected, rtol=0, atol=1e-9)


def test_weak_lateral_inhibition_and_its_factor():
    lateral = Neuron(1.0, epsilon=1e-6, lateral=0.2)
    macro = Macro(torch.tensor([0]), None)
    micro = Micro("closed", lateral_factor="code", **PAPER)
    _, out, grads = two_layers(micro, lateral, macro)
    assert times(out.spikes) == [[12, 17, 22, 27, 32, 37, 41, 45, 49, 53, 57], [24, 34, 43, 52]]
    gamma = _lateral_factor(out.spikes, out.counts.detach(), lateral, micro, macro)
    torch.testing.assert_close(gamma, torch.full((1, 2), 1.0072407, dtype=F), rtol=0, atol=1e-7)
    expected = torch.tensor([[-34.86509019, -21.41161771, 0], [33.64586082, 20.02262425, 0]], dtype=F)
    torch.testing.assert_close(grads["dW2"], expected, rtol=0, atol=1e-7)
    expected = torch.tensor([-2.31652115, 0.90639626, 0.5], dtype=F)
    torch.testing.assert_close(grads["d_hidden"], expected, rtol=0, atol=1e-7)


def test_a_clamped_lateral_factor_is_at_most_ten():
    out = trains([12, 24, 50], [3, 9, 15, 22, 30, 40], n_steps=60)
    counts, macro = torch.tensor([[3.0, 6.0]], dtype=F), Macro(torch.tensor([0]), None)
    e = pairwise.spsp(out, out, ONE, Adjoint("closed"))[0]
    loop = float(e[0, 1] * e[1, 0]) / (3 * 6)
    for below, clamped in ((-1.0, 10.0), (0.05, 10.0), (0.5, 2.0)):
        lateral = Neuron(1.0, epsilon=1e-6, lateral=((1 - below) / loop) ** 0.5)
        for how, expected in (("code", 1 / below), ("clamped", clamped)):
            micro = Micro("closed", lateral_factor=how)
            gamma = _lateral_factor(out, counts, lateral, micro, macro)
            torch.testing.assert_close(gamma, torch.full((1, 2), expected, dtype=F))


@pytest.mark.parametrize(("n_steps", "desired", "spikes"), [(60, 14, 14), (658, 35, 36), (450, 35, 37)])
def test_silent_target(n_steps, desired, spikes):  # 13.4
    x = trains([], [3], n_steps=n_steps)
    counts = unpack(x, F).sum(1)
    out, new = inject(x, counts, Macro(torch.tensor([0]), n_steps // desired))
    assert new[0].tolist() == [spikes, 1]
    assert times(out) == [list(range(n_steps // desired, n_steps, n_steps // desired)), [3]]
    assert counts[0].tolist() == [0, 1]
    if n_steps == 60:
        hidden, _, _ = two_layers(Micro())
        expected = torch.tensor([5.0497575023, 3.0705203994, 0], dtype=F)
        torch.testing.assert_close(
            e_of(out, hidden.spikes, Adjoint("closed"))[0], expected, rtol=0, atol=1e-9
        )


def test_an_injected_train_takes_the_place_of_silence():
    micro = Micro("closed", **PAPER)
    silent = Neuron(1000.0, epsilon=1e-6)
    _, out, kept = two_layers(micro, silent, Macro(torch.tensor([0]), None))
    assert out.counts.tolist() == [[0, 0]]
    _, _, grads = two_layers(micro, silent, Macro(torch.tensor([0]), 4))
    e = torch.tensor([5.0497575023, 3.0705203994, 0], dtype=F)
    side = float(W2[:, 0] @ e) / (1000 * 14)
    torch.testing.assert_close(grads["dW2"][0], -14 / 1000 * e * (1 + side), rtol=0, atol=1e-10)
    torch.testing.assert_close(grads["dW2"][1], kept["dW2"][1])


def test_regulariser():  # 13.6
    weight = torch.tensor([[2, 1, 0.5], [0.5, 1.5, -1]], dtype=F).T
    expected = [[0.09618409, 0.04809204, 0.02404602], [0.02403726, 0.07211177, -0.04807451]]
    found = regulariser(weight, 10, 0.04, 8)
    torch.testing.assert_close(found.T, torch.tensor(expected, dtype=F), rtol=0, atol=1e-8)


def test_sample_weights():  # 13.6
    boost, batch = Boost(2), Batch(None, torch.tensor([0, 0, 0, 1, 1]), torch.arange(5))
    assert boost.of(batch).tolist() == [1] * 5
    for expected in (1.01680633, 1.03408712):
        boost.note(batch, torch.tensor([False, True, False, False, False]))
        assert boost.grow()["largest_sample_weight"] == pytest.approx(expected, abs=1e-8)
    assert boost.of(batch).tolist() == pytest.approx([1, 1.03408712, 1, 1, 1], abs=1e-7)


def test_a_sample_that_an_epoch_leaves_out_keeps_its_weight():
    boost, labels, rows = Boost(2), torch.tensor([0, 0, 1, 1]), torch.arange(4)
    first = Batch(None, labels, rows)
    assert boost.of(first).tolist() == [1, 1, 1, 1]
    boost.note(first, torch.tensor([True, False, False, False]))
    boost.grow()
    grown = boost.q.clone()
    assert (grown > 1).tolist() == [True, False, False, False]
    boost.note(Batch(None, labels[2:], rows[2:]), torch.tensor([True, False]))
    boost.grow()
    assert (boost.q > grown).tolist() == [False, False, True, False]


@pytest.mark.parametrize("mode", ["closed", "trace"])
def test_scaling_weights_and_threshold_together_changes_nothing_else(mode):
    torch.manual_seed(0)
    x = pack(torch.rand(3, 50, 7) < 0.2)
    weight, micro = torch.randn(7, 5, dtype=F) * 2, Micro(mode, **PAPER)
    found = []
    for scale in (1.0, 8.0):
        counts, w = unpack(x, F).sum(1).requires_grad_(), (weight * scale).requires_grad_()
        out = layer(Dense(7, 5), x, counts, w, Neuron(scale, 16.0, 4.0), micro, "reference")
        (out.counts * torch.linspace(-1, 1, 5, dtype=F)).sum().backward()
        found.append((out.spikes.bits, counts.grad, w.grad * scale))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("mode", ["closed", "trace"])
def test_the_factorised_gradient_is_the_naive_one(mode):
    """Against e itself, pair by pair, for a batch with silent neurons on both sides."""
    torch.manual_seed(1)
    neuron, nu = Neuron(1.5, 20.0, 5.0, 1), 1.5
    dense = torch.rand(4, 60, 9) < 0.08
    dense[:, 0] = False
    dense[:, :, 3] = False
    dense[1, :, 5] = False
    x, how = pack(dense), Adjoint(mode)
    weight = (torch.randn(9, 6, dtype=F)).requires_grad_()
    counts = unpack(x, F).sum(1).requires_grad_()
    out = layer(Dense(9, 6), x, counts, weight, neuron, Micro(how.spsp, how.bin, **PAPER), "reference")
    o, o_in = out.counts.detach(), counts.detach()
    assert (o == 0).any()
    assert (o > 0).any()
    d = torch.randn(4, 6, dtype=F)
    (out.counts * d).sum().backward()

    e, w, delta = pairwise.spsp(out.spikes, x, neuron, how), weight.detach(), d / nu
    d_weight, d_in = torch.zeros_like(w), torch.zeros_like(o_in)
    for b in range(4):
        for i in range(6):
            side = sum((w[j, i] * e[b, i, j] / o[b, i] if o[b, i] else 0.5 * w[j, i]) for j in range(9)) / nu
            for j in range(9):
                e_ij = e[b, i, j] if o[b, i] else 0.1 * float(o_in[b, j] > 0)
                ratio = e[b, i, j] / o_in[b, j] if o[b, i] and o_in[b, j] else 1.0
                d_weight[j, i] += delta[b, i] * e_ij * (1 + side)
                d_in[b, j] += delta[b, i] * w[j, i] * ratio
    torch.testing.assert_close(weight.grad, d_weight, rtol=0, atol=1e-10)
    torch.testing.assert_close(counts.grad, d_in, rtol=0, atol=1e-10)


def test_the_adjoint_is_backpropagation_with_frozen_spikes():
    """R(t) = d a / d I(t) where spike times and resets are held fixed."""
    torch.manual_seed(2)
    neuron = Neuron(1.0, 12.0, 3.0, 2)
    current = (torch.randn(2, 40, 5, dtype=F) * 0.6 + 0.3).requires_grad_()
    out = reference.scan(current.detach(), neuron)
    s = unpack(out.spikes, torch.bool)
    v = x = torch.zeros(2, 5, dtype=F)
    a = torch.zeros((), dtype=F)
    for t in range(1, 40):
        v, x = v * neuron.beta_m, x * neuron.beta_s
        x = x + current[:, t - 1]
        v = v + x / neuron.tau_s
        v = torch.where(s[:, max(0, t - 2) : t].any(1), 0, v)
        a = a + torch.where(s[:, t], v, 0).sum()
        v = torch.where(s[:, t], 0, v)
    (expected,) = torch.autograd.grad(a, current)
    torch.testing.assert_close(
        reference.adjoint(out.spikes, neuron, Adjoint(), F), expected, rtol=0, atol=1e-14
    )


def test_bins_keep_the_direction_of_the_gradient():
    torch.manual_seed(3)
    neuron = Neuron(8.0)
    x = pack(torch.rand(4, 400, 60) < 0.05)
    weight = torch.rand(60, 20, dtype=F) * 2 - 0.8
    out = reference.forward(Dense(60, 20), x, weight, neuron).spikes
    scale = torch.randn(4, 20, dtype=F)
    found = [
        reference.backward(Dense(60, 20), x, weight, out, neuron, Adjoint(bin=h), scale, scale)
        for h in (1, 16)
    ]
    for exact, binned in zip(*found, strict=True):
        assert float(torch.cosine_similarity(exact.flatten(), binned.flatten(), dim=0)) > 0.999
