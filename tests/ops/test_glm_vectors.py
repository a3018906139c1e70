"""The test vectors of the FL-SNN and VOWEL specifications, in float64."""

import numpy as np
import pytest
import torch

from bitspike.ops.glm import circuit, online
from bitspike.ops.glm.online import FLSNNState, Parameters, VOWELState
from bitspike.ops.glm.settings import FLSNNSettings, VOWELSettings
from bitspike.ops.glm.topology import Group, Topology
from bitspike.settings.basis import RaisedCosine


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


def close(found, wanted, atol=1e-7):
    torch.testing.assert_close(torch.as_tensor(found, dtype=torch.float64), f64(wanted), rtol=0, atol=atol)


FIXED = {
    0: {0: 1.0},
    1: {0: 0.5, 1: 0.43776856},
    2: {1: 0.99611213, 2: 0.27592292},
    3: {1: 0.56223144, 2: 0.94697815, 3: 0.37650491, 4: 0.01807245},
    4: {1: 0.00388787, 2: 0.72407708, 3: 0.98450899, 4: 0.63321351, 5: 0.22203310, 6: 0.01615479},
    5: dict(zip(range(2, 10), (0.05302185, 0.62349509, 0.98192755, 0.91561328, 0.62607065, 0.31716179, 0.09936977,
                               0.00523966), strict=True)),
    6: dict(zip(range(3, 10), (0.01549101, 0.36678649, 0.77796690, 0.98384521, 0.96537102, 0.79915785, 0.57219559),
                strict=True)),
    7: dict(zip(range(5, 10), (0.08438672, 0.37392935, 0.68283821, 0.90063023, 0.99476034), strict=True)),
}  # fmt: skip


def test_f1_fixed_basis():
    table = RaisedCosine(8, 10, "fixed").table()
    wanted = np.zeros((8, 10))
    for k, row in FIXED.items():
        for t, value in row.items():
            wanted[k, t] = value
    np.testing.assert_allclose(table, wanted, rtol=0, atol=1e-8)


def test_f1_spread_basis():
    np.testing.assert_allclose(
        RaisedCosine(2, 5).table(),
        [[1, 0.85355339, 0.70397556, 0.58934986, 0.5], [0.5, 0.85355339, 0.95650189, 0.99195183, 1]],
        rtol=0, atol=1e-8,
    )  # fmt: skip
    row = RaisedCosine(8, 10).table()[5]
    wanted = [0, 0, 0.06956854, 0.66523903, 0.99292668, 0.88169918, 0.56602642, 0.25800217, 0.06196114, 0]
    np.testing.assert_allclose(row, wanted, rtol=0, atol=1e-8)


# F2: h <- x, o and o <- x, h; connections by target, then source: 0-1, 2-1, 0-2, 1-2.
ONE = Topology((Group(1), Group(1), Group(1)), ((0, 1), (2, 1), (0, 2), (1, 2)))
E3 = torch.exp(-torch.arange(3, dtype=torch.float64) / 2)[None]
SPIKES_X, SPIKES_H, SPIKES_O = (1, 0, 1, 1), (0, 1, 1, 0), (0, 1, 0, 1)


def start_f2():
    return Parameters(
        [f64([[[0.5]]]), f64([[[-0.4]]]), f64([[[0.3]]]), f64([[[0.8]]])],
        [f64([0.1]), f64([-0.3])],
        [f64([[-0.2]]), f64([[-0.1]])],
    )


def run_f2(settings):
    parameters = start_f2()
    state = FLSNNState.start(parameters, 1, settings)
    history = online.silence(ONE, 1, 3, E3)
    trail = []
    for x, h, o in zip(SPIKES_X, SPIKES_H, SPIKES_O, strict=True):
        given = [f64([[x]]), f64([[h]]), f64([[o]])]
        u, _, _ = online.potentials(ONE, parameters, E3, E3, history)
        made = online.step(ONE, parameters, [None] * 4, E3, E3, history, given, [None] * 3, silence=0.7)
        online.fl_snn(ONE, parameters, state, made, settings)
        history = online.remember(history, made.spikes)
        trail.append((float(u[0]), float(u[1]), made, float(state.signal), parameters.map(torch.clone)))
    return trail, state


