"""The published rules, one update per step, in plain PyTorch: FL-SNN's and VOWEL's, of parallel streams.

Parameters: weights `(source rows, K, target rows)` of connections, biases `(rows,)` and, where circuits hear
themselves, feedback `(K_b, rows)` of every group but the input. Gradients and what rules carry begin with the streams.
FL-SNN specification, (1) to (11); VOWEL specification, (1) to (10).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from bitspike.ops.glm import circuit
from bitspike.ops.glm.chance import emit
from bitspike.ops.glm.settings import FLSNNSettings, VOWELSettings
from bitspike.ops.glm.topology import Topology


@dataclass
class Parameters:
    """A value per synapse, circuit value and filter; masks: 0 where a synapse is missing, None: all are there."""

    weights: list[Tensor]
    biases: list[Tensor]
    feedback: list[Tensor] = field(default_factory=list)

    def all(self) -> list[Tensor]:
        """Weights, biases, feedback."""
        return [*self.weights, *self.biases, *self.feedback]

    def map(self, change: Callable[[Tensor], Tensor]) -> Parameters:
        """The same with every tensor changed."""
        return Parameters(
            [change(t) for t in self.weights],
            [change(t) for t in self.biases],
            [change(t) for t in self.feedback],
        )

    def targets(self, topology: Topology) -> list[int]:
        """The group that each tensor of `all` belongs to."""
        learned = range(1, len(topology.groups))
        ends = [target for _, target in topology.connections]
        return [*ends, *learned, *(learned if self.feedback else ())]


class Step(NamedTuple):
    """What one step did: every group's spikes, rewards per stream, and gradients of ln p."""

    spikes: list[Tensor]
    log_output: Tensor
    divergence: Tensor
    gradients: Parameters


History = list[Tensor]  # per group: spikes of the last steps, newest first, (streams, length, rows)


def silence(topology: Topology, streams: int, length: int, like: Tensor) -> History:
    """The history of streams in which nothing has happened."""
    return [like.new_zeros(streams, length, group.rows) for group in topology.groups]


def remember(history: History, spikes: Sequence[Tensor]) -> History:
    """The history one step later."""
    return [torch.cat([new[:, None], old[:, :-1]], 1) for old, new in zip(history, spikes, strict=True)]


