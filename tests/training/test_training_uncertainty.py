"""What evaluation.json says about uncertainty: of made-up networks whose answers are known, and of whole runs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from torch import Tensor

from bitspike.coding import Direct, FirstSpike
from bitspike.contracts import Batch
from bitspike.data import load
from bitspike.experiment import Experiment, Training
from bitspike.metrics import entropy
from bitspike.metrics.conformal import coverage_range
from bitspike.metrics.uncertainty import conformal_figures, decision_figures, ood_figures
from bitspike.networks.base import LayerFacts, Network
from bitspike.packed.base import Packed
from bitspike.prediction import Prediction
from bitspike.recipes.bnn import bnn_digits
from bitspike.rules.first_spike_race import FirstSpikeRace
from bitspike.rules.hm2bp import HM2BP
from bitspike.settings import IF, LIF, Optimizer, Weights
from bitspike.training import train
from bitspike.training.encode import encode
from bitspike.training.score import score_of
from bitspike.training.uncertainty import Judged, measure


def predicted(potentials: Tensor, temperature: float = 1.0, time: int = 9) -> Prediction:
    n, nothing = len(potentials), torch.zeros(len(potentials), dtype=torch.int64)
    return Prediction(
        labels=potentials.argmax(1),
        probabilities=(potentials / temperature).softmax(1),
        decision_time=torch.full((n,), time),
        silent=nothing.bool(),
        tied=torch.zeros_like(potentials, dtype=torch.bool),
        potentials=potentials,
        n_spikes=nothing,
        n_synops=nothing,
    )


class Fake(Network):
    """Reads the potentials off the input; has no answer before the end."""

    system = "fake"
    decides = "window"

    def __init__(self) -> None:
        super().__init__(FirstSpike(10), 3, Weights("real"), "reference")

    def _decide(self, inputs: Tensor, generator: torch.Generator | None) -> Prediction:
        return predicted(inputs)

    @property
    def layers(self) -> tuple[LayerFacts, ...]:
        return ()

    def packed(self) -> Packed:
        raise AssertionError


class Two(Fake):
    """Two members decide, who can be asked at any time; lost in images that are not upright."""

    @property
    def anytime(self) -> bool:
        return True

    def _decide(self, inputs: Tensor, generator: torch.Generator | None) -> Prediction:
        return by_two(inputs)

    def over_time(self, inputs: Tensor, times: Tensor) -> Tensor:
        share = (times + 1)[None, :, None] / 10
        return (inputs[:, None].float() * share).softmax(2)


def by_two(potentials: Tensor) -> Prediction:
    """Decisions of two members, who disagree about strange inputs."""
    same = potentials.softmax(1)
    other = torch.where(potentials[:, :1] == -1, same.flip(1), same)
    return replace(predicted(potentials, 2.0), members=torch.stack([same, other], 1))


def made_up(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=generator)
    potentials = torch.randn(n, 3, generator=generator) + 3 * torch.nn.functional.one_hot(labels, 3)
    return potentials, labels


def test_figures_of_a_known_network() -> None:
    potentials, labels = made_up(3000, 0)
    known, answers = made_up(999, 1)
    images = np.zeros((3000, 4, 4), np.uint8)
    images[:, 0] = 255  # a bar at the top; turned, it stands at the left

    def encode(pixels: Any) -> Tensor:
        upright = torch.from_numpy((pixels[:, 0] == 255).all(1) & (pixels[:, 1:] == 0).all((1, 2)))
        return torch.where(upright[:, None], 50.0, -1.0) * torch.tensor([1.0, 0.0, 0.0])

    found = measure(
        Two(),
        encode,
        Judged(potentials, labels, by_two(potentials), images),
        Batch(known, answers),
        10,
        torch.Generator().manual_seed(2),
    )
    assert found["ece_interval"][0] < found["ece_interval"][1]
    assert 0 <= found["eaurc"] < found["aurc"] < 0.1
    # strange images get two wide-open classes; the entropy of the others lies below that
    assert set(found["ood"]) == {"rotated", "noisy"}
    for figures in found["ood"].values():
        assert set(figures) == {"entropy", "max_probability", "fpr95", "mutual_information"}
        assert figures["entropy"] > 0.9
        assert figures["mutual_information"] > 0.6
    assert found["conformal_samples"] == 999
    for alpha, figures in found["conformal"].items():
        assert figures["coverage_range"] == list(coverage_range(999, float(alpha)))
        assert figures["coverage"] == pytest.approx(1 - float(alpha), abs=4 * math.sqrt(float(alpha) / 900))
        early = found["conformal_early"][alpha]
        assert set(early) == {"early", "full"}
        assert early["full"]["coverage_range"] == figures["coverage_range"]
        assert early["early"]["coverage_range"] == list(coverage_range(500, float(alpha)))  # the second half
        assert early["early"]["coverage"] == pytest.approx(
            1 - float(alpha), abs=5 * math.sqrt(float(alpha) / 500)
        )
        assert early["early"]["decision_time"] <= early["full"]["decision_time"] == 9
        share = 1 - float(alpha)
        assert early["full"]["coverage"] == pytest.approx(share, abs=4 * math.sqrt(float(alpha) / 900))
    assert found["conformal_early"]["0.1"]["early"]["decision_time"] < 8
    # decisions were made at temperature 2, the data are of temperature near 1
    scaled, before = (
        found["temperature"],
        decision_figures(predicted(potentials, 2.0), labels),
    )
    assert scaled["temperature"] < 0.8
    assert scaled["ece"] < before["ece_mass"] / 2


def test_nothing_that_the_run_does_not_have_is_measured() -> None:
    potentials, labels = made_up(50, 3)
    rows = np.zeros((50, 1, 7), np.uint8)
    for images in (None, rows):  # recordings, and features
        test = Judged(potentials, labels, predicted(potentials), images)
        found = measure(Fake(), lambda x: x, test, None, 10, torch.Generator())
        assert set(found) == {"ece_interval", "ece_mass", "ece_mass_interval", "aurc", "eaurc"}
    found = measure(Fake(), lambda x: x, test, Batch(*made_up(9, 4)), 10, torch.Generator())
    assert set(found) - {"conformal", "conformal_samples", "conformal_thresholds", "temperature"} == {
        "ece_interval", "ece_mass", "ece_mass_interval", "aurc", "eaurc",
    }  # fmt: skip
    # 9 samples support 90 %, not 99 %
    assert [alpha for alpha, _ in found["conformal_thresholds"]] == [0.1, 0.2]
    assert found["conformal"]["0.01"]["mean_set_size"] == 3
    assert found["conformal"]["0.01"]["coverage_range"] == [1.0, 1.0]


def test_ood_figures_equal_scikit_learn() -> None:
    inside, outside = (made_up(80, seed)[0].softmax(1) for seed in (5, 6))
    figures = ood_figures(inside, outside.sqrt() / outside.sqrt().sum(1, keepdim=True))
    outside = outside.sqrt() / outside.sqrt().sum(1, keepdim=True)
    truth = [0] * 80 + [1] * 80
    both = torch.cat([inside, outside])
    entropy = -(both * both.log()).sum(1)
    assert figures["entropy"] == pytest.approx(roc_auc_score(truth, entropy))
    assert figures["max_probability"] == pytest.approx(roc_auc_score(truth, -both.amax(1)))
    assert "mutual_information" not in figures


RUNS = {
    "race": Experiment(
        "small", coding=FirstSpike(16), network=IF((24,)), weights=Weights("binary"),
        rule=FirstSpikeRace(tau_c=3.0, tau_h=4.0, width=8.0, theta_out=4.0, p0=0.3), training=Training(epochs=3),
    ),
    "trains": Experiment(
        "small", coding=Direct(30, 1.0), weights=Weights("real", (-0.5, 0.5), (-0.5, 0.5), None),
        network=LIF(("24",), (6.0, 4.0), 8.0, 2.0), rule=HM2BP(desired=12.0, margin=1.0),
        optimizer=Optimizer(lr=0.02), training=Training(epochs=2),
    ),
    "bnn": Experiment(
        "small", coding=bnn_digits.coding, network=IF((24,)), rule=bnn_digits.rule, weights=bnn_digits.weights,
        optimizer=bnn_digits.optimizer, training=Training(epochs=3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_every_kind_says_how_sure_it_is(name: str, tmp_path: Path) -> None:
    experiment = RUNS[name]
    result = train(experiment, tmp_path / "run", progress=False)
    found = result.evaluation["uncertainty"]
    assert ("conformal_early" in found) == (name != "bnn")
    arrays = load_file(result.folder / "evaluation.safetensors")
    thresholds = [tuple(pair) for pair in found["conformal_thresholds"]]
    assert found["conformal"] == conformal_figures(
        arrays["probabilities"], arrays["labels"], thresholds, found["conformal_samples"]
    )
    assert 0.8 <= found["conformal"]["0.1"]["coverage"] <= 0.98
    assert found["conformal"]["0.01"]["coverage"] >= 0.95
    # a network of a few epochs need not be surer of digits than of noise, but the figure must be its own
    assert set(found["ood"]) == {"rotated", "noisy"}
    turned = np.ascontiguousarray(np.rot90(load("digits").test_inputs, axes=(1, 2)))
    outside = result.model.decide(encode(experiment.coding, turned), torch.Generator())
    strange = torch.cat([entropy(arrays["probabilities"]), entropy(outside.probabilities)])
    truth = [0] * len(turned) + [1] * len(turned)
    assert found["ood"]["rotated"]["entropy"] == pytest.approx(roc_auc_score(truth, strange), abs=1e-6)
    assert found["ood"]["noisy"]["entropy"] != found["ood"]["rotated"]["entropy"]
    # the temperature of the run was fitted to the same data
    assert found["temperature"]["nll"] == pytest.approx(result.evaluation["nll"], rel=1e-4)
    for early in found.get("conformal_early", {}).values():
        assert early["early"]["decision_time"] <= early["full"]["decision_time"]


def test_a_regression_scores_higher_the_smaller_its_error() -> None:
    values, targets = torch.tensor([[0.25], [0.75]]), torch.tensor([0.25, 0.5], dtype=torch.float64)
    rmse = math.sqrt(0.25**2 / 2)
    assert score_of(predicted(values, 1.0), targets) == (
        pytest.approx(-rmse),
        {"validation_rmse": pytest.approx(rmse)},
    )
    assert score_of(predicted(values, 1.0), values[:, 0].double())[0] == 0
