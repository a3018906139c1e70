"""BiSNN runs from the evaluation to the page: small networks, untrained, on the reference back end."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from test_report_page import _Structure
from test_report_table import cells

from bitspike.coding import Poisson
from bitspike.contracts import Batch, Task
from bitspike.data import load, split
from bitspike.data.synthetic import moons_points, regression_points
from bitspike.experiment import Training
from bitspike.metrics import expected_calibration_error
from bitspike.metrics.quality import N_BINS
from bitspike.networks.base import Network
from bitspike.networks.committee import deciding
from bitspike.prediction import Prediction
from bitspike.recipes.bisnn import bayes_bisnn_moons, bayes_bisnn_regression, st_bisnn_moons
from bitspike.report import results_table, write_report
from bitspike.report.headline import headline
from bitspike.report.record import read_record
from bitspike.settings import SRM, Predict, Weights
from bitspike.training.encode import encode
from bitspike.training.evaluate import Evaluated, evaluate
from bitspike.training.run_folder import RunFolder
from bitspike.training.surface import FAR, distance, surface

SMALL = {
    "coding": Poisson(8, rate=1.0, frozen=True),
    "network": SRM(("6", "5"), burn_in=3),
    "backend": "reference",
}
COMMITTEE = Predict("committee", 3)
SIDE = 20


def finished(folder, experiment):
    """The run of an untrained network, as training leaves it but for its log."""
    where = RunFolder.create(folder, experiment)
    dataset = load(experiment.data.name)
    parts = split(dataset, experiment.data.validation, experiment.split_seed)
    sample = encode(experiment.coding, parts.train_inputs)
    noise = torch.Generator().manual_seed(3)
    task = Task(sample, dataset.n_outputs, dataset.shape, len(sample))
    posterior = experiment.rule.build(experiment, task, noise)
    coded = encode(experiment.coding, parts.validation_inputs)
    validation = Batch(coded, torch.tensor(parts.validation_labels))
    network = deciding(posterior, experiment.predict, noise)
    network.finish(validation, 0.05, noise)
    drawn_from = posterior if experiment.weights.kind == "bernoulli" else None
    test = parts.test_inputs, torch.tensor(parts.test_labels)
    evaluated = Evaluated(*test, validation, drawn_from, dataset)
    where.write_json("evaluation.json", evaluate(experiment, network, evaluated, where))
    return folder


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "moons"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bitspike.training.surface.SIDE", SIDE)
        return finished(folder, replace(bayes_bisnn_moons, predict=COMMITTEE, **SMALL))


@pytest.fixture(scope="module")
def regression(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "regression"
    return finished(folder, replace(bayes_bisnn_regression, predict=COMMITTEE, **SMALL))


def page(folder) -> tuple[str, _Structure]:
    text = write_report(folder).read_text(encoding="utf-8")
    structure = _Structure(text)
    assert structure.open == []
    assert len(structure.ids) == len(set(structure.ids))
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)
    return text, structure


def test_every_way_to_decide_is_compared_and_the_run_s_own_is_among_them(moons):
    run = read_record(moons)
    assert list(run.modes) == ["map", "draw", "ensemble", "committee"]
    assert run.own_mode == "committee"
    for key in ("accuracy", "nll", "brier"):
        assert run.modes["committee"][key] == pytest.approx(run.evaluation[key])
    for name, figures in run.modes.items():
        parts = (torch.from_numpy(run.arrays[f"mode_{name}_{part}"]) for part in ("confidence", "correct"))
        assert expected_calibration_error(*parts, N_BINS) == pytest.approx(figures["ece"], abs=1e-6)
        assert {"nll_raw", "ece_raw", "brier_raw"} < set(figures)


def far_confidence(folder, name) -> float:
    """How sure a way to decide is far from the training points, from the surface that was stored."""
    i, j = np.divmod(np.arange(SIDE * SIDE), SIDE)
    far = distance(np.stack([j, i], axis=1) / SIDE, moons_points()[0]) >= FAR
    assert 0.05 < far.mean() < 0.95
    p = load_file(folder / "evaluation.safetensors")[f"surface_{name}"].reshape(-1)[far]
    return float(np.maximum(p, 1 - p).mean())


def test_confidence_far_from_the_data_is_that_of_the_surface(moons):
    run, arrays = read_record(moons), load_file(moons / "evaluation.safetensors")
    for name in ("map", "committee"):
        assert run.modes[name]["far_confidence"] == pytest.approx(far_confidence(moons, name), abs=1e-6)
    assert run.evaluation["far_confidence"] == run.modes["committee"]["far_confidence"]
    assert "surface_map_information" not in arrays
    information = arrays["surface_committee_information"]
    assert information.shape == (SIDE, SIDE)
    assert 0 <= information.min() < information.max() <= np.log(2)


class _ByFirstCoordinate(Network):
    """Takes for the probability of class 1 how far along the units of the first coordinate the strongest one lies."""

    system, decides, layers = "fake", "once", ()

    def __init__(self):
        super().__init__(Poisson(8), 2, Weights("real"), "reference")

    def packed(self):
        raise AssertionError

    def _decide(self, inputs, generator):
        p = inputs[:, 0].argmax(1).double() / 9
        nothing = torch.zeros(len(p), dtype=torch.int64)
        probabilities = torch.stack([1 - p, p], 1)
        return Prediction(
            labels=probabilities.argmax(1), probabilities=probabilities, decision_time=nothing,
            silent=nothing.bool(), tied=probabilities.bool(), potentials=probabilities.log(), n_spikes=nothing,
            n_synops=nothing,
        )  # fmt: skip


def test_the_surface_stands_upright():
    networks = {"network": _ByFirstCoordinate()}
    _, arrays = surface(load("moons").plane, torch.from_numpy, networks, torch.Generator())
    values = arrays["surface_network"]
    assert (values == values[:1]).all()
    assert values[0, 0] == 0
    assert values[0, -1] == 1
    assert (values[0].diff() >= 0).all()


def test_distance_is_that_of_the_nearest():
    assert distance(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[3.0, 0.0], [0.0, 1.0]])).tolist() == [1, 4]


def test_a_run_without_posterior_has_the_network_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("bitspike.training.surface.SIDE", SIDE)
    folder = finished(tmp_path / "run", replace(st_bisnn_moons, **SMALL))
    run = read_record(folder)
    assert list(run.modes) == ["network"]
    assert run.modes["network"]["far_confidence"] == run.evaluation["far_confidence"]
    text, structure = page(folder)
    assert "surface" in structure.sections
    assert text.count("Reliability diagram: ") == 2


def test_moons_have_their_page(moons):
    text, structure = page(moons)
    assert structure.sections >= {"surface", "calibration", "uncertainty", "errors", "record"}
    assert "spikes" not in structure.sections
    assert text.count("Reliability diagram: ") == 2 * 4  # bins of equal width and of equal mass
    assert text.count('<tr class="chosen"><td>committee</td>') == 1
    assert "moons · 20–6–5 · bernoulli weights" in text
    far = f"{far_confidence(moons, 'committee'):.1%}"
    assert far in {card["value"] for card in headline(read_record(moons))}
    assert text.count(far) >= 2
    for words in ("AURC", "mutual information", "Excess AURC", "as soon as", "mean step of the decision"):
        assert words in text


def test_a_regression_has_a_page_without_accuracy(regression):
    run = read_record(regression)
    assert run.regression
    text, structure = page(regression)
    assert structure.sections == {"band", "cost", "record"}
    assert "Accuracy" not in text.split('id="record"')[0]
    assert headline(run)[0]["value"] == f"{run.evaluation['rmse']:.4f}"
    assert "regression · 20–6–5" in text


def test_errors_and_spread_of_a_regression_near_its_data_and_in_the_gaps(regression):
    e, arrays = read_record(regression).evaluation, load_file(regression / "evaluation.safetensors")
    x = arrays["x"]
    gaps = ((x >= 0) & (x < 1.5)) | ((x >= 2.5) & (x < 4))
    assert gaps.sum() == 300
    squares = (arrays["predicted"] - arrays["labels"]) ** 2
    spread = arrays["members"].astype(float).std(axis=1, ddof=1)
    assert e["rmse_gaps"] == pytest.approx(squares[gaps].mean() ** 0.5)
    assert e["rmse_trained"] == pytest.approx(squares[~gaps].mean() ** 0.5)
    assert e["spread_gaps"] == pytest.approx(spread[gaps].mean(), rel=1e-4)
    assert e["spread_trained"] == pytest.approx(spread[~gaps].mean(), rel=1e-4)
    assert arrays["points_train_x"].tolist() == regression_points()[0].tolist()


def test_rows_of_the_results_table(moons, regression):
    first, second = cells(results_table([moons, regression]))
    assert first["network"] == second["network"] == "20-6-5"
    assert first["weights"] == "bernoulli"
    assert first["rule"] == "BiSNN"
    assert first["RMSE"] == "–"
    assert second["Accuracy (%)"] == second["95 % interval"] == second["Calibration error (%)"] == "–"
    assert second["RMSE"] == f"{json.loads((regression / 'evaluation.json').read_text())['rmse']:.4f}"


def test_tasks_learned_in_turn_have_their_curves(tmp_path):
    folder = tmp_path / "run"
    RunFolder.create(folder, replace(bayes_bisnn_moons, training=Training(epochs=4, tasks=("0", "1"))))
    RunFolder.open(folder).write_json("evaluation.json", {"accuracy": 0.5})
    for epoch in range(1, 5):
        known = {f"validation_task_{task}": 0.9 - 0.1 * task for task in range(1, 2 + (epoch > 2))}
        RunFolder.open(folder).append_metrics({"epoch": epoch, "loss": 1.0, **known})
    text, structure = page(folder)
    assert "tasks" in structure.sections
    assert "classes 0" in text
    assert "classes 1" in text
