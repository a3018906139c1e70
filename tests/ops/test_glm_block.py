"""Whole windows of circuits: equal to the per-step rules, to sums over hidden states, and to what hands can compute."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from bitspike.ops.glm import block, circuit, online
from bitspike.ops.glm.block import Filters
from bitspike.ops.glm.online import FLSNNState, Parameters, VOWELState
from bitspike.ops.glm.settings import FLSNNSettings, Signal, VOWELSettings
from bitspike.ops.lif.signals import unpack
from glm_windows import EVERY, LATERAL, LAYERED, RECURRENT, SKIP, VISIBLE, Drawn, draw


def run(drawn: Drawn, draws: int = 1, draw_outputs: bool = False) -> tuple[block.Run, list[Tensor]]:
    """A run in float64, clamped, and the numbers it was drawn by."""
    topology, inputs = drawn.topology, unpack(drawn.spikes, torch.float64)
    n_steps = inputs.shape[1]
    uniforms = [
        block.uniforms(topology, drawn.keys, group, n_steps, draws).double()
        for group in range(1, topology.output + 1)
    ]
    filters = Filters.of(drawn.table, drawn.feedback_table, n_steps)
    clamped = None if draw_outputs else drawn.wanted.repeat(draws, 1, 1)
    many = inputs.repeat(draws, 1, 1)
    return block.run(topology, drawn.parameters, filters, many, uniforms, clamped), uniforms


def steps(drawn: Drawn, uniforms: list[Tensor], draw_outputs: bool = False) -> list[online.Step]:
    """The same by `online.step`, weights held."""
    topology, inputs = drawn.topology, unpack(drawn.spikes, torch.float64)
    own = drawn.feedback_table
    length = max(drawn.table.shape[1], 0 if own is None else own.shape[1])
    history = online.silence(topology, len(inputs), length, inputs)
    made = []
    for t in range(inputs.shape[1]):
        clamped = None if draw_outputs else drawn.wanted[:, t]
        given = [inputs[:, t], *[None] * (topology.output - 1), clamped]
        one = online.step(
            topology, drawn.parameters, [None] * len(topology.connections), drawn.table, own, history, given,
            [None, *(part[:, t] for part in uniforms)], silence=0.7,
        )  # fmt: skip
        history = online.remember(history, one.spikes)
        made.append(one)
    return made


@pytest.mark.parametrize("draw_outputs", [False, True])
@pytest.mark.parametrize("kind", EVERY.values(), ids=EVERY.keys())
def test_a_window_is_its_steps(kind, draw_outputs: bool) -> None:
    drawn = draw(kind, dtype=torch.float64)
    made, uniforms = run(drawn, draw_outputs=draw_outputs)
    for t, one in enumerate(steps(drawn, uniforms, draw_outputs)):
        for spikes, chance, found, error in zip(
            made.spikes, made.chances, one.spikes[1:], one.gradients.biases, strict=True
        ):
            torch.testing.assert_close(found, spikes[:, t].flatten(1), rtol=0, atol=0)
            torch.testing.assert_close(error, (spikes - chance.p)[:, t].flatten(1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("mean_field", [False, True])
@pytest.mark.parametrize("name", ["layered", "skip", "deep", "visible"])
def test_a_loop_over_time_changes_nothing(name: str, mean_field: bool) -> None:
    drawn = draw(EVERY[name], dtype=torch.float64)
    inputs = unpack(drawn.spikes, torch.float64)
    uniforms = [
        block.uniforms(drawn.topology, drawn.keys, group, inputs.shape[1], 1).double()
        for group in range(1, drawn.topology.output + 1)
    ]
    filters = Filters.of(drawn.table, None, inputs.shape[1])
    plain = block.run(drawn.topology, drawn.parameters, filters, inputs, uniforms, None, mean_field)
    silent = Parameters(
        drawn.parameters.weights,
        drawn.parameters.biases,
        [b.new_zeros(1, len(b)) for b in drawn.parameters.biases],
    )
    looped = Filters.of(drawn.table, drawn.table[:1], inputs.shape[1])
    loop = block.run(drawn.topology, silent, looped, inputs, uniforms, None, mean_field)
    for a, b in zip(plain.spikes, loop.spikes, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert mean_field or all(0 < float(s.mean()) < 1 for s in plain.spikes)


def held(drawn: Drawn, made: list[online.Step], settings: FLSNNSettings | VOWELSettings) -> Parameters:
    """What a per-step rule adds up to under constant weights and lr 1, all streams together."""
    zeros = drawn.parameters.map(torch.zeros_like)
    streams = len(drawn.keys)
    if isinstance(settings, VOWELSettings):
        state = VOWELState.start(zeros, streams)
        for one in made:
            online.vowel(drawn.topology, zeros, state, one, settings)
    else:
        other = FLSNNState.start(zeros, streams, settings)
        for one in made:
            online.fl_snn(drawn.topology, zeros, other, one, settings)
    return zeros.map(lambda total: total * streams)


def weighted(drawn: Drawn, made: block.Run, hidden: Tensor, output: Tensor) -> Parameters:
    """Sums of errors times weights `(batch, n_steps)` of hidden circuits and `(n_steps,)` of outputs."""
    errors = [(s - c.p).flatten(2) for s, c in zip(made.spikes, made.chances, strict=True)]
    g = [*(e * hidden[..., None] for e in errors[:-1]), errors[-1] * output[:, None]]
    inputs = unpack(drawn.spikes, torch.float64)
    filters = Filters.of(drawn.table, drawn.feedback_table, inputs.shape[1])
    return block.gradients(drawn.topology, inputs, made, filters, g, 1)


def close(found: Parameters, wanted: Parameters, atol: float = 1e-9) -> None:
    for a, b in zip(found.all(), wanted.all(), strict=True):
        assert float(b.abs().max()) > 0.01
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


KAPPA = 0.3
RULES = {"layered": LAYERED, "skip": SKIP, "lateral": LATERAL, "recurrent": RECURRENT}


def reach(n_steps: int) -> Tensor:
    """(1 - kappa) (1 + kappa + ...) from every step to the last: what a filter makes of 1 in all steps that follow."""
    return 1 - KAPPA ** torch.arange(n_steps, 0, -1).double()


@pytest.mark.parametrize("kind", RULES.values(), ids=RULES.keys())
def test_fl_snn_is_a_weighted_sum_in_the_limit_of_small_steps(kind) -> None:
    """Weight on hidden circuits: (1 - kappa) sum over s >= t of kappa^(s - t) ell(s); on outputs 1 but at the end."""
    drawn = draw(kind, dtype=torch.float64)
    made, uniforms = run(drawn)
    each = steps(drawn, uniforms)
    ell, signal = [], torch.zeros(4, dtype=torch.float64)
    for one in each:
        signal = KAPPA * signal + (1 - KAPPA) * (one.log_output - 0.4 * one.divergence)
        ell.append(signal)
    hidden = (1 - KAPPA) * block.later(torch.stack(ell, 1), KAPPA, same_step=True)
    close(
        held(drawn, each, FLSNNSettings(lr=1.0, kappa=KAPPA, alpha=0.4)),
        weighted(drawn, made, hidden, reach(len(each))),
    )


@pytest.mark.parametrize("kind", RULES.values(), ids=RULES.keys())
def test_vowel_is_a_weighted_sum_in_the_limit_of_small_steps(kind) -> None:
    """Without baseline: (1 - kappa) sum over s >= t of kappa^(s - t) R(s); less at the end, where y still rises."""
    drawn = draw(kind, dtype=torch.float64)
    made, uniforms = run(drawn)
    each = steps(drawn, uniforms)
    reward = torch.stack([one.log_output - 0.4 * one.divergence for one in each], 1)
    hidden = (1 - KAPPA) * block.later(reward * reach(len(each)), KAPPA, same_step=True)
    settings = VOWELSettings(lr=1.0, kappa=KAPPA, gamma=0.4, baseline=False)
    close(held(drawn, each, settings), weighted(drawn, made, hidden, reach(len(each))))


@pytest.mark.parametrize("kind", RULES.values(), ids=RULES.keys())
def test_without_memory_the_rules_are_the_scalar_signal_of_the_same_step(kind) -> None:
    drawn = draw(kind, dtype=torch.float64)
    _, uniforms = run(drawn)
    each = steps(drawn, uniforms)
    *first, feedback, mean = drawn
    signal = Signal("scalar", lam=0.0, alpha=0.4, same_step=True)
    wanted = block.learn(*first, signal, feedback, mean)
    close(held(drawn, each, FLSNNSettings(lr=1.0, kappa=0.0, alpha=0.4)), wanted.gradients)
    close(held(drawn, each, VOWELSettings(lr=1.0, kappa=0.0, gamma=0.4, baseline=False)), wanted.gradients)
    total = sum(float(one.log_output.sum()) for one in each)
    assert float(wanted.log_likelihood) == pytest.approx(total, abs=1e-9)


def test_small_steps_come_near_the_sum() -> None:
    drawn = draw(SKIP, dtype=torch.float64)
    _, uniforms = run(drawn)
    settings = FLSNNSettings(lr=1.0, kappa=KAPPA, alpha=0.4)
    limit = held(drawn, steps(drawn, uniforms), settings)
    gaps = []
    for lr in (1e-3, 1e-4):
        moved = drawn._replace(parameters=drawn.parameters.map(torch.clone))
        state = FLSNNState.start(moved.parameters, 4, settings)
        inputs, topology = unpack(drawn.spikes, torch.float64), drawn.topology
        history = online.silence(topology, 4, drawn.table.shape[1], inputs)
        for t in range(inputs.shape[1]):
            one = online.step(
                topology, moved.parameters, [None] * 3, drawn.table, None, history,
                [inputs[:, t], None, drawn.wanted[:, t]], [None, *(part[:, t] for part in uniforms)], silence=0.7,
            )  # fmt: skip
            history = online.remember(history, one.spikes)
            online.fl_snn(
                topology, moved.parameters, state, one, FLSNNSettings(lr=lr, kappa=KAPPA, alpha=0.4)
            )
        change = [
            (a - b) / lr * 4 for a, b in zip(moved.parameters.all(), drawn.parameters.all(), strict=True)
        ]
        gaps.append(max(float((a - b).abs().max()) for a, b in zip(change, limit.all(), strict=True)))
    assert gaps[1] < 0.2 * gaps[0]
    assert gaps[1] < 0.05


TINY = [(3, 1), (2, 1), (2, 2)], ((0, 1), (0, 2), (1, 2)), False
TINY_RECURRENT = [(3, 1), (2, 1), (2, 1)], ((0, 1), (1, 1), (0, 2), (1, 2), (2, 2)), True


@pytest.mark.parametrize("alpha", [0.0, 0.4])
@pytest.mark.parametrize("kind", [TINY, TINY_RECURRENT], ids=["layered", "recurrent"])
def test_scalar_gradients_are_those_of_the_expectation(kind, alpha: float) -> None:
    """Mean over all 2^8 states of two hidden neurons in four steps = the gradient of the mean, lam = 1."""
    drawn = draw(kind, filters=2, length=3, n_steps=4, batch=1, rate=0.6, dtype=torch.float64)
    topology, inputs = drawn.topology, unpack(drawn.spikes, torch.float64)
    states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=8)), dtype=torch.float64).reshape(
        -1, 4, 2
    )
    n = len(states)
    filters, many = Filters.of(drawn.table, drawn.feedback_table, 4), inputs.repeat(n, 1, 1)
    uniforms = [1 - states, inputs.new_zeros(n, 4, 2)]  # number 0 always emits, 1 never

    def expectation() -> tuple[float, Tensor, block.Run]:
        made = block.run(topology, drawn.parameters, filters, many, uniforms, drawn.wanted.repeat(n, 1, 1))
        chance = circuit.log_likelihood(made.chances[0], made.spikes[0]).sum((1, 2)).exp()
        out = circuit.log_likelihood(made.chances[1], made.spikes[1]).sum((1, 2))
        cost = circuit.divergence(made.chances[0], made.spikes[0], 0.7).sum((1, 2))
        return float((chance * (out - alpha * cost)).sum()), chance, made

    _, chance, made = expectation()
    torch.testing.assert_close(made.spikes[0].flatten(2), states, rtol=0, atol=0)
    assert float(chance.sum()) == pytest.approx(1, abs=1e-12)
    signal = Signal("scalar", lam=1.0, alpha=alpha)
    weight = block.weigh(block.rewards(topology, made, signal), signal, None)
    g = [part * chance[:, None, None] for part in block.errors(topology, made, filters, signal, weight, [])]
    found = block.gradients(topology, many, made, filters, g, 1)
    for parameter, gradient in zip(drawn.parameters.all(), found.all(), strict=True):
        assert float(gradient.abs().max()) > 1e-3
        values = parameter.view(-1)
        for index, slope in enumerate(gradient.flatten().tolist()):
            before = float(values[index])
            ends = []
            for shift in (1e-4, -1e-4):
                values[index] = before + shift
                ends.append(expectation()[0])
            values[index] = before
            assert slope == pytest.approx((ends[0] - ends[1]) / 2e-4, abs=1e-7)


def test_vector_gradients_go_through_the_own_chance() -> None:
    """With the output's weights as B: those of ln p where a hidden spike counts as its chance, alpha KL taken off."""
    drawn = draw(SKIP, dtype=torch.float64)
    topology, inputs = drawn.topology, unpack(drawn.spikes, torch.float64)
    made, _ = run(drawn)
    filters = Filters.of(drawn.table, None, inputs.shape[1])
    u = drawn.parameters.biases[0] + block.drive(inputs, drawn.parameters.weights[0], filters.synapses)
    u.requires_grad_()
    chance = circuit.chances(u, 3)
    spikes = made.spikes[0] + chance.p - chance.p.detach()
    above = drawn.parameters.biases[1] + block.drive(inputs, drawn.parameters.weights[1], filters.synapses)
    above = above + block.drive(spikes.flatten(2), drawn.parameters.weights[2], filters.synapses)
    out = circuit.log_likelihood(circuit.chances(above, 2), drawn.wanted.reshape(4, 9, 2, 3)).sum()
    p, silent = chance.p, chance.log_silent.exp()
    kl = (p * (p.log() - math.log(0.1))).sum(-2) + silent * (silent.log() - math.log(0.7))
    (out - 0.3 * kl.sum()).backward()
    assert u.grad is not None
    weight = drawn.parameters.weights[2]
    g = block.errors(
        topology, made, filters, Signal("vector", alpha=0.3), None, [[weight[:, k].T for k in range(3)]]
    )
    torch.testing.assert_close(g[0], u.grad, rtol=0, atol=1e-10)


