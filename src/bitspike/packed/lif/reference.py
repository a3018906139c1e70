"""The slow truth of packed spike trains: every step, every layer, plain numpy in float32."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitspike.coding.spike_list import SpikeList
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.operators import Conv, Dense, Operator
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.lif.layers import LIFStack


class Run(NamedTuple):
    """What a network did; `spikes` has an entry per layer."""

    counts: Array  # (n, classes) int64: spikes of the outputs
    membranes: Array  # (n, classes) float32: v of the outputs after the last step
    spikes: tuple[Array, ...]  # each (n, n_steps, n_out) bool
    n_spikes: Array  # (n,) int64: input spikes and those of hidden layers, over the whole window
    n_synops: Array  # (n,) int64: additions those spikes cause


def run(network: LIFStack, inputs: Array | SpikeList) -> Run:
    """Run the neurons of `Neuron` layer by layer in lockstep: a spike at t acts on the next layer at t + 1.

    `inputs`: uint8 images `(n, n_pixels)` where the coding takes images, else a `SpikeList`. A constant current is
    I_i = float32(float64(sum_j w_ji k_j) * (rate / 255)), k the grey levels; its pixels above 0 count as additions
    once, and as no spikes.
    """
    entering, constant = network.signal(inputs)
    n, n_steps = len(entering), network.n_steps
    layers, dense = network.layers, [layer.dense() for layer in network.layers]
    fan_out = [layer.operator.fan_out() for layer in layers]
    state = [np.zeros((2, n, layer.operator.n_out), np.float32) for layer in layers]
    spikes = [np.zeros((n, n_steps, layer.operator.n_out), bool) for layer in layers]
    current = np.empty(0, np.float32)
    n_spikes, n_synops = np.zeros(n, np.int64), np.zeros(n, np.int64)
    if constant:
        weights = dense[0] if dense[0] is None else dense[0].astype(np.float64)
        total = apply(layers[0].operator, entering.astype(np.float64), weights)
        current = (total * np.float64(network.coding.current_per_level)).astype(np.float32)
        n_synops += (entering > 0) @ fan_out[0]
    for t in range(1, n_steps):
        for index, layer in enumerate(layers):
            if index == 0 and constant:
                step = current
            else:
                before = entering if index == 0 else spikes[index - 1]
                step = apply(layer.operator, before[:, t - 1].astype(np.float32), dense[index])
            spikes[index][:, t] = advance(state[index], step, spikes[index], t, layer.neuron)
    for index in range(len(layers)):
        if index == 0 and constant:
            continue
        per_neuron = (entering if index == 0 else spikes[index - 1]).sum(axis=1)
        n_spikes += per_neuron.sum(axis=1)
        n_synops += per_neuron @ fan_out[index]
    return Run(spikes[-1].sum(axis=1), state[-1][0], tuple(spikes), n_spikes, n_synops)


def advance(state: Array, current: Array, spikes: Array, t: int, neuron: Neuron) -> Array:
    """Step t of one layer, in the order of operations of `Neuron`; changes `state` (v, x), returns who fires."""
    v, x = state
    one = np.float32
    v *= one(neuron.beta_m)
    x *= one(neuron.beta_s)
    if neuron.lateral:
        before = spikes[:, t - 1].astype(np.float32)
        current = current - one(neuron.lateral) * (before.sum(axis=1, keepdims=True) - before)
    x += current
    v += x * one(1 / neuron.tau_s)
    v[spikes[:, max(0, t - neuron.refractory) : t].any(axis=1)] = 0
    fires: Array = v > neuron.limit
    v[fires] = 0
    return fires


def decide(network: LIFStack, inputs: Array | SpikeList) -> Decisions:
    """The decisions of `run`.

    score_i = o_i + v_i / (2 (threshold + |v_i|)) in float32: the count o, ties broken by the membrane v after the last
    step. label: the largest score, then the lowest index. decision_time: n_steps - 1 where any output fired, else
    n_steps. tied: the classes that share the largest count.
    """
    parts = []
    for part in network.parts(inputs):
        done = run(network, part)
        score = scores(done.counts, done.membranes, network.layers[-1].neuron.threshold)
        silent = np.asarray(done.counts.max(axis=1) == 0)
        parts.append(
            Decisions(
                labels=score.argmax(axis=1),
                decision_time=np.where(silent, network.n_steps, network.n_steps - 1),
                silent=silent,
                tied=(done.counts == done.counts.max(axis=1, keepdims=True)) & ~silent[:, None],
                potentials=score,
                n_spikes=done.n_spikes,
                n_synops=done.n_synops,
            )
        )
    return Decisions(
        **{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])}
    )


def scores(counts: Array, membranes: Array, threshold: float) -> Array:
    """o + v / (2 (threshold + |v|)), float32."""
    share = membranes / (np.float32(2) * (np.float32(threshold) + np.abs(membranes)))
    result: Array = counts.astype(np.float32) + share
    return result


def apply(op: Operator, x: Array, weights: Array | None) -> Array:
    """The operator on `(n, n_in)`: `(n, n_out)`, in the type of `x`; every partial sum is exact."""
    if isinstance(op, Dense):
        return np.asarray(x @ weights)
    maps = x.reshape(-1, op.height, op.width, op.channels)
    out: Array
    if isinstance(op, Conv):
        assert weights is not None
        maps = np.pad(maps, ((0, 0), (op.padding,) * 2, (op.padding,) * 2, (0, 0)))
        out = np.zeros((len(x), op.out_height, op.out_width, op.n_filters), x.dtype)
        for dy, dx in np.ndindex(op.size, op.size):
            out += maps[:, dy : dy + op.out_height, dx : dx + op.out_width] @ weights[dy, dx]
    else:
        inside = maps[:, : op.out_height * op.size, : op.out_width * op.size]
        out = inside.reshape(len(x), op.out_height, op.size, op.out_width, op.size, op.channels).sum(
            axis=(2, 4)
        )
    return out.reshape(len(x), -1)
