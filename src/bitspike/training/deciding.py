"""What decides after training: the network itself, or networks drawn from its posterior (`experiment.predict`)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.contracts import Batch, Prediction, Rule, chunks
from bitspike.experiment import Experiment
from bitspike.metrics.calibration import fit_temperature
from bitspike.networks.committee import Committee, Ensemble
from bitspike.networks.posterior import draw, mode
from bitspike.settings import Predict

BATCH = 1000


def decider(settings: Predict, network: nn.Module, noise: torch.Generator) -> nn.Module:
    """The network, or, where it is a posterior and its mode does not decide, the ensemble or committee of its draws."""
    weights: Any = getattr(network, "weights", None)
    if weights is None or weights.kind != "bernoulli" or settings.mode == "map":
        return network
    if settings.mode == "ensemble":
        return Ensemble(network, settings.draws, settings.average)
    return Committee([draw(network, noise) for _ in range(settings.draws)], settings.average)


def predict_all(rule: Rule, model: nn.Module, inputs: Any, noise: torch.Generator) -> Prediction:
    """Decide on coded inputs, `BATCH` at a time; an ensemble draws its members anew, with `noise`, for each."""
    parts = []
    for part in chunks(inputs, BATCH):
        deciding = model.drawn(noise) if isinstance(model, Ensemble) else model
        if isinstance(deciding, Committee):
            parts.append(deciding.combine([rule.predict(member, part, noise) for member in deciding.members]))
        else:
            parts.append(rule.predict(deciding, part, noise))
    return Prediction.concatenate(parts)


@torch.no_grad()
def calibrate(
    rule: Rule, model: nn.Module, validation: Batch, max_silent: float, noise: torch.Generator
) -> dict[str, Any]:
    """Calibrate on validation data, in place; returns what was chosen.

    A committee's members by themselves, for their thresholds depend on the draw; an ensemble by one draw, whose
    thresholds and temperature it takes over; then the temperature of the averaged probabilities.
    """
    if isinstance(model, Committee):
        chosen = rule.calibrate(model.members[0], validation, max_silent)
        for member in model.members[1:]:
            rule.calibrate(member, validation, max_silent)
    elif isinstance(model, Ensemble):
        member = draw(model.posterior, noise)
        chosen = rule.calibrate(member, validation, max_silent)
        own = model.posterior.state_dict()
        for name, tensor in member.state_dict().items():
            if not name.startswith("latents."):
                own[name].copy_(tensor)
    else:
        return rule.calibrate(model, validation, max_silent)
    prediction = predict_all(rule, model, validation.inputs, noise)
    if prediction.probabilities.shape[1] > 1:
        right = prediction.labels == validation.labels
        if not right.all():  # else no temperature can be told
            model.temperature.fill_(fit_temperature(prediction.potentials, validation.labels))
        temperature, accuracy = float(model.temperature), float(right.double().mean())
        chosen = {"temperature": temperature, "validation_accuracy": accuracy, "first_member": chosen}
    return chosen


def compare(
    experiment: Experiment, posterior: nn.Module, chosen: nn.Module, validation: Batch, noise: torch.Generator
) -> dict[str, nn.Module]:
    """Ways for a posterior to decide: its mode, one draw, draws made anew and a fixed committee of draws.

    `chosen` is the calibrated model that `experiment.predict` asks for, and stands for its own way; the others are
    calibrated by themselves on the validation data.
    """
    settings = experiment.predict
    ensemble, committee = (replace(settings, mode="ensemble"), replace(settings, mode="committee"))
    ways: dict[str, Callable[[], nn.Module]] = {
        "map": lambda: mode(posterior),
        "draw": lambda: draw(posterior, noise),
        "ensemble": lambda: decider(ensemble, copy.deepcopy(posterior), noise),  # calibrated in place
        "committee": lambda: decider(committee, posterior, noise),
    }
    found: dict[str, nn.Module] = {}
    for name, make in ways.items():
        if name == settings.mode:
            found[name] = chosen
            continue
        found[name] = make()
        calibrate(experiment.rule, found[name], validation, experiment.training.max_silent, noise)
    return found


def score_of(prediction: Prediction, labels: Tensor) -> tuple[float, dict[str, float]]:
    """What the best model has most of, and its name and value to log: accuracy, or minus the error of a regression."""
    if not labels.dtype.is_floating_point:
        n = len(labels)
        accuracy = int((prediction.labels == labels).sum()) / n
        return accuracy, {
            "validation_accuracy": accuracy,
            "validation_silent": int(prediction.silent.sum()) / n,
        }
    rmse = float((prediction.potentials[:, 0].double() - labels).square().mean().sqrt())
    return -rmse, {"validation_rmse": rmse}
