"""What a run keeps about its test set beside decisions: a dozen inputs and their spikes, and how active layers are.

Spike trains keep, for layer 0 (the input, where it spikes) to the output, with k examples and `n` neurons in the layer:
`layerL_shown` (m,): numbers of the neurons drawn, at most `SHOWN`, evenly chosen; `example_layerL_spikes` uint8
(k, n_steps, ceil(m / 8)): their spikes as bits, lowest first; `example_layerL_counts` (k, n); and from layer 1
`example_layerL_traced` (k, t): neurons whose membrane `example_layerL_membrane` (k, n_steps, t) holds, every output and
the most active hidden ones; over all test inputs `layerL_histogram`: how many pairs of neuron and input have 0, 1, ...
spikes, and `layerL_mean_counts` (n,).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitspike.contracts import Prediction, chunks
from bitspike.data.recordings import Events
from bitspike.networks.lif import LIFNetwork
from bitspike.ops.lif import reference
from bitspike.ops.lif.signals import Spikes, unpack
from bitspike.rules.hm2bp import CHUNK

N_EXAMPLES = 12
SHOWN = 256
TRACED = 3  # hidden neurons whose membrane is kept, over all layers, at least one in each


def examples(
    model: nn.Module, raw: Any, inputs: Any, labels: Tensor, prediction: Prediction
) -> dict[str, Tensor]:
    """A dozen inputs: the first of each class, then the first ones decided wrongly, then any."""
    firsts = [int((labels == label).nonzero()[0, 0]) for label in sorted(set(labels.tolist()))]
    wrong = (prediction.labels != labels).nonzero().flatten().tolist()
    chosen = list(dict.fromkeys([*firsts[:10], *wrong[:N_EXAMPLES], *range(len(labels))]))[:N_EXAMPLES]
    arrays = {
        "example_labels": labels[chosen],
        "example_predicted": prediction.labels[chosen],
    }
    if isinstance(raw, np.ndarray):
        arrays["example_images"] = torch.tensor(raw[chosen])
    elif isinstance(raw, Events):
        arrays["example_events"] = torch.from_numpy(_accumulate(raw[np.array(chosen)]))
    if isinstance(model, LIFNetwork):
        return arrays | _trains(model, inputs[chosen])
    spike_times: Any = getattr(model, "spike_times", None)
    if spike_times is not None:
        with torch.no_grad():
            times, *hidden, output = spike_times(inputs[chosen])
        arrays["example_input_times"] = times
        arrays["example_hidden_times"] = torch.cat(hidden, dim=1)
        arrays["example_output_times"] = output
    return arrays


def activity(model: LIFNetwork, inputs: Any) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """How often every layer fires, one dictionary per layer from the input on, and the arrays named above.

    `mean_count` spikes per neuron and input; `rate` = mean_count / n_steps; `silent`: share of pairs of neuron and
    input without a spike; `never`: share of neurons that fire on none of the inputs. `weights` are stored, `synapses`
    counts what they connect. An input that is a current has none of the figures.
    """
    ops, n_steps = model.operators, model.n_steps
    widths = [ops[0].n_in, *(op.n_out for op in ops)]
    totals = [torch.zeros(width, dtype=torch.int64) for width in widths]
    histograms = torch.zeros((len(widths), n_steps + 1), dtype=torch.int64)
    for part in chunks(inputs, CHUNK):
        signal, results = model.run(part)
        counts = [model.counts(signal)] if isinstance(signal, Spikes) else []
        counts += [result.counts for result in results]
        for layer, count in enumerate(counts, start=len(widths) - len(counts)):
            whole = count.long()
            totals[layer] += whole.sum(0)
            histograms[layer] += torch.bincount(whole.flatten(), minlength=n_steps + 1)
    layers: list[dict[str, Any]] = []
    arrays: dict[str, Tensor] = {}
    for layer, (width, total, histogram) in enumerate(zip(widths, totals, histograms, strict=True)):
        facts: dict[str, Any] = {"neurons": width}
        if layer:
            shape = ops[layer - 1].weight_shape
            facts["weights"] = 0 if shape is None else math.prod(shape)
            facts["synapses"] = int(ops[layer - 1].fan_out().sum())
        if histogram.any():
            mean = total.double() / len(inputs)
            facts |= {
                "mean_count": float(mean.mean()),
                "rate": float(mean.mean()) / n_steps,
                "silent": float(histogram[0] / histogram.sum()),
                "never": float((total == 0).double().mean()),
            }
            arrays[f"layer{layer}_histogram"] = histogram[: int(histogram.nonzero().max()) + 1]
            arrays[f"layer{layer}_mean_counts"] = mean.float()
        layers.append(facts)
    return layers, arrays


@torch.no_grad()
def _trains(model: LIFNetwork, inputs: Any) -> dict[str, Tensor]:
    signal, results = model.run(inputs)
    arrays = _raster(0, signal, model.counts(signal)) if isinstance(signal, Spikes) else {}
    last = len(results)
    for layer, (neuron, result) in enumerate(zip(model.neurons, results, strict=True), start=1):
        arrays |= _raster(layer, result.spikes, result.counts)
        n_traced = result.spikes.n if layer == last else max(1, TRACED // (last - 1))
        traced = result.counts.sort(dim=1, descending=True, stable=True).indices[:, :n_traced]
        if layer == last:
            traced = traced.sort(dim=1).values
        current = model.current(layer - 1, signal, inputs)
        own = current.gather(2, traced[:, None].expand(-1, current.shape[1], -1))
        arrays[f"example_layer{layer}_traced"] = traced
        arrays[f"example_layer{layer}_membrane"] = reference.membrane(own, neuron)
        signal = result.spikes
    return arrays


def _raster(layer: int, spikes: Spikes, counts: Tensor) -> dict[str, Tensor]:
    shown = torch.linspace(0, spikes.n - 1, min(spikes.n, SHOWN)).round().long()
    dense = unpack(spikes, torch.uint8)[:, :, shown]
    return {
        f"layer{layer}_shown": shown,
        f"example_layer{layer}_spikes": torch.from_numpy(
            np.packbits(dense.numpy(force=True), axis=2, bitorder="little")
        ),
        f"example_layer{layer}_counts": counts.to(torch.int16),
    }


def _accumulate(recordings: Events) -> Any:
    """Events of each pixel and polarity over the whole recording, int32 `(n, 2, height, width)`, OFF first."""
    values, rows = recordings.values, np.repeat(np.arange(len(recordings)), np.diff(recordings.offsets))
    counts = np.zeros(recordings.shape, np.int32)
    np.add.at(counts, (rows, values["p"].astype(int), values["y"], values["x"]), 1)
    return counts