def test_one_value_is_a_logistic_regression_on_traces() -> None:
    drawn = draw(VISIBLE, dtype=torch.float64)
    inputs = unpack(drawn.spikes, torch.float64)
    traces = torch.zeros(4, 9, 5, 3, dtype=torch.float64)
    for t in range(9):
        for d in range(min(4, t)):
            traces[:, t] += inputs[:, t - 1 - d, :, None] * drawn.table[:, d]
    weight, bias = drawn.parameters.weights[0], drawn.parameters.biases[0]
    u = torch.einsum("btrk,rkq->btq", traces, weight) + bias
    error = drawn.wanted - torch.sigmoid(u)
    found = block.learn(*drawn[:-2], Signal("vector"), [], drawn.mean)
    torch.testing.assert_close(found.gradients.weights[0], torch.einsum("btrk,btq->rkq", traces, error))
    torch.testing.assert_close(found.gradients.biases[0], error.sum((0, 1)))
    torch.testing.assert_close(found.scores, torch.sigmoid(u).sum(1))
    likelihood = -torch.nn.functional.binary_cross_entropy_with_logits(u, drawn.wanted, reduction="sum")
    torch.testing.assert_close(found.log_likelihood, likelihood)


def test_later_by_hand() -> None:
    values = torch.tensor([1.0, 2.0, 4.0])
    torch.testing.assert_close(block.later(values, 0.5, False), torch.tensor([4.0, 4.0, 0.0]))
    torch.testing.assert_close(block.later(values, 0.5, True), torch.tensor([3.0, 4.0, 4.0]))
    torch.testing.assert_close(block.later(values, 0.0, True), values)


