"""The race rule: refusals, the start from data, calibration, and back ends that decide alike."""

from dataclasses import replace

import pytest
import torch

from bitspike.coding import Pixel
from bitspike.contracts import Batch, Progress, Task
from bitspike.data import load, split
from bitspike.errors import UsageError
from bitspike.networks.decision import Operating, best_operating
from bitspike.prediction import Prediction
from bitspike.recipes.first_spike_race import bs4nn_digits, s4nn_digits
from bitspike.rules.first_spike_race import FirstSpikeRace
from bitspike.settings import IF

FIELDS = [name for name in Prediction.__dataclass_fields__ if name != "members"]  # that is of committees


def _trained(experiment, n_batches):
    parts = split(load("digits"), 1 / 6, 3)
    inputs = experiment.coding.encode(torch.from_numpy(parts.train_inputs).flatten(1))
    labels, generator = torch.from_numpy(parts.train_labels), torch.Generator().manual_seed(3)
    model = experiment.rule.build(experiment, Task(inputs, 10), generator)
    learner = experiment.rule.learner(model, experiment)
    for _ in range(n_batches):
        chosen = torch.randint(0, len(labels), (32,), generator=generator)
        learner.step(Batch(inputs[chosen], labels[chosen]), Progress(), generator)
    held = experiment.coding.encode(torch.from_numpy(parts.validation_inputs).flatten(1))
    return model, Batch(held, torch.from_numpy(parts.validation_labels))


def test_at_the_start_hidden_neurons_fire_on_the_share_asked_for():
    model, held = _trained(replace(s4nn_digits, rule=replace(s4nn_digits.rule, p0=0.3)), 0)
    assert float(model(held.inputs).firing[0]) == pytest.approx(0.3, abs=0.06)


@pytest.mark.parametrize("recipe", [bs4nn_digits, s4nn_digits], ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("max_silent", [0.0, 0.05, 1.0])
def test_calibrated_networks_decide_alike_on_every_back_end(recipe, max_silent):
    """Also a hardly trained one, whose best threshold is low: below 0 it would fire before any input."""
    model, held = _trained(replace(recipe, network=IF((24,))), 70)
    chosen = model.finish(held, max_silent)
    assert float(model.thresholds[-1].detach().min()) >= 0
    native = model.decide(held.inputs)
    model.backend = "reference"
    plain = model.decide(held.inputs)
    for field in FIELDS:
        assert torch.equal(getattr(native, field), getattr(plain, field)), field
    assert float((plain.labels == held.labels).double().mean()) == pytest.approx(
        chosen["validation_accuracy"]
    )
    silent = [point["silent"] for point in chosen["sweep"]]
    assert chosen["validation_silent"] == float(plain.silent.double().mean())
    assert chosen["validation_silent"] <= max(
        max_silent, min(silent)
    )  # where none qualifies the least silent is taken
    if max_silent == 0.0:
        assert chosen["validation_silent"] == min(silent)


def test_the_operating_point_obeys_the_limit_of_silence():
    points = [Operating(-1.0, 0.8, 0.0, 1.0), Operating(0.0, 0.9, 0.04, 2.0), Operating(1.0, 0.95, 0.2, 3.0)]
    assert best_operating(points, 0.05) == best_operating(points, 0.04) == points[1]
    assert best_operating(points, 0.5) == points[2]
    assert best_operating(points[2:], 0.05) == points[2]  # none qualifies: the least silent
    assert best_operating([points[1], Operating(2.0, 0.9, 0.01, 1.5)], 0.05).decision_time == 1.5


def test_thresholds_stay_at_zero_or_above():
    """Steps so large that some would fall far below."""
    large = replace(bs4nn_digits.optimizer, lr_threshold=40.0, lr_output_threshold=40.0)
    model, _ = _trained(replace(bs4nn_digits, network=IF((24,)), optimizer=large), 2)
    assert [float(threshold.detach().min()) for threshold in model.thresholds] == [0, 0]


def test_refusals():
    with pytest.raises(UsageError, match="FirstSpike"):
        replace(bs4nn_digits, coding=Pixel())
    with pytest.raises(UsageError, match="delay"):
        replace(bs4nn_digits, network=IF((10,), delay=1))
    with pytest.raises(UsageError, match="hidden layer"):
        replace(bs4nn_digits, network=IF(()))
    for wrong in ({"tau_c": 0.0}, {"beta": 0.0}, {"p0": 1.5}, {"dropout": 1.0}, {"width": -1.0}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            FirstSpikeRace(**wrong)
