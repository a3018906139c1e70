"""A dozen inputs of the test set that a run keeps, with the network's spikes on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.data.recordings import Events
from bitspike.networks.base import Network
from bitspike.networks.inputs import to_device
from bitspike.prediction import Prediction

N_EXAMPLES = 12


def examples(
    network: Network, raw: Any, inputs: Any, labels: Tensor, prediction: Prediction
) -> dict[str, Tensor]:
    """A dozen inputs: the first of each class, then the first ones decided wrongly, then any; and `Network.trace`."""
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
    traced = network.trace(to_device(inputs[chosen], network.device))
    return arrays | {name: tensor.cpu() for name, tensor in traced.items()}


def _accumulate(recordings: Events) -> Any:
    """Events of each pixel and polarity over the whole recording, int32 `(n, 2, height, width)`, OFF first."""
    values, rows = recordings.values, np.repeat(np.arange(len(recordings)), np.diff(recordings.offsets))
    counts = np.zeros(recordings.shape, np.int32)
    np.add.at(counts, (rows, values["p"].astype(int), values["y"], values["x"]), 1)
    return counts