def test_baselines_and_importance_by_hand() -> None:
    reward = torch.tensor([[[1.0, 0.0]], [[2.0, 3.0]], [[6.0, 0.0]]])
    others = torch.tensor([[[4.0, 1.5]], [[3.5, 0.0]], [[1.5, 1.5]]])
    found = block.weigh(reward, Signal("scalar", 3, "leave-one-out"), None)
    torch.testing.assert_close(found, reward - others)
    mean = torch.tensor([1.0, 2.0])
    torch.testing.assert_close(block.weigh(reward, Signal("scalar", 3, "mean"), mean), reward - mean)
    torch.testing.assert_close(block.weigh(reward, Signal("scalar", 3), mean), reward)
    share = math.exp(6) / (math.exp(1) + math.exp(2) + math.exp(6))
    assert float(block.weigh(reward, Signal("importance", 3), mean)[2, 0, 0]) == pytest.approx(3 * share - 1)


def test_draws_are_means_and_their_numbers_differ() -> None:
    drawn = draw(SKIP, dtype=torch.float64)
    first, second = (
        block.uniforms(drawn.topology, drawn.keys, 1, 9, 2)[part] for part in (slice(4), slice(4, 8))
    )
    assert not torch.equal(first, second)
    torch.testing.assert_close(first, block.uniforms(drawn.topology, drawn.keys, 1, 9, 1), rtol=0, atol=0)
    made, _ = run(drawn, draws=2)
    both = block.learn(*drawn[:-2], Signal("vector", draws=2), drawn.feedback, drawn.mean)
    likelihood = circuit.log_likelihood(made.chances[-1], made.spikes[-1]).sum() / 2
    torch.testing.assert_close(both.log_likelihood, likelihood)
    torch.testing.assert_close(both.scores, made.chances[-1].p.sum((1, 2)).reshape(2, 4, 3).mean(0))
    assert both.rates[0] == pytest.approx(float(made.spikes[0].sum(2).mean()))
