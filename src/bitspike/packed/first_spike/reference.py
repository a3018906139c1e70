"""The slow truth of packed inference: every step, every layer, plain numpy."""

from __future__ import annotations

import numpy as np

from bitspike.errors import DataError
from bitspike.packed.decisions import Array, Decisions
from bitspike.packed.first_spike.layers import FirstSpikePackedLayer, FirstSpikeStack


def decide(network: FirstSpikeStack, times: Array) -> Decisions:
    """Decide from input spike times `(n, n_in)`, integers 0..n_steps (n_steps: never).

    V_j(a) = V_j(a-1) + sum_i w_ij [i spikes in step a]; neuron j crosses in the first step with V_j(a) >
    theta_j (strict, tested after all spikes of the step). Layers run in lockstep by a; layer l = 1, 2, ...
    emits at a + l * delay, and only where that is at most n_steps - 1. S4NN specification, equations 2 to 5
    and section 4.
    """
    times = np.asarray(times)
    check_times(times, network)
    n, n_steps, delay = len(times), network.n_steps, network.delay
    dense = [layer.weights.dense() for layer in network.layers]
    potential = [np.zeros((n, layer.n_out), np.float32) for layer in network.layers]
    emitted = [np.full((n, layer.n_out), n_steps, np.int64) for layer in network.layers]
    margin = np.zeros((n, network.n_classes), np.float32)
    decided = np.zeros(n, bool)

    for step in range(n_steps):
        spikes = times == step  # (n, n_in)
        if step > 0 and not spikes.any():  # potentials stay as they are
            continue
        for index, layer in enumerate(network.layers):
            _add(potential[index], spikes, dense[index], layer)
            lag = (index + 1) * delay
            crossing = (potential[index] > layer.thresholds) & (emitted[index] == n_steps)
            spikes = crossing & (step + lag <= n_steps - 1)
            emitted[index][spikes] = step + lag
        first = spikes.any(axis=1) & ~decided  # of the output layer
        margin[first] = (potential[-1] - network.layers[-1].thresholds)[first]
        decided |= first

    margin[~decided] = (potential[-1] - network.layers[-1].thresholds)[~decided]
    decision_time = emitted[-1].min(axis=1)
    silent = decision_time == n_steps
    tied = (emitted[-1] == decision_time[:, None]) & ~silent[:, None]
    candidates = tied | silent[:, None]
    labels = np.where(candidates, margin, -np.inf).argmax(axis=1)

    n_spikes, n_synops = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for index, spike_times in enumerate([times, *emitted[:-1]]):
        counted = ((spike_times <= decision_time[:, None]) & (spike_times < n_steps)).sum(axis=1)
        n_spikes += counted
        n_synops += counted * network.layers[index].n_out
    return Decisions(labels, decision_time, silent, tied, margin, n_spikes, n_synops)


def check_times(times: Array, network: FirstSpikeStack) -> None:
    """Refuse spike times of the wrong shape, kind or range."""
    if times.ndim != 2 or times.shape[1] != network.n_in or not np.issubdtype(times.dtype, np.integer):
        raise DataError(
            f"spike times are {times.dtype} {times.shape}; expected integers of shape (n, {network.n_in})"
        )
    if times.size and (times.min() < 0 or times.max() > network.n_steps):
        raise DataError(
            f"a spike time lies outside 0..{network.n_steps} (found {times.min()} to {times.max()}); "
            f"{network.n_steps} means never"
        )


def _add(potential: Array, spikes: Array, weights: Array, layer: FirstSpikePackedLayer) -> None:
    """Add the rows of the spiking inputs: integers by a matrix product (exact), reals one row after the other."""
    if layer.kind == "binary":
        potential += spikes.astype(np.float32) @ weights
        return
    for i in np.flatnonzero(spikes.any(axis=0)):
        potential[spikes[:, i]] += weights[i]