def in_order(p):
    """w_hx, w_ho, v_h, th_h | w_ox, w_oh, v_o, th_o."""
    hx, ho, ox, oh = p.weights
    return torch.stack(
        [t.reshape(()) for t in (hx, ho, p.feedback[0], p.biases[0], ox, oh, p.feedback[1], p.biases[1])]
    )


F2 = [
    # u_h, u_o, d_h, d_o, log p_o, KL_h, ell
    (0.1, -0.3, -0.52497919, -0.42555748, -0.55435524, -0.38772172, -0.13330682),
    (0.60279933, -0.01702230, 0.35370351, 0.50425547, -0.70169455, 0.76747588, -1.20199771),
    (-0.21620786, 0.59393651, 0.55384239, -0.64426785, -1.03357723, 0.39688981, -1.38477317),
    (0.05546350, 1.26695658, -0.51386232, 0.21977868, -0.24817766, -0.36458846, -0.18382599),
]
F2_PARAMETERS = [
    (0.5, -0.4, -0.2, 0.10279933, 0.3, 0.8, -0.1, -0.31702230),
    (0.48299397, -0.4, -0.2, 0.09084149, 0.32017022, 0.8, -0.1, -0.30025654),
    (0.46046852, -0.43067784, -0.23067784, 0.05740842, 0.30857353, 0.77422929, -0.12577071, -0.32267410),
    (0.46503894, -0.42920058, -0.22542213, 0.06029923, 0.31827943, 0.78319839, -0.12559276, -0.31836647),
]


def test_f2_the_online_rule_step_by_step():
    trail, state = run_f2(FLSNNSettings(lr=0.05))
    for (u_h, u_o, made, ell, parameters), wanted, after in zip(trail, F2, F2_PARAMETERS, strict=True):
        errors = made.gradients.biases
        close([u_h, u_o, float(errors[0]), float(errors[1]), float(made.log_output), float(made.divergence), ell],
              wanted)  # fmt: skip
        close(in_order(parameters), after)
    e = Parameters([t[0] for t in state.trace.weights], [t[0] for t in state.trace.biases],
                   [t[0] for t in state.trace.feedback])  # fmt: skip
    close(
        in_order(e),
        [-0.49725527, -0.16072382, -0.57181368, -0.31451643, 0.19411785, 0.17938209, 0.00355915, 0.08615269],
    )


def test_f2b_blocks_of_two_steps():
    trail, _ = run_f2(FLSNNSettings(lr=0.05, steps=2))
    close([trail[1][3], trail[3][3]], [-1.30101245, -1.24088564])
    close(
        in_order(trail[3][4]),
        [0.49888928, -0.41069907, -0.18336265, 0.11063084, 0.31948012, 0.78727037, -0.12086503, -0.31409076],
    )


def test_f2c_with_the_control_variate():
    trail, _ = run_f2(FLSNNSettings(lr=0.05, beta=0.05))
    plain, _ = run_f2(FLSNNSettings(lr=0.05))
    parameters = in_order(trail[3][4])
    close(parameters[:4], [0.49926136, -0.40263089, -0.20096372, 0.09603082])
    assert trail[3][3] == pytest.approx(-0.11596532, abs=1e-7)
    close(parameters[4:], in_order(plain[3][4])[4:].tolist(), atol=1e-12)


def test_gradients_are_those_of_the_log_probability():
    """d ln p_o / d w_oh at the last step of F2 with the initial weights."""
    parameters = start_f2()
    history = online.silence(ONE, 1, 3, E3)
    for x, h, o in zip(SPIKES_X, SPIKES_H, SPIKES_O, strict=True):
        given = [f64([[x]]), f64([[h]]), f64([[o]])]
        made = online.step(ONE, parameters, [None] * 4, E3, E3, history, given, [None] * 3, silence=0.7)
        before, history = history, online.remember(history, made.spikes)
    assert float(made.gradients.weights[3]) == pytest.approx(0.33471132, abs=1e-7)
    for tensor, gradient in zip(parameters.all(), made.gradients.all(), strict=True):
        values = []
        for shift in (1e-6, -2e-6, 1e-6):
            tensor += shift
            again = online.step(ONE, parameters, [None] * 4, E3, E3, before, given, [None] * 3, silence=0.7)
            values.append(float(again.log_output + again.divergence))
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(float(gradient), abs=1e-7)


