"""The slow truth of packed inference by circuits that fire by chance: every step, plain numpy in float32.

Weights are applied to the spikes of a step, exactly, and filtered behind the synapses; every other sum has an order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitspike.coding.spike_list import SpikeList
from bitspike.ops import counter
from bitspike.ops.glm.chance import emit, exponentials
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.glm.layers import GLMStack


class Run(NamedTuple):
    """What a network did; `n_spikes`, `n_synops`: as in `Decisions`, over the whole window and all runs."""

    scores: Array  # (n, n_steps, classes) float32: what decides, had the answer been demanded after each step
    n_spikes: Array
    n_synops: Array


def keys(spikes: Array, seed: int) -> Array:
    """A key per input from its spikes bool `(n, n_steps, n_in)`: its draws depend on nothing else but the seed.

    mix64(mix64(sum over spikes, step t and channel j, of mix64((t n_in + j + 1) STEP)) + seed).
    """
    n, n_steps, n_in = spikes.shape
    places = counter.mix64(np.arange(1, n_steps * n_in + 1, dtype=np.uint64) * counter.STEP)
    sums = np.array([places[one.reshape(-1)].sum(dtype=np.uint64) for one in spikes], np.uint64).reshape(n)
    return counter.mix64(counter.mix64(sums) + np.uint64(seed))


def run(network: GLMStack, inputs: Array | SpikeList) -> Run:
    """All runs of all inputs.

    u(t) starts as the bias. After the circuits of step t have emitted, for every connection in its order, every filter
    k and every d, u(t + 1 + d) += a_k(d) z, z = (sum of the weights of what was emitted) times the scale; then own
    feedback, z = s v_k. Chances, draws and scores: `emit`. Scores of runs are added in order, then divided by the runs.
    """
    entering, _ = network.signal(inputs)
    n = len(entering)
    draw = keys(entering, network.draw_seed)
    start = [np.broadcast_to(bias, (n, network.n_steps, len(bias))).copy() for bias in network.biases]
    weights = [connection.dense() for connection in network.connections]
    for t in range(network.n_steps):
        for index, (source, _) in enumerate(network.topology.connections):
            if source == 0:
                _hear(network, start, index, weights[index], entering[:, t].astype(np.float32), t)
    total = np.zeros((n, network.n_steps, network.n_classes), np.float32)
    per_input = entering.sum(axis=(1, 2))
    n_spikes, n_synops = per_input.copy(), per_input * fan_out(network, 0)
    for number in range(network.runs):
        scores, emitted = _run_once(network, [u.copy() for u in start], weights, draw, number)
        total += scores
        n_spikes += emitted.sum(axis=1)
        n_synops += emitted @ np.array([fan_out(network, g) for g in range(1, len(network.topology.groups))])
    return Run(total / np.float32(network.runs), n_spikes, n_synops)


def fan_out(network: GLMStack, group: int) -> int:
    """Additions that a spike of a group causes: rows that hear it, times filters."""
    return network.topology.fan_out(group) * len(network.table)


def _run_once(
    network: GLMStack, u: list[Array], weights: list[Array], draw: Array, number: int
) -> tuple[Array, Array]:
    """Scores `(n, n_steps, classes)` and how many values every group emitted, `(n, groups)`."""
    topology, n = network.topology, len(draw)
    n_groups = len(topology.groups)
    scores = np.empty((n, network.n_steps, network.n_classes), np.float32)
    counts = np.zeros((n, n_groups - 1), np.int64)
    sum_so_far = np.zeros((n, network.n_classes), np.float32)
    streams = [counter.mix64(draw + np.uint64(number * n_groups + group)) for group in range(1, n_groups)]
    for t in range(network.n_steps):
        now = []
        for group in range(1, n_groups):
            circuits = topology.groups[group]
            e, total, _ = exponentials(u[group - 1][:, t].reshape(n, circuits.values, -1))
            p = e / total[:, None]
            last = group == topology.output
            emitted = np.zeros_like(p)
            if network.decision_by == "mean-field":
                emitted = p
            elif not last or network.draws_output:
                first = t * (circuits.n + circuits.n % 2)
                emitted = emit(p, counter.uniforms(streams[group - 1], first, circuits.n))
                counts[:, group - 1] += emitted.sum(axis=(1, 2)).astype(np.int64)
            if last:
                counted = emitted if network.decision_by == "count" else p
                for c in range(circuits.values):
                    sum_so_far += counted[:, c]
                scores[:, t] = sum_so_far
            now.append(emitted.reshape(n, -1))
        for index, (source, _) in enumerate(topology.connections):
            if source:
                _hear(network, u, index, weights[index], now[source - 1], t)
        if network.feedback is not None:
            table, own = network.feedback
            for group in range(1, n_groups):
                for k in range(len(table)):
                    _filter(u[group - 1], table[k], now[group - 1] * own[group - 1][k], t)
    return scores, counts


def _hear(network: GLMStack, u: list[Array], index: int, weights: Array, spikes: Array, t: int) -> None:
    """What the spikes of step t, `(n, source rows)`, add to the later potentials of a connection's target."""
    source, target = network.topology.connections[index]
    scale = network.connections[index].scale
    for k, filter_k in enumerate(network.table):
        rows = weights[:, k]
        if source == target:
            rows = rows * network.topology.groups[target].others()
        if network.decision_by == "mean-field" and source:
            z = np.zeros((len(spikes), rows.shape[1]), np.float32)
            for j in range(len(rows)):  # chances, not spikes: the order counts
                z += spikes[:, j, None] * rows[j]
        else:
            z = spikes @ rows
        _filter(u[target - 1], filter_k, z if scale is None else z * scale, t)


def _filter(u: Array, table: Array, z: Array, t: int) -> None:
    """u(t + 1 + d) += a(d) z, in place."""
    for d, a in enumerate(table[: u.shape[1] - 1 - t]):
        u[:, t + 1 + d] += a * z


def decide(network: GLMStack, inputs: Array | SpikeList) -> Decisions:
    """The largest score after the last step, then the lowest index."""
    parts = [run(network, part) for part in network.parts(inputs)]
    return decisions(
        np.concatenate([part.scores[:, -1] for part in parts]), network.n_steps,
        np.concatenate([part.n_spikes for part in parts]), np.concatenate([part.n_synops for part in parts]),
    )  # fmt: skip


def decisions(scores: Array, n_steps: int, n_spikes: Array, n_synops: Array) -> Decisions:
    """The decisions that follow from scores float32 `(n, classes)`."""
    n = len(scores)
    return Decisions(
        labels=scores.argmax(axis=1),
        decision_time=np.full(n, n_steps - 1),
        silent=np.zeros(n, bool),
        tied=scores == scores.max(axis=1, keepdims=True),
        potentials=scores,
        n_spikes=n_spikes,
        n_synops=n_synops,
    )


def scores(network: GLMStack, inputs: Array | SpikeList) -> Array:
    """What decides, had the answer been demanded after each step: float32 `(n, n_steps, classes)`."""
    return np.concatenate([run(network, part).scores for part in network.parts(inputs)])
