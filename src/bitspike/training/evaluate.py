"""What a finished run leaves about its test set: figures in evaluation.json, arrays in evaluation.safetensors."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

from bitspike.contracts import Batch
from bitspike.data import Dataset
from bitspike.experiment import Experiment
from bitspike.files import write_atomically
from bitspike.metrics.calibration import decided_confidence
from bitspike.metrics.quality import quality
from bitspike.metrics.regression import regression_figures
from bitspike.metrics.summary import summarise, summarise_regression
from bitspike.networks.base import Network
from bitspike.networks.committee import deciding
from bitspike.networks.posterior import draw, mode
from bitspike.prediction import Prediction
from bitspike.training.disturbed import disturbed
from bitspike.training.encode import encode
from bitspike.training.examples import examples
from bitspike.training.randomness import generator
from bitspike.training.run_folder import RunFolder
from bitspike.training.surface import surface
from bitspike.training.uncertainty import Judged, measure


@dataclass(frozen=True)
class Evaluated:
    """What is evaluated: raw test inputs, their labels `(n,)`, and what is known beside them.

    `validation`: what thresholds of conformal sets are fitted to; without it there are none. `posterior`: what the
    network was drawn from, for a comparison of the ways to decide by it. `dataset`: for special sets of points.
    """

    raw: Any
    labels: Tensor
    validation: Batch | None = None
    posterior: Network | None = None
    dataset: Dataset | None = None


def evaluate(experiment: Experiment, network: Network, what: Evaluated, folder: RunFolder) -> dict[str, Any]:
    """Decide on test inputs, write evaluation.safetensors, return all metrics."""
    coding, raw, labels = experiment.coding, what.raw, what.labels
    inputs = encode(coding, raw)
    prediction = network.decide(inputs, generator(experiment.seed, "predict"))
    shown = network.parts[0]
    about = {"system": shown.system, "decides": shown.decides}
    if labels.dtype.is_floating_point:
        return about | _evaluate_regression(experiment, shown, inputs, prediction, what, folder)
    arrays = {
        "labels": labels,
        "predicted": prediction.labels,
        "probabilities": prediction.probabilities,
        "decision_time": prediction.decision_time,
        "silent": prediction.silent,
        "n_spikes": prediction.n_spikes,
    }
    arrays |= examples(shown, raw, inputs, labels, prediction)
    layers, counts = shown.activity(inputs)
    arrays |= counts
    kind: Literal["binary", "real"] = "binary" if experiment.weights.one_bit else "real"
    summary = summarise(prediction, labels, coding.n_steps, kind, **asdict(network.work(inputs)))
    noise = generator(experiment.seed, "predict")
    summary |= shown.figures(inputs, labels, noise)
    curves = disturbed(network, inputs, labels, noise)
    noise = generator(experiment.seed, "predict")
    summary["uncertainty"] = measure(
        network,
        lambda images: encode(coding, images),
        Judged(inputs, labels, prediction, raw if isinstance(raw, np.ndarray) else None),
        what.validation,
        coding.n_steps,
        noise,
    )
    networks = {"network": network}
    if what.posterior is not None and what.validation is not None:
        networks = ways(experiment, what.posterior, network, what.validation, noise)
    modes, found = _modes(experiment, networks, inputs, labels, (network, prediction))
    arrays |= found
    extra: dict[str, Any] = {"layers": layers, "modes": modes}
    plane = None if what.dataset is None else what.dataset.plane
    if plane is not None:
        names = sorted({"network", "map", "committee", experiment.predict.mode} & set(networks))
        compared = {name: networks[name] for name in names}
        far, drawn = surface(plane, lambda images: encode(coding, images), compared, noise)
        for name, value in far.items():
            modes[name]["far_confidence"] = value
        extra["far_confidence"] = next(far[name] for name in names if networks[name] is network)
        arrays |= drawn
    _write(folder, arrays)
    return about | summary | extra | ({"robustness": curves} if curves else {})


def ways(
    experiment: Experiment, posterior: Network, chosen: Network, validation: Batch, noise: torch.Generator
) -> dict[str, Network]:
    """Ways for a posterior to decide: its mode, one draw, draws made anew and a fixed committee of draws.

    `chosen` is the finished network that `experiment.predict` asks for, and stands for its own way; the others are
    finished by themselves on the validation data.
    """
    settings = experiment.predict
    ensemble, committee = (replace(settings, mode="ensemble"), replace(settings, mode="committee"))
    made: dict[str, Callable[[], Network]] = {
        "map": lambda: mode(posterior),
        "draw": lambda: draw(posterior, noise),
        "ensemble": lambda: deciding(copy.deepcopy(posterior), ensemble, noise),  # finished in place
        "committee": lambda: deciding(posterior, committee, noise),
    }
    found: dict[str, Network] = {}
    for name, make in made.items():
        if name == settings.mode:
            found[name] = chosen
            continue
        found[name] = make()
        found[name].finish(validation, experiment.training.max_silent, noise)
    return found


def _modes(
    experiment: Experiment,
    networks: dict[str, Network],
    inputs: Any,
    labels: Tensor,
    known: tuple[Network, Prediction],
) -> tuple[dict[str, dict[str, float]], dict[str, Tensor]]:
    """`quality` of each way to decide, and its arrays: `mode_NAME_correct`, `_confidence` and `_confidence_raw`."""
    figures, arrays = {}, {}
    for name, network in networks.items():
        noise = generator(experiment.seed, "predict")
        prediction = known[1] if network is known[0] else network.decide(inputs, noise)
        p, raw = prediction.probabilities, prediction.potentials
        decided = prediction.labels.long()
        figures[name] = quality(p, raw, decided, labels)
        arrays[f"mode_{name}_correct"] = decided == labels
        for end, probabilities in (("", p), ("_raw", raw.double().softmax(1))):
            confidence = decided_confidence(probabilities, decided)
            arrays[f"mode_{name}_confidence{end}"] = confidence.float()
    return figures, arrays


def _write(folder: RunFolder, arrays: dict[str, Tensor]) -> None:
    owned = {name: tensor.detach().cpu().contiguous() for name, tensor in arrays.items()}
    write_atomically(folder.evaluation_arrays, to_safetensors(owned))


def _evaluate_regression(
    experiment: Experiment,
    shown: Network,
    inputs: Any,
    prediction: Prediction,
    what: Evaluated,
    folder: RunFolder,
) -> dict[str, Any]:
    """`regression_figures` of the scaled targets; of a line also apart: near training data, and in the gaps."""
    mean, targets, members = prediction.potentials[:, 0].double(), what.labels, None
    arrays = {"labels": targets, "predicted": mean, "n_spikes": prediction.n_spikes}
    if prediction.members is not None:
        members = prediction.members[:, :, 0]
        arrays["members"] = members
    figures: dict[str, Any] = {
        "n": len(targets), "n_steps": experiment.coding.n_steps,
        **summarise_regression(prediction, targets),
        "layers": shown.activity(inputs)[0],
    }  # fmt: skip
    line = None if what.dataset is None else what.dataset.line
    if line is not None:
        arrays |= {
            "x": torch.from_numpy(line.test_x),
            "points_train_x": torch.from_numpy(line.train_x),
            "points_train_targets": torch.from_numpy(line.train_targets),
        }
        for name, rows in (("trained", line.trained), ("gaps", ~line.trained)):
            apart = regression_figures(mean, targets, members, rows)
            figures |= {f"{key}_{name}": value for key, value in apart.items() if key != "mae"}
    _write(folder, arrays)
    return figures