# V1: C = 2; h <- x, o <- x, h.
TWO = Topology((Group(1, 2), Group(1, 2), Group(1, 2)), ((0, 1), (0, 2), (1, 2)))
E2 = torch.exp(-torch.arange(2, dtype=torch.float64))[None]


def start_v1():
    """Rows of a weight are pre values, columns post values: the specification's, transposed."""
    return Parameters(
        [f64([[0.4, -0.2], [0.1, 0.3]]).T[:, None], f64([[0.2, 0.1], [-0.3, 0.4]]).T[:, None],
         f64([[0.5, -0.4], [0.2, 0.6]]).T[:, None]],
        [f64([0.05, -0.05]), f64([-0.1, 0.2])],
        [f64([[-0.1, -0.2]]), f64([[-0.15, -0.25]])],
    )  # fmt: skip


def emitted(value):
    return f64([[float(value == 1), float(value == 2)]])


def test_v1_winner_take_all_circuits():
    parameters, settings = start_v1(), VOWELSettings(lr=0.05)
    state = VOWELState.start(parameters, 1)
    history = online.silence(TWO, 1, 2, E2)
    rewards, hidden, outputs, u_hidden = [], [], [], []
    for x, h, o in ((1, 2, 0), (0, 1, 1), (2, 0, 1)):
        given = [emitted(x), emitted(h), emitted(o)]
        u, _, _ = online.potentials(TWO, parameters, E2, E2, history)
        made = online.step(TWO, parameters, [None] * 3, E2, E2, history, given, [None] * 3, silence=0.8)
        online.vowel(TWO, parameters, state, made, settings)
        history = online.remember(history, made.spikes)
        rewards.append(float(made.log_output - made.divergence))
        u_hidden.append(u[0][0].tolist())
        hidden.append(parameters.biases[0].tolist())
        outputs.append(parameters.biases[1].tolist())
    close(rewards, [-2.29297071, -3.04247280, -0.24206811])
    close(u_hidden, [[0.05, -0.05], [0.45000003, -0.15000002], [0.09684902, -0.08503007]])
    close(hidden, [[0.05000003, -0.05000002], [0.04969725, -0.04824217], [0.04637203, -0.04829711]])
    close(outputs, [[-0.11157732, 0.18437225], [-0.08262237, 0.16189719], [-0.04982734, 0.14086098]])
    hx, ox, oh = (w[:, 0].T for w in parameters.weights)
    close(hx, [[0.39779840, -0.2], [0.09844485, 0.3]])
    close(ox, [[0.24745873, 0.1], [-0.32930457, 0.4]])
    close(oh, [[0.52700404, -0.35254127], [0.18345880, 0.57069543]])
    close(parameters.feedback[0], [[-0.1, -0.20155515]])
    close(parameters.feedback[1], [[-0.12299596, -0.25]])
    close(state.product.biases[0][0], [-0.06650443, -0.00109874])
    close(state.trace.biases[0][0], [-0.21620476, -0.26159191])


def test_v2_one_value_is_the_logistic_function():
    chance = circuit.chances(f64([0.7]), 1)
    close([float(chance.log_silent.exp()), float(chance.p)], [0.33181223, 0.66818777])


def test_v3_three_values():
    chance = circuit.chances(f64([0.3, -1.1, 0.8]), 3)
    spikes = f64([[0], [1], [0]])
    close(chance.log_silent.exp(), [0.20373774])
    close(chance.p[:, 0], [0.27501718, 0.06781840, 0.45342668])
    close((spikes - chance.p)[:, 0], [-0.27501718, 0.93218160, -0.45342668])
    close(circuit.log_likelihood(chance, spikes), [-2.69092170])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chances_sum_to_one_far_out(dtype):
    u = torch.tensor([[1000.0, 999.0, -1000.0], [-1000.0] * 3, [500.0, -3.0, 500.0], [0.0] * 3], dtype=dtype)
    chance = circuit.chances(u, 3)
    total = chance.p[..., 0].sum(-1) + chance.log_silent.exp()[..., 0]
    torch.testing.assert_close(total, torch.ones_like(total))
    assert chance.p[0, 0, 0] > chance.p[0, 1, 0] > chance.p[0, 2, 0]
