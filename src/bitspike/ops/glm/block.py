"""Whole windows at once, weights held: free and clamped runs, learning signals, gradients. Plain PyTorch.

Filters stand behind the synapses: z_k(t) = sum of the weight rows of the events of step t, and u(t + 1 + d) gets a_k(d)
z_k(t); a gradient goes the same way back. For small steps the published rules are the same sums (docs/methods/glm.md).
Where every group hears lower ones only there is no loop over time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bitspike.ops import counter
from bitspike.ops.glm import circuit
from bitspike.ops.glm.chance import emit
from bitspike.ops.glm.circuit import Chances
from bitspike.ops.glm.online import Parameters
from bitspike.ops.glm.settings import Signal
from bitspike.ops.glm.topology import Topology
from bitspike.ops.lif.signals import Spikes, unpack


class Filters(NamedTuple):
    """Filters as matrices `(K, n_steps, n_steps)`: how step t' acts on step t; of synapses and of own feedback."""

    synapses: Tensor
    feedback: Tensor | None

    @staticmethod
    def of(table: Tensor, feedback: Tensor | None, n_steps: int) -> Filters:
        """Of tables `(K, length)`."""
        return Filters(_matrix(table, n_steps), None if feedback is None else _matrix(feedback, n_steps))


class Run(NamedTuple):
    """Per group but the input: spikes `(batch, n_steps, values, n)` and chances of the same shape."""

    spikes: list[Tensor]
    chances: list[Chances]


def _matrix(table: Tensor, n_steps: int) -> Tensor:
    matrix = table.new_zeros(len(table), n_steps, n_steps)
    for d in range(min(table.shape[1], n_steps - 1)):
        t = torch.arange(d + 1, n_steps)
        matrix[:, t, t - 1 - d] = table[:, d, None]
    return matrix


def drive(inputs: Tensor, weight: Tensor, filters: Tensor) -> Tensor:
    """What spikes `(batch, n_steps, source rows)` add to the potentials of a connection's target."""
    total = inputs.new_zeros(*inputs.shape[:2], weight.shape[2])
    for k in range(len(filters)):
        total = total + filters[k] @ (inputs @ weight[:, k])
    return total


def run(
    topology: Topology,
    parameters: Parameters,
    filters: Filters,
    inputs: Tensor,
    uniforms: list[Tensor],
    clamped: Tensor | None = None,
    mean_field: bool = False,
) -> Run:
    """All steps of a window: `inputs` `(batch, n_steps, n_inputs)`, `uniforms` per group `(batch, n_steps, n)`.

    `clamped` `(batch, n_steps, rows)`: what outputs emit; else they are drawn. `mean_field`: every circuit emits its
    chances, nothing is drawn.
    """
    if not topology.ordered or filters.feedback is not None:
        return _step_by_step(topology, parameters, filters, inputs, uniforms, clamped, mean_field)
    emitted, made = [inputs], Run([], [])
    for group in range(1, len(topology.groups)):
        values = topology.groups[group].values
        u = parameters.biases[group - 1].expand(*inputs.shape[:2], -1)
        for index in topology.into(group):
            source = topology.connections[index][0]
            u = u + drive(emitted[source], parameters.weights[index], filters.synapses)
        chance = circuit.chances(u, values)
        if group == topology.output and clamped is not None:
            spikes = clamped.reshape(chance.p.shape)
        else:
            spikes = chance.p if mean_field else emit(chance.p, uniforms[group - 1])
        emitted.append(spikes.flatten(2))
        made.spikes.append(spikes)
        made.chances.append(chance)
    return made


