"""Decisions on many inputs, and what a finished run leaves about its test set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from bitspike.coding import Direct, FirstSpike, SpikeList
from bitspike.contracts import Batch, Prediction, encode_images
from bitspike.data.cosine import min_max
from bitspike.data.synthetic import TRAINED, regression_points, regression_scale
from bitspike.errors import UsageError
from bitspike.experiment import Experiment
from bitspike.metrics import accuracy
from bitspike.metrics.quality import quality
from bitspike.metrics.robustness import (
    add_noise,
    delete_trains,
    deletion_curve,
    jitter_curve,
    jitter_trains,
)
from bitspike.metrics.summary import summarise
from bitspike.networks.committee import Committee, Ensemble
from bitspike.networks.lif import LIFNetwork
from bitspike.networks.srm import SRMNetwork
from bitspike.ops.lif.signals import Spikes, unpack
from bitspike.training.deciding import BATCH, compare, predict_all
from bitspike.training.examples import activity, examples
from bitspike.training.files import write_atomically
from bitspike.training.randomness import generator
from bitspike.training.run_folder import RunFolder
from bitspike.training.surface import surface
from bitspike.training.uncertainty import Judged, measure
from bitspike.training.work import work_of

N_DISTURBED = 1000
LOST = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)


def evaluate(
    experiment: Experiment,
    model: nn.Module,
    raw: Any,
    labels: Tensor,
    folder: RunFolder,
    validation: Batch | None = None,
    posterior: nn.Module | None = None,
) -> dict[str, Any]:
    """Decide on the inputs of a data set, write evaluation.safetensors, return all metrics.

    `validation`: what thresholds of conformal sets are fitted to; without it there are none. `posterior`: what `model`
    was drawn from, for a comparison of the ways to decide by it.
    """
    inputs = encode(experiment, raw)
    prediction = predict_all(experiment.rule, model, inputs, generator(experiment.seed, "predict"))
    if labels.dtype.is_floating_point:
        return _evaluate_regression(experiment, model, prediction, labels, folder)
    arrays = {
        "labels": labels,
        "predicted": prediction.labels,
        "probabilities": prediction.probabilities,
        "decision_time": prediction.decision_time,
        "silent": prediction.silent,
        "n_spikes": prediction.n_spikes,
    }
    shown = _one(model)
    arrays |= examples(shown, raw, inputs, labels, prediction)
    extra: dict[str, Any] = {}
    if isinstance(shown, LIFNetwork):
        extra["layers"], counts = activity(shown, inputs)
        arrays |= counts
    work = work_of(model, inputs)
    kind: Any = "binary" if experiment.weights.one_bit else "real"
    summary = summarise(prediction, labels, experiment.coding.n_steps, kind, **work)
    curves = _robustness(experiment, model, shown, inputs, labels)
    noise = generator(experiment.seed, "predict")
    summary["uncertainty"] = measure(
        model,
        lambda coded: predict_all(experiment.rule, model, coded, noise),
        lambda images: encode(experiment, images),
        Judged(inputs, labels, prediction, raw if isinstance(raw, np.ndarray) else None),
        validation,
        experiment.coding.n_steps,
        noise,
    )
    if isinstance(shown, SRMNetwork):
        extra["layers"] = shown.sizes()
    models = {"network": model}
    if posterior is not None and validation is not None:
        models = compare(experiment, posterior, model, validation, noise)
    modes, found = _modes(experiment, models, inputs, labels, (model, prediction))
    extra["modes"] = modes
    arrays |= found
    if experiment.data.name == "moons":
        names = sorted({"network", "map", "committee", experiment.predict.mode} & set(models))
        drawn_models = {name: models[name] for name in names}
        far, drawn = surface(experiment.rule, partial(encode, experiment), drawn_models, noise)
        for name, value in far.items():
            modes[name]["far_confidence"] = value
        extra["far_confidence"] = next(far[name] for name in names if models[name] is model)
        arrays |= drawn
    _write(folder, arrays)
    return summary | extra | ({"robustness": curves} if curves else {})


def _modes(
    experiment: Experiment,
    models: dict[str, nn.Module],
    inputs: Any,
    labels: Tensor,
    known: tuple[nn.Module, Prediction],
) -> tuple[dict[str, dict[str, float]], dict[str, Tensor]]:
    """`quality` of each way to decide, and its arrays: `mode_NAME_correct`, `_confidence` and `_confidence_raw`."""
    figures, arrays = {}, {}
    for name, model in models.items():
        noise = generator(experiment.seed, "predict")
        prediction = known[1] if model is known[0] else predict_all(experiment.rule, model, inputs, noise)
        p, raw = prediction.probabilities, prediction.potentials
        decided = prediction.labels.long()
        figures[name] = quality(p, raw, decided, labels)
        arrays[f"mode_{name}_correct"] = decided == labels
        for end, probabilities in (("", p), ("_raw", raw.double().softmax(1))):
            confidence = probabilities.gather(1, decided[:, None])[:, 0]
            arrays[f"mode_{name}_confidence{end}"] = confidence.float()
    return figures, arrays


def _write(folder: RunFolder, arrays: dict[str, Tensor]) -> None:
    owned = {name: tensor.detach().contiguous() for name, tensor in arrays.items()}
    write_atomically(folder.evaluation_arrays, to_safetensors(owned))


def _evaluate_regression(
    experiment: Experiment, model: nn.Module, prediction: Prediction, targets: Tensor, folder: RunFolder
) -> dict[str, Any]:
    """Root mean square and mean absolute error, and the spread of a committee's members, of the scaled targets.

    Of the one-dimensional regression also apart: where there are training data, and in the gaps between.
    """
    mean = prediction.potentials[:, 0].double()
    arrays = {"labels": targets, "predicted": mean, "n_spikes": prediction.n_spikes}
    figures: dict[str, Any] = {
        "n": len(targets), "n_steps": experiment.coding.n_steps,
        "rmse": float((mean - targets).square().mean().sqrt()), "mae": float((mean - targets).abs().mean()),
        "spikes": float(prediction.n_spikes.double().mean()),
        "synops": float(prediction.n_synops.double().mean()),
    }  # fmt: skip
    network, spread = _one(model), None
    if isinstance(network, SRMNetwork):
        figures["layers"] = network.sizes()
    if prediction.members is not None:
        arrays["members"] = prediction.members[:, :, 0]
        spread = prediction.members[:, :, 0].double().std(1)
        figures["spread"] = float(spread.mean())
    if experiment.data.name == "regression":
        train_x, train_y, test_x, _ = regression_points()
        low, high = regression_scale()[1]
        arrays |= {
            "x": torch.from_numpy(test_x),
            "points_train_x": torch.from_numpy(train_x),
            "points_train_targets": torch.from_numpy(min_max(train_y, low, high)),
        }
        trained = torch.from_numpy(np.any([(a <= test_x) & (test_x < b) for a, b in TRAINED], axis=0))
        for name, rows in (("trained", trained), ("gaps", ~trained)):
            figures[f"rmse_{name}"] = float((mean - targets)[rows].square().mean().sqrt())
            if spread is not None:
                figures[f"spread_{name}"] = float(spread[rows].mean())
    _write(folder, arrays)
    return figures


def _one(model: nn.Module) -> Any:
    """A network to show: the first member of a committee, the posterior of an ensemble."""
    if isinstance(model, Committee):
        return model.members[0]
    return model.posterior if isinstance(model, Ensemble) else model


def _robustness(
    experiment: Experiment, model: nn.Module, shown: nn.Module, inputs: Any, labels: Tensor
) -> dict[str, Any]:
    """Accuracy with disturbed inputs.

    First spikes: shifted by up to J steps (up to half of all steps), or lost with probability p. Spike trains, on the
    first `N_DISTURBED` inputs: spikes lost; recordings also shifted; still images that are currents get pixel noise.
    """
    coding: Any = experiment.coding
    noise = generator(experiment.seed, "predict")

    def predict(disturbed: Any) -> Prediction:
        return predict_all(experiment.rule, model, disturbed, noise)

    if isinstance(coding, FirstSpike):
        return {
            "jitter": jitter_curve(
                predict, inputs, labels, coding.n_steps, _steps(coding.n_steps, 16), noise
            ),
            "deletion": deletion_curve(predict, inputs, labels, coding.n_steps, LOST, noise),
        }
    if not isinstance(shown, LIFNetwork | SRMNetwork):
        return {}
    inputs, labels = inputs[:N_DISTURBED], labels[:N_DISTURBED]

    def curve(disturb: Any, undisturbed: Any, strengths: Sequence[float]) -> list[tuple[float, float]]:
        return [(s, accuracy(predict(disturb(undisturbed, s, noise)), labels)) for s in strengths]

    if isinstance(coding, Direct) or (isinstance(shown, SRMNetwork) and coding.of_images):
        return {"noise": curve(add_noise, inputs, (0.0, 0.1, 0.2, 0.3, 0.5))}
    trains = inputs if isinstance(inputs, SpikeList) else _spike_list(shown, inputs)
    curves = {"deletion": curve(delete_trains, trains, LOST)}
    if isinstance(inputs, SpikeList):
        curves["jitter"] = curve(jitter_trains, trains, _steps(coding.n_steps, 64))
    return curves


def _steps(n_steps: int, finest: int) -> list[int]:
    """Strengths of jitter: 0 to 8 / `finest` of the duration."""
    return sorted({round(n_steps * k / finest) for k in (0, 1, 2, 4, 6, 8)})


def _spike_list(model: Any, images: Tensor) -> SpikeList:
    """The trains that images are decided by."""
    parts = []
    for part in torch.split(images, 100):
        signal = model.signal(part)
        assert isinstance(signal, Spikes)
        row, step, channel = unpack(signal, torch.bool).numpy().nonzero()
        offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(part)))]).astype(np.int64)
        parts.append(
            SpikeList(step.astype(np.int16), channel.astype(np.int32), offsets, signal.n_steps, signal.n)
        )
    return SpikeList.concatenate(parts)


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