def potentials(
    topology: Topology, parameters: Parameters, table: Tensor, feedback: Tensor | None, history: History
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """u of every group but the input, equation (2), the traces (1) of all groups, and those of own feedback."""
    length = table.shape[1]
    traces = [torch.einsum("kd,sdr->srk", table, spikes[:, :length]) for spikes in history]
    own = []
    if feedback is not None:
        own = [torch.einsum("kd,sdr->skr", feedback, h[:, : feedback.shape[1]]) for h in history[1:]]
    found = []
    for target in range(1, len(topology.groups)):
        u = parameters.biases[target - 1].expand(len(history[0]), -1)
        for index in topology.into(target):
            source = topology.connections[index][0]
            u = u + torch.einsum("srk,rkq->sq", traces[source], parameters.weights[index])
        if own:
            u = u + (own[target - 1] * parameters.feedback[target - 1]).sum(1)
        found.append(u)
    return found, traces, own


def step(
    topology: Topology,
    parameters: Parameters,
    masks: Sequence[Tensor | None],
    table: Tensor,
    feedback: Tensor | None,
    history: History,
    given: Sequence[Tensor | None],
    uniforms: Sequence[Tensor | None],
    silence: float,
) -> Step:
    """One step of all groups: `given` spikes (streams, rows) are clamped, others drawn by `uniforms` (streams, n).

    `silence`: of the reference distribution of hidden circuits. Gradients are those of ln p of what was emitted,
    D_c x and D_c = s_c - p_c (4).
    """
    first = given[0]
    assert first is not None
    u, traces, own = potentials(topology, parameters, table, feedback, history)
    spikes, errors = [first], []
    log_output = divergence = first.new_zeros(len(first))
    for group in range(1, len(topology.groups)):
        values = topology.groups[group].values
        chance = circuit.chances(u[group - 1], values)
        clamped, uniform = given[group], uniforms[group]
        if clamped is None:
            assert uniform is not None
            emitted = emit(chance.p, uniform)
        else:
            emitted = clamped.reshape(len(clamped), values, -1)
        if group == topology.output:
            log_output = circuit.log_likelihood(chance, emitted).sum(-1)
        else:
            divergence = divergence + circuit.divergence(chance, emitted, silence).sum(-1)
        spikes.append(emitted.flatten(-2))
        errors.append((emitted - chance.p).flatten(-2))
    gradients = Parameters([], errors, [])
    for (source, target), mask in zip(topology.connections, masks, strict=True):
        g = traces[source][..., None] * errors[target - 1][:, None, None]
        gradients.weights.append(g if mask is None else g * mask)
    gradients.feedback = [trace * error[:, None] for trace, error in zip(own, errors, strict=False)]
    return Step(spikes, log_output, divergence, gradients)


@dataclass
class FLSNNState:
    """What the rule carries per stream: ell, e, sums over the block so far, and N, Dn of the control variate."""

    signal: Tensor
    trace: Parameters
    reward: Tensor
    sums: Parameters
    count: Tensor
    top: Parameters | None = None
    bottom: Parameters | None = None

    @staticmethod
    def start(parameters: Parameters, streams: int, settings: FLSNNSettings) -> FLSNNState:
        """Zeros."""

        def zeros() -> Parameters:
            return parameters.map(lambda t: t.new_zeros(streams, *t.shape))

        signal = parameters.biases[0].new_zeros(streams)
        more = (zeros(), zeros()) if settings.beta is not None else (None, None)
        return FLSNNState(signal, zeros(), signal.clone(), zeros(), torch.tensor(0), *more)


def fl_snn(
    topology: Topology, parameters: Parameters, state: FLSNNState, made: Step, settings: FLSNNSettings
) -> None:
    """One step of (6) to (10), or (11), in place; the parameters move when a block of steps is full."""
    per_output, per_hidden = settings.divisors(topology)
    state.reward = state.reward + made.log_output / per_output - settings.alpha * made.divergence / per_hidden
    for total, gradient in zip(state.sums.all(), made.gradients.all(), strict=True):
        total += gradient
    state.count += 1
    if state.count < settings.steps:
        return
    kappa = settings.kappa
    state.signal.mul_(kappa).add_(state.reward, alpha=1 - kappa)
    for index, (parameter, target) in enumerate(
        zip(parameters.all(), parameters.targets(topology), strict=True)
    ):
        e, total = state.trace.all()[index], state.sums.all()[index]
        e.mul_(kappa).add_(total, alpha=1 - kappa)
        total.zero_()
        change = e
        if target != topology.output:
            ell = _beside(state.signal, e)
            if state.top is not None and state.bottom is not None and settings.beta is not None:
                base = _baseline(state.top.all()[index], state.bottom.all()[index], e, ell, settings.beta)
                ell = ell - base
            change = ell * e
        parameter.add_(change.mean(0), alpha=settings.lr)
    state.reward.zero_()
    state.count.zero_()


@dataclass
class VOWELState:
    """What the rule carries per stream: e, N, Dn and y."""

    trace: Parameters
    top: Parameters
    bottom: Parameters
    product: Parameters

    @staticmethod
    def start(parameters: Parameters, streams: int) -> VOWELState:
        """Zeros."""
        return VOWELState(*(parameters.map(lambda t: t.new_zeros(streams, *t.shape)) for _ in range(4)))


def vowel(
    topology: Topology, parameters: Parameters, state: VOWELState, made: Step, settings: VOWELSettings
) -> None:
    """One step of (5) to (10), in place."""
    reward, kappa = made.log_output - settings.gamma * made.divergence, settings.kappa
    for index, (parameter, target, gradient) in enumerate(
        zip(parameters.all(), parameters.targets(topology), made.gradients.all(), strict=True)
    ):
        e = state.trace.all()[index]
        e.mul_(kappa).add_(gradient, alpha=1 - kappa)
        change = e
        if target != topology.output:
            r = _beside(reward, e)
            base = _baseline(state.top.all()[index], state.bottom.all()[index], e, r, settings.beta)
            y = e if settings.aliased else state.product.all()[index]
            y.copy_(kappa * y + (1 - kappa) * (r - base if settings.baseline else r) * e)
            change = y
        parameter.add_(change.mean(0), alpha=settings.lr)


def _beside(streams: Tensor, e: Tensor) -> Tensor:
    """One number per stream, against a tensor of every stream."""
    return streams.reshape(-1, *(1,) * (e.ndim - 1))


def _baseline(top: Tensor, bottom: Tensor, e: Tensor, reward: Tensor, beta: float) -> Tensor:
    """N / (Dn + 1e-7), N <- beta N + (1 - beta) e^2 R and Dn <- beta Dn + (1 - beta) e^2, in place (8)."""
    square = e * e
    top.mul_(beta).add_(square * reward, alpha=1 - beta)
    bottom.mul_(beta).add_(square, alpha=1 - beta)
    return top / (bottom + 1e-7)
