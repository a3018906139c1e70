"""The slow truth of packed BiSNN inference: every step, every layer, plain numpy in float32.

The filters (1) and (2) of the specification are linear and shared by a layer's inputs, so the weights are applied to
the spikes (a whole number where they are binary), and the result is filtered per neuron behind them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bitspike.coding.spike_list import SpikeList
from bitspike.ops import elementary
from bitspike.ops.operators import Dense
from bitspike.ops.srm.neuron import SRMNeuron
from bitspike.packed.average import logarithm
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.lif.reference import apply
from bitspike.packed.srm.layers import SRMPackedLayer, SRMStack


class Run(NamedTuple):
    """What a network did; `spikes` has an entry per layer, after pooling."""

    over_time: Array  # (n, n_steps - burn_in, n_readouts) float32: mean probabilities up to each step
    spikes: tuple[Array, ...]  # each (n, n_steps, n_out) bool
    n_spikes: Array  # (n,) int64: input spikes and those of all layers, after pooling, over the whole window
    n_synops: Array  # (n,) int64: additions those spikes cause, in the readout too


def run(network: SRMStack, inputs: Array | SpikeList) -> Run:
    """Run all layers in lockstep: what a layer spikes in a step enters the next layer in the same step.

    Per step, I = W x exact: a <- alpha a + b (the old b); b <- beta b + I; R <- gamma R + s; U = c (a + bias) - R;
    s = [U >= 0], all in float32; the spikes that go on are those of the largest U of each pool. From step `burn_in` on,
    r = (B S + b) c_ro and p_t = softmax(r) (`elementary`; one readout: sigmoid); the p_t are added in order.
    """
    entering, _ = network.signal(inputs)
    n, layers = len(entering), network.layers
    dense = [layer.weights.dense() for layer in layers]
    state = [np.zeros((4, n, layer.operator.n_out), np.float32) for layer in layers]
    spikes = [np.zeros((n, network.n_steps, layer.n_out), bool) for layer in layers]
    signs, offset = network.readout.dense(), network.readout_bias.dense()
    total = np.zeros((n, network.n_readouts), np.float32)
    over_time = np.empty((n, network.n_steps - network.burn_in, network.n_readouts), np.float32)
    for t in range(network.n_steps):
        x = entering[:, t].astype(np.float32)
        for index, layer in enumerate(layers):
            fires = advance(state[index], apply(layer.operator, x, dense[index]), layer, network.neuron)
            spikes[index][:, t] = fires
            x = fires.astype(np.float32)
        if t >= network.burn_in:
            read = (x @ signs + offset) * network.readout_scale
            total += elementary.softmax(read) if network.n_readouts > 1 else elementary.sigmoid(read)
            over_time[:, t - network.burn_in] = total / np.float32(t - network.burn_in + 1)
    fan_out = [layer.operator.fan_out() for layer in layers]
    fan_out.append(np.full(network.n_out, network.n_readouts, np.int64))
    per_neuron = [train.sum(axis=1) for train in (entering, *spikes)]
    n_spikes = np.stack([counts.sum(axis=1) for counts in per_neuron]).sum(axis=0)
    n_synops = np.stack([counts @ fan for counts, fan in zip(per_neuron, fan_out, strict=True)]).sum(axis=0)
    return Run(over_time, tuple(spikes), n_spikes, n_synops)


def advance(state: Array, current: Array, layer: SRMPackedLayer, neuron: SRMNeuron) -> Array:
    """One step of a layer's neurons; changes `state` (a, b, R, s) and returns who spikes after pooling."""
    a, b, r, s = state
    one = np.float32
    a *= one(neuron.alpha)
    a += b
    b *= one(neuron.beta)
    b += current
    r *= one(neuron.gamma)
    r += s
    bias = layer.biases()
    u = layer.scale * (a + np.tile(bias, a.shape[1] // len(bias))) - r
    s[...] = u >= 0
    op, k = layer.operator, layer.pool
    if k == 1 or isinstance(op, Dense):
        return np.asarray(u >= 0)
    height, width = op.out_height // k, op.out_width // k
    maps = u.reshape(-1, op.out_height, op.out_width, op.n_filters)[:, : height * k, : width * k]
    pooled = maps.reshape(len(u), height, k, width, k, op.n_filters).max(axis=(2, 4))
    return np.asarray(pooled.reshape(len(u), -1) >= 0)


def decide(network: SRMStack, inputs: Array | SpikeList) -> Decisions:
    """The decisions of `run`, by `decisions` of the mean over all steps from `burn_in` on."""
    parts = _parts(network, inputs)
    return decisions(
        np.concatenate([part.over_time[:, -1] for part in parts]),
        network.n_steps,
        network.n_classes,
        np.concatenate([part.n_spikes for part in parts]),
        np.concatenate([part.n_synops for part in parts]),
    )


def decisions(
    probabilities: Array, n_steps: int, n_classes: int, n_spikes: Array, n_synops: Array
) -> Decisions:
    """The decisions that follow from mean probabilities float32 `(n, n_readouts)`.

    label: the likeliest class, then the lowest index. potentials: float32(ln max(p, 1e-30)), so that their softmax is
    p; of a regression p itself. decision_time is n_steps - 1, nothing is silent, tied are the classes that share the
    largest probability.
    """
    p = probabilities
    if p.shape[1] < n_classes:  # one readout, two classes
        p = np.concatenate([np.float32(1) - p, p], axis=1)
    return Decisions(
        labels=p.argmax(axis=1),
        decision_time=np.full(len(p), n_steps - 1, np.int64),
        silent=np.zeros(len(p), bool),
        tied=np.equal(p, p.max(axis=1, keepdims=True)),
        potentials=p if n_classes == 1 else logarithm(p),
        n_spikes=n_spikes,
        n_synops=n_synops,
    )


def over_time(network: SRMStack, inputs: Array | SpikeList) -> Array:
    """Mean probabilities had the answer been demanded after step burn_in + k: float32 `(n, n_times, n_readouts)`."""
    return np.concatenate([part.over_time for part in _parts(network, inputs)])


def _parts(network: SRMStack, inputs: Array | SpikeList) -> list[Run]:
    return [run(network, part) for part in network.parts(inputs)]