def _step_by_step(
    topology: Topology, parameters: Parameters, filters: Filters, inputs: Tensor, uniforms: list[Tensor],
    clamped: Tensor | None, mean_field: bool,
) -> Run:  # fmt: skip
    """The same where circuits hear themselves, their layer or higher ones."""
    batch, n_steps = inputs.shape[:2]
    n_groups = len(topology.groups)
    u = [bias.expand(batch, n_steps, -1).clone() for bias in parameters.biases]
    spikes: list[list[Tensor]] = [[] for _ in range(n_groups - 1)]
    found: list[list[Chances]] = [[] for _ in range(n_groups - 1)]
    for t in range(n_steps):
        now = [inputs[:, t]]
        for group in range(1, n_groups):
            values = topology.groups[group].values
            chance = circuit.chances(u[group - 1][:, t], values)
            if group == topology.output and clamped is not None:
                emitted = clamped[:, t].reshape(chance.p.shape)
            else:
                emitted = chance.p if mean_field else emit(chance.p, uniforms[group - 1][:, t])
            spikes[group - 1].append(emitted)
            found[group - 1].append(chance)
            now.append(emitted.flatten(1))
        for index, (source, target) in enumerate(topology.connections):
            for k, matrix in enumerate(filters.synapses):
                u[target - 1] += (now[source] @ parameters.weights[index][:, k])[:, None] * matrix[:, t, None]
        if filters.feedback is not None:
            for group in range(1, n_groups):
                for k, matrix in enumerate(filters.feedback):
                    own = now[group] * parameters.feedback[group - 1][k]
                    u[group - 1] += own[:, None] * matrix[:, t, None]
    return Run(
        [torch.stack(steps, 1) for steps in spikes],
        [Chances(*(torch.stack(part, 1) for part in zip(*steps, strict=True))) for steps in found],
    )


def later(values: Tensor, lam: float, same_step: bool) -> Tensor:
    """Sum over t' > t of lam^(t' - t - 1) values(t'), or over t' >= t of lam^(t' - t), over the last axis."""
    sums, total = [], torch.zeros_like(values[..., 0])
    for t in reversed(range(values.shape[-1])):
        with_now = values[..., t] + lam * total
        sums.append(with_now if same_step else total)
        total = with_now
    return torch.stack(sums[::-1], -1)


def rewards(topology: Topology, made: Run, signal: Signal) -> Tensor:
    """L `(draws, batch, n_steps)` of runs whose first dimension is draws times batch."""
    out = circuit.log_likelihood(made.chances[-1], made.spikes[-1]).sum(-1)
    total = later(out, signal.lam, signal.same_step)
    if signal.alpha and signal.signal != "importance":
        for chance, spikes in zip(made.chances[:-1], made.spikes[:-1], strict=True):
            cost = circuit.divergence(chance, spikes, signal.silence).sum(-1)
            total = total - signal.alpha * later(cost, signal.lam, same_step=True)
    return total.reshape(signal.draws, -1, total.shape[-1])


def weigh(reward: Tensor, signal: Signal, mean: Tensor | None) -> Tensor:
    """L minus its baseline, or the importance of a draw, `(draws, batch, n_steps)`; `mean` `(n_steps,)`."""
    if signal.signal == "importance":
        return signal.draws * reward.softmax(0) - 1
    if signal.baseline == "leave-one-out":
        return (reward - reward.mean(0)) * (signal.draws / (signal.draws - 1))
    if signal.baseline == "mean" and mean is not None:
        return reward - mean
    return reward


def errors(
    topology: Topology, made: Run, filters: Filters, signal: Signal, weight: Tensor | None,
    feedback: list[list[Tensor]],
) -> list[Tensor]:  # fmt: skip
    """g `(draws * batch, n_steps, rows)` of every group but the input: the slope of the objective in its potentials.

    `weight`: of a scalar signal (`weigh`). `feedback[layer][k]` `(output rows, rows)`: B of a vector signal.
    """
    out = (made.spikes[-1] - made.chances[-1].p).flatten(2)
    found = []
    for layer in range(len(made.spikes) - 1):
        chance, spikes = made.chances[layer], made.spikes[layer]
        if signal.signal == "vector":
            q = torch.zeros_like(spikes)
            for matrix, b in zip(filters.synapses, feedback[layer], strict=True):
                q = q + (matrix.T @ (out @ b)).reshape(q.shape)
            g = chance.p * (q - (chance.p * q).sum(-2, keepdim=True))
            if signal.alpha:
                g = g - signal.alpha * circuit.divergence_gradient(chance, signal.silence)
        else:
            assert weight is not None
            g = weight.flatten(0, 1)[:, :, None, None] * (spikes - chance.p)
        found.append(g.flatten(2))
    return [*found, out]


