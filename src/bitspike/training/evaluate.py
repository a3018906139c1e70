"""Decisions on many images, and what a finished run leaves about its test set."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from bitspike.coding import FirstSpike
from bitspike.contracts import Prediction, Rule, chunks, encode_images
from bitspike.errors import UsageError
from bitspike.experiment import Experiment
from bitspike.metrics.robustness import deletion_curve, jitter_curve
from bitspike.metrics.summary import summarise
from bitspike.training.files import write_atomically
from bitspike.training.randomness import generator
from bitspike.training.run_folder import RunFolder

BATCH = 1000
N_EXAMPLES = 12


def predict_all(rule: Rule, model: nn.Module, inputs: Any, noise: torch.Generator) -> Prediction:
    """Decide on coded inputs, batch by batch."""
    return Prediction.concatenate([rule.predict(model, part, noise) for part in chunks(inputs, BATCH)])


def evaluate(
    experiment: Experiment, model: nn.Module, raw: Any, labels: Tensor, folder: RunFolder
) -> dict[str, Any]:
    """Decide on the inputs of a data set, write evaluation.safetensors, return all metrics."""
    inputs = encode(experiment, raw)
    prediction = predict_all(experiment.rule, model, inputs, generator(experiment.seed, "predict"))
    arrays = {
        "labels": labels,
        "predicted": prediction.labels,
        "probabilities": prediction.probabilities,
        "decision_time": prediction.decision_time,
        "silent": prediction.silent,
        "n_spikes": prediction.n_spikes,
    }
    arrays |= _examples(model, raw, inputs, labels, prediction)
    owned = {name: tensor.detach().contiguous() for name, tensor in arrays.items()}
    write_atomically(folder.evaluation_arrays, to_safetensors(owned))
    summary = summarise(prediction, labels, experiment.coding.n_steps, experiment.weights.kind)
    if isinstance(experiment.coding, FirstSpike):
        summary["robustness"] = _robustness(experiment, model, inputs, labels)
    return summary


def _robustness(experiment: Experiment, model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Any]:
    """Accuracy when input spikes are shifted by up to J steps (up to half of all steps) or lost with probability p."""
    n_steps, noise = experiment.coding.n_steps, generator(experiment.seed, "predict")
    strengths = sorted({round(n_steps * share) for share in (0, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2)})

    def predict(times: Tensor) -> Prediction:
        return predict_all(experiment.rule, model, times, noise)

    return {
        "jitter": jitter_curve(predict, inputs, labels, n_steps, strengths, noise),
        "deletion": deletion_curve(predict, inputs, labels, n_steps, (0.0, 0.05, 0.1, 0.2, 0.3, 0.5), noise),
    }


def encode(experiment: Experiment, raw: Any) -> Any:
    """Coded inputs: a tensor `(n, features)` of uint8 images `(n, h, w)`, a spike list of recordings."""
    coding: Any = experiment.coding
    if isinstance(raw, np.ndarray) != coding.of_images:
        kind = "images" if isinstance(raw, np.ndarray) else type(raw).__name__.lower()
        raise UsageError(
            f"coding {type(coding).__name__} does not encode {kind}; choose another coding or data"
        )
    if not coding.of_images:
        return coding.encode(raw)
    parts = torch.split(torch.tensor(raw).flatten(1), 10 * BATCH)
    return torch.cat([encode_images(coding, part) for part in parts])


def _examples(
    model: nn.Module, raw: Any, inputs: Any, labels: Tensor, prediction: Prediction
) -> dict[str, Tensor]:
    """A dozen inputs: the first of each class, then the first ones decided wrongly, then any."""
    firsts = [int((labels == label).nonzero()[0, 0]) for label in sorted(set(labels.tolist()))]
    wrong = (prediction.labels != labels).nonzero().flatten().tolist()
    chosen = list(dict.fromkeys([*firsts[:10], *wrong[:N_EXAMPLES], *range(len(labels))]))[:N_EXAMPLES]
    examples = {
        "example_labels": labels[chosen],
        "example_predicted": prediction.labels[chosen],
    }
    if isinstance(raw, np.ndarray):
        examples["example_images"] = torch.tensor(raw[chosen])
    spike_times: Any = getattr(model, "spike_times", None)
    if spike_times is not None:
        with torch.no_grad():
            times, *hidden, output = spike_times(inputs[chosen])
        examples["example_input_times"] = times
        examples["example_hidden_times"] = torch.cat(hidden, dim=1)
        examples["example_output_times"] = output
    return examples
