"""Settings that change while a run goes on: written down, refused where they would make it another run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import small_runs
from bitspike import codec
from bitspike.coding import FirstSpike, Poisson
from bitspike.contracts import Batch, Progress
from bitspike.data.augment import Augment
from bitspike.data.distortion import Distortion
from bitspike.errors import DataError, UsageError
from bitspike.experiment import Data, Experiment, Training
from bitspike.recipes.bnn import bnn_digits
from bitspike.rules.bisnn import BiSNN
from bitspike.rules.bnn import BNNLearner
from bitspike.rules.first_spike_race import FirstSpikeRace
from bitspike.rules.hm2bp import HM2BP
from bitspike.rules.s4nn import S4NN
from bitspike.settings import LIF, SRM, Optimizer, Weights
from bitspike.training import RunFolder, load_model, load_snapshots, resume, train
from bitspike.training.checkpoint import load_checkpoint
from small_runs import results

CONSTANT = replace(bnn_digits.optimizer, schedule="constant")


def small(**changes: Any) -> Experiment:
    return small_runs.small(**{"data": Data(validation=0.7), "optimizer": CONSTANT, **changes})


def cut(experiment: Experiment, folder: Path, epoch: int) -> Path:
    """A run that was interrupted after so many epochs."""
    with small_runs.interrupted(epoch + 1, written=False):
        train(experiment, folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small()`, interrupted after an epoch; not to be touched."""
    return cut(small(), tmp_path_factory.mktemp("runs") / "interrupted", 1)


@pytest.fixture
def begun(interrupted: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(interrupted, tmp_path / "run"))