def gradients(
    topology: Topology, inputs: Tensor, made: Run, filters: Filters, g: list[Tensor], draws: int
) -> Parameters:
    """Sums over the batch, means over draws, of the slope of the objective in every parameter."""
    emitted = [inputs, *(spikes.flatten(2) for spikes in made.spikes)]
    result = Parameters([], [part.sum((0, 1)) / draws for part in g], [])
    for source, target in topology.connections:
        e, x = g[target - 1], emitted[source]
        if source == 0 and draws > 1:
            e = e.reshape(draws, -1, *e.shape[1:]).sum(0)
            x = x[: len(e)]
        parts = [torch.einsum("btr,btq->rq", x, matrix.T @ e) for matrix in filters.synapses]
        result.weights.append(torch.stack(parts, 1) / draws)
    if filters.feedback is not None:
        for spikes, e in zip(made.spikes, g, strict=True):
            own = [(spikes.flatten(2) * (matrix.T @ e)).sum((0, 1)) for matrix in filters.feedback]
            result.feedback.append(torch.stack(own) / draws)
    return result


class Learned(NamedTuple):
    """What a batch taught: sums over it of the objective's slopes, means over draws."""

    gradients: Parameters
    reward: Tensor  # (n_steps,): L, a mean over draws and batch
    log_likelihood: Tensor  # (): of the label's trains, summed over the batch
    scores: Tensor  # (batch, classes): output probabilities, summed over steps
    rates: tuple[float, ...]  # per hidden group: emissions per circuit and step


def learn(
    topology: Topology, parameters: Parameters, table: Tensor, feedback_table: Tensor | None, spikes: Spikes,
    wanted: Tensor, keys: Tensor, signal: Signal, feedback: list[list[Tensor]], mean: Tensor,
) -> Learned:  # fmt: skip
    """One batch under constant parameters: clamped runs, the signal, the sums.

    `wanted` `(batch, n_steps, output rows)`: what outputs emit; `keys` int64 `(batch,)`: draws follow from them
    (`uniforms`), whatever the batch; `feedback[layer][k]`: B of a vector signal; `mean` `(n_steps,)`: a mean baseline.
    """
    inputs = unpack(spikes, table.dtype)
    filters = Filters.of(table, feedback_table, inputs.shape[1])
    many = inputs.repeat(signal.draws, 1, 1)
    drawn = [
        uniforms(topology, keys, group, inputs.shape[1], signal.draws).to(inputs)
        for group in _hidden(topology)
    ]
    drawn.append(inputs.new_zeros(()))  # outputs are clamped
    made = run(topology, parameters, filters, many, drawn, wanted.repeat(signal.draws, 1, 1))
    reward = rewards(topology, made, signal)
    weight = None if signal.signal == "vector" else weigh(reward, signal, mean)
    g = errors(topology, made, filters, signal, weight, feedback)
    chance = made.chances[-1]
    return Learned(
        gradients(topology, many, made, filters, g, signal.draws),
        reward.mean((0, 1)),
        circuit.log_likelihood(chance, made.spikes[-1]).sum() / signal.draws,
        chance.p.sum((1, 2)).reshape(signal.draws, len(inputs), -1).mean(0),
        tuple(float(spikes.sum(2).mean()) for spikes in made.spikes[:-1]),
    )


def _hidden(topology: Topology) -> range:
    return range(1, topology.output)


def uniforms(topology: Topology, keys: Tensor, group: int, n_steps: int, draws: int) -> Tensor:
    """Numbers of a group's circuits, `(draws * batch, n_steps, n)`: stream mix64(key + draw * groups + group).

    Step t takes numbers t * n' to t * n' + n - 1, n' = n rounded up to even (`ops.counter.uniforms`).
    """
    n = topology.groups[group].n
    even = n + n % 2
    unsigned = keys.numpy().view(np.uint64)
    found = []
    for draw in range(draws):
        stream = counter.mix64(unsigned + np.uint64(draw * len(topology.groups) + group))
        numbers = counter.uniforms(stream, 0, n_steps * even).reshape(len(keys), n_steps, even)
        found.append(torch.from_numpy(np.ascontiguousarray(numbers[:, :, :n])))
    return torch.cat(found)