def files(folder: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


def last_resumption(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = RunFolder(folder).manifest()["resumed"][-1]
    return told


def test_changes_hold_from_here_on_and_are_written_down(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, rates = begun, set[float]()
    step = BNNLearner.step

    def watched(self: BNNLearner, batch: Batch, progress: Progress, noise: torch.Generator) -> Any:
        report = step(self, batch, progress, noise)
        rates.add(self.optimiser.param_groups[0]["lr"])
        return report

    monkeypatch.setattr(BNNLearner, "step", watched)
    result = resume(folder, progress=False, changes={"optimizer.lr": 1e-4, "training.epochs": 5})
    expected = small(training=Training(epochs=5, batch_size=50), optimizer=replace(CONSTANT, lr=1e-4))
    assert result.experiment == RunFolder(folder).experiment() == load_model(folder)[0] == expected
    assert rates == {1e-4}
    assert [line["epoch"] for line in RunFolder(folder).metrics()] == [1, 2, 3, 4, 5]
    told = last_resumption(folder)
    assert told["after_epoch"] == 1
    assert told["changes"] == {"optimizer.lr": [CONSTANT.lr, 1e-4], "training.epochs": [3, 5]}
    again = resume(folder, progress=False)
    assert again.evaluation == result.evaluation
    assert last_resumption(folder) == told  # a finished run is only read


def test_changes_before_the_first_checkpoint_are_the_experiment(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "cut", small())
    resume(tmp_path / "cut", progress=False, changes={"optimizer.lr": 1e-4})
    train(small(optimizer=replace(CONSTANT, lr=1e-4)), tmp_path / "whole", progress=False)
    assert results(tmp_path / "cut") == results(tmp_path / "whole")
    assert "resumed" not in RunFolder(tmp_path / "cut").manifest()


def test_a_part_of_another_class_is_written_down_as_it_is_saved(begun: Path) -> None:
    folder = begun
    resume(folder, progress=False, changes={"augment": Distortion(share="epoch")})
    before, after = last_resumption(folder)["changes"]["augment"]
    tree = json.loads(codec.to_json(RunFolder(folder).experiment()))
    assert (before["kind"], after) == ("Augment", tree["augment"])


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"name": "other"},
        {"data.name": "moons"},
        {"data.validation": 0.5},
        {"data.split": 3},
        {"data": Data("digits", validation=0.25)},
        {"optimizer.lr": 1e-3, "seed": 2},
    ],
)
def test_what_makes_it_another_run_is_refused(begun: Path, changes: dict[str, Any]) -> None:
    before = files(begun)
    with pytest.raises(UsageError, match="cannot change while a run goes on; start another run"):
        resume(begun, progress=False, changes=changes)
    assert files(begun) == before


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"optimizer.rate": 1e-3}, r"no setting 'optimizer\.rate'"),
        ({"optimizer.lr": -1.0}, r"optimizer\.lr"),
        ({"optimizer.lr": "fast"}, r"optimizer\.lr"),
        ({"training.epochs": 2.5}, r"training\.epochs"),
        ({"weights.kind": "real"}, r"weights\.kind"),
        ({"device": "tpu"}, "device"),
        ({"network.hidden": (31,)}, "does not fit the experiment's network"),
        ({"coding": FirstSpike(8)}, "codings"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    begun: Path, changes: dict[str, Any], complaint: str
) -> None:
    before = files(begun)
    with pytest.raises((UsageError, DataError), match=complaint):
        resume(begun, progress=False, changes=changes)
    assert files(begun) == before


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"coding": FirstSpike(8), "rule": FirstSpikeRace(theta_out=4.0, width=4.0, dropout=0.2),
         "optimizer": Optimizer(lr=0.01, schedule="constant")},
        {"coding": FirstSpike(8), "rule": S4NN(gamma=1, thresholds=(5.0, 5.0), alpha=1.0, dead_share=0.05),
         "optimizer": Optimizer("sgd", lr=0.1, schedule="constant")},
        {"coding": Poisson(20, 1.0), "rule": HM2BP(desired=10.0, margin=1.0, boost=True),
         "network": LIF(("12",), (8.0, 4.0), tau_m=8.0, tau_s=2.0)},
        {"coding": Poisson(12, 1.0), "rule": BiSNN(), "network": SRM(("8",), burn_in=4),
         "weights": Weights("bernoulli"), "optimizer": Optimizer(lr=0.01, schedule="constant")},
    ],
    ids=["BNN", "FirstSpikeRace", "S4NN", "HM2BP", "BiSNN"],
)  # fmt: skip
def test_a_finished_run_goes_on_by_more_epochs_as_if_it_had_not_ended(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    two, four = Training(epochs=2, batch_size=50), Training(epochs=4, batch_size=50)
    train(small(training=four, **changes), tmp_path / "whole", progress=False)
    first = train(small(training=two, **changes), tmp_path / "longer", progress=False)
    result = resume(tmp_path / "longer", progress=False, changes={"training.epochs": 4})
    assert results(tmp_path / "longer") == results(tmp_path / "whole")
    assert last_resumption(tmp_path / "longer")["changes"] == {"training.epochs": [2, 4]}
    assert first.experiment.training.epochs == 2
    assert result.experiment.training.epochs == 4


def test_a_finished_run_that_goes_on_can_be_interrupted(tmp_path: Path) -> None:
    train(small(training=Training(epochs=6, batch_size=50)), tmp_path / "whole", progress=False)
    folder = tmp_path / "longer"
    train(small(), folder, progress=False)
    with small_runs.interrupted(5, written=False):
        resume(folder, progress=False, changes={"training.epochs": 6})
    with pytest.raises(DataError, match="stopped after epoch 4; resume it first"):
        load_model(folder)
    resume(folder, progress=False)
    assert results(folder) == results(tmp_path / "whole")


def test_snapshots_are_those_of_the_last_epochs(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(small(training=Training(epochs=2, batch_size=50, keep=2)), folder, progress=False)
    resume(folder, progress=False, changes={"training.epochs": 4})
    assert len(list(folder.glob("snapshot-*"))) == 4
    _, networks = load_snapshots(folder)
    states = [load_checkpoint(RunFolder(folder).snapshot(epoch)).network for epoch in (3, 4)]
    assert len(networks) == 2
    for network, state in zip(networks, states, strict=True):
        assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in state.items())


def test_of_a_finished_run_nothing_else_changes_by_itself(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = train(small(), folder, progress=False)
    before = files(folder)
    with pytest.raises(UsageError, match="seed cannot change while a run goes on"):
        resume(folder, progress=False, changes={"seed": 2, "training.epochs": 5})
    for changes in ({"optimizer.lr": 1e-3}, {"predict.average": "potential"}, {"device": "auto"}):
        with pytest.raises(
            UsageError, match=f"finished, without {next(iter(changes))} changed; raise training.epochs"
        ):
            resume(folder, progress=False, changes=changes)
    with pytest.raises(UsageError, match=r"holds 3 epochs; training\.epochs is 2"):
        resume(folder, progress=False, changes={"training.epochs": 2})
    assert files(folder) == before
    same = resume(folder, progress=False, changes={"optimizer.lr": CONSTANT.lr, "training.epochs": 3})
    assert same.evaluation == result.evaluation
    assert results(folder) == {name: before[name] for name in results(folder)}


def test_fewer_epochs_end_a_run_where_it_is(tmp_path: Path) -> None:
    two = small(training=Training(epochs=2, batch_size=50))
    train(two, tmp_path / "whole", progress=False)
    folder = cut(small(), tmp_path / "cut", 2)
    resume(folder, progress=False, changes={"training.epochs": 2})
    assert results(folder) == results(tmp_path / "whole")


def test_fewer_epochs_than_the_first_look_at_validation_data(tmp_path: Path) -> None:
    seldom = small(data=Data(), training=Training(epochs=6, batch_size=50, evaluate_every=4))
    folder = cut(seldom, tmp_path / "cut", 2)
    result = resume(folder, progress=False, changes={"training.epochs": 2})
    assert result.evaluation["best_epoch"] == 2
    assert 0.5 < result.evaluation["validation_accuracy"] < 1


@pytest.mark.parametrize(
    ("experiment", "changes"),
    [
        (small(), {"optimizer.name": "sgd", "optimizer.lr": 0.01}),
        (small(optimizer=Optimizer("sgd", lr=0.01)), {"optimizer.name": "adam"}),
        (small(), {"optimizer.schedule": "cosine", "augment": Augment(shift=1), "training.batch_size": 20}),
        (
            small(coding=Poisson(12, 1.0), rule=BiSNN(), network=SRM(("8",), burn_in=4), weights=Weights("binary")),
            {"optimizer.name": "sgd", "optimizer.lr": 0.1},
        ),
        (
            small(
                coding=Poisson(12, 1.0), rule=BiSNN(), network=SRM(("8",), burn_in=4), weights=Weights("binary"),
                optimizer=Optimizer("sgd", lr=0.1),
            ),
            {"optimizer.name": "adam"},
        ),
        (
            small(
                coding=Poisson(20, 1.0), rule=HM2BP(desired=10.0, margin=1.0, boost=True),
                network=LIF(("12",), (8.0, 4.0), tau_m=8.0, tau_s=2.0),
            ),
            {"rule.boost": False, "rule.margin": 2.0},
        ),
        (
            small(
                coding=Poisson(20, 1.0), rule=HM2BP(desired=10.0, margin=1.0),
                network=LIF(("12",), (8.0, 4.0), tau_m=8.0, tau_s=2.0),
            ),
            {"rule.boost": True},
        ),
    ],
    ids=["adam-sgd", "sgd-adam", "schedule", "BiSNN-sgd", "BiSNN-adam", "boost-off", "boost-on"],
)  # fmt: skip
def test_learners_take_their_state_back_under_changed_settings(
    tmp_path: Path, experiment: Experiment, changes: dict[str, Any]
) -> None:
    begun = replace(experiment, training=Training(epochs=2, batch_size=200))
    folder = cut(begun, tmp_path / "run", 1)
    before = load_checkpoint(RunFolder(folder).checkpoint)
    result = resume(folder, progress=False, changes=changes)
    after = load_checkpoint(RunFolder(folder).checkpoint)
    assert result.experiment == begun.with_changes(changes)
    assert after.finished
    assert any(not torch.equal(tensor, before.network[name]) for name, tensor in after.network.items())


class Plain(Augment):
    """A class that its module cannot give back: it is not a dataclass of its own."""


def test_what_cannot_be_saved_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*arguments: Any) -> Any:
        raise AssertionError("trained")

    monkeypatch.setattr(BNNLearner, "step", step)
    complaint = r"test_training_changes:Plain cannot be saved: decorate it with @dataclass\(frozen=True\)"
    with pytest.raises(UsageError, match=complaint):
        train(small(augment=Plain()), tmp_path / "run", progress=False)
    folder = tmp_path / "begun"
    RunFolder.create(folder, small())
    with pytest.raises(UsageError, match=complaint):
        resume(folder, progress=False, changes={"augment": Plain()})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["begun"]
    assert [entry.name for entry in folder.iterdir()] == ["experiment.json"]
    assert RunFolder(folder).experiment() == small()
