"""The loop by itself: it hands back after epochs or steps, writes nothing, and computes where it is told to."""

from __future__ import annotations

import copy
import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bitspike.coding import FirstSpike
from bitspike.data import load, split
from bitspike.data.augment import Augment
from bitspike.data.distortion import Distortion
from bitspike.errors import BackendError, BitspikeError, UsageError
from bitspike.experiment import Experiment, Training
from bitspike.networks.committee import Committee
from bitspike.rules.bnn import BNNLearner
from bitspike.rules.first_spike_race import FirstSpikeRace
from bitspike.settings import Optimizer, Predict, Weights
from bitspike.training import RunFolder, Trainer, resume, train
from bitspike.training import run as run_module
from small_runs import same, small, timeless

STEPS = 25  # 1,202 images in batches of 50


SPIKING: dict[str, Any] = {
    "coding": FirstSpike(8),
    "rule": FirstSpikeRace(theta_out=4.0, width=4.0, dropout=0.2),
}


def trainer(experiment: Experiment) -> Trainer:
    dataset = load(experiment.data.name)
    parts = split(dataset, experiment.data.validation, experiment.split_seed)
    return Trainer(experiment, parts, dataset.n_outputs, dataset.shape)


def test_it_ends_where_a_run_does(tmp_path: Path) -> None:
    result = train(small(), tmp_path / "run", progress=False)
    alone = trainer(small())
    figures = alone.run()
    assert timeless(figures) == timeless(RunFolder(tmp_path / "run").metrics())
    network, chosen = alone.finish()
    assert same(network.state_dict(), result.model.state_dict())
    assert chosen == result.evaluation["calibration"]
    assert alone.best_epoch == result.evaluation["best_epoch"]


@pytest.mark.parametrize(
    "changes",
    [{}, {"augment": Augment(shift=1)}, {"augment": Distortion(share="epoch")}, SPIKING],
    ids=["plain", "augment", "distortion", "spiking"],
)
def test_it_hands_back_after_epochs_and_steps_and_goes_on_to_the_same_bits(changes: dict[str, Any]) -> None:
    whole, pieces = trainer(small(**changes)), trainer(small(**changes))
    figures = whole.run()
    assert [line["epoch"] for line in figures] == [1, 2, 3]
    assert whole.done
    assert whole.run() == []

    told = pieces.run(epochs=1)
    assert (pieces.epoch, pieces.between_epochs, len(told)) == (1, True, 1)
    assert pieces.run(steps=7) == []
    assert (pieces.epoch, pieces.between_epochs) == (1, False)
    assert pieces.run(epochs=1, steps=STEPS - 8) == []  # one step is missing
    assert (pieces.epoch, pieces.between_epochs) == (1, False)
    told += pieces.run(steps=1)
    assert (pieces.epoch, pieces.between_epochs) == (2, True)
    told += pieces.run(epochs=5)
    assert pieces.done
    assert timeless(told) == timeless(figures)
    assert same(pieces.network.state_dict(), whole.network.state_dict())
    assert same(pieces.learner.state_dict(), whole.learner.state_dict())
    assert same(pieces.best, whole.best)


def test_so_many_steps_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    step = BNNLearner.step

    def counted(*arguments: Any) -> Any:
        taken.append(1)
        return step(*arguments)

    monkeypatch.setattr(BNNLearner, "step", counted)
    alone = trainer(small())
    assert len(alone.run(steps=STEPS + 3)) == 1
    assert len(taken) == STEPS + 3
    assert alone.run(epochs=0) == alone.run(steps=0) == []
    assert len(taken) == STEPS + 3
    assert len(alone.run(steps=1000)) == 2
    assert len(taken) == 3 * STEPS


def test_watch_is_told_of_every_step() -> None:
    seen: list[tuple[int, int, int]] = []
    alone = trainer(small())
    alone.watch = lambda epoch, done, totals: seen.append((epoch, done, totals.n))
    alone.run(epochs=2)
    assert len(seen) == 2 * STEPS
    assert seen[:2] == [(1, 50, 50), (1, 100, 100)]
    assert seen[STEPS - 1 : STEPS + 1] == [(1, 1202, 1202), (2, 50, 50)]


def test_it_can_be_finished_early_and_without_validation() -> None:
    seldom = small(training=Training(epochs=3, batch_size=50, evaluate_every=3))
    alone = trainer(seldom)
    alone.run(epochs=1)
    assert alone.best == {}
    trained = {name: tensor.clone() for name, tensor in alone.network.state_dict().items()}
    network, chosen = alone.finish()
    assert alone.best_epoch == 1
    assert chosen["temperature"] != 1
    assert all(
        torch.equal(tensor, trained[name])
        for name, tensor in network.state_dict().items()
        if name != "temperature"
    )


def test_what_was_trained_at_its_mode_is_not_the_best_posterior() -> None:
    bayes = small(
        **SPIKING,
        weights=Weights("bernoulli", (-1.0, 1.0), (-1.0, 1.0), clip=None),
        optimizer=Optimizer(lr=0.05),
        training=Training(epochs=4, batch_size=100, mode_epochs=2, evaluate_every=2),
        predict=Predict("committee", draws=2),
    )
    alone = trainer(bayes)
    alone.run(epochs=2)
    assert (alone.best_epoch, alone.network.synapse.kind) == (2, "binary")
    alone.run(epochs=1)
    assert (alone.best_epoch, alone.best, alone.network.synapse.kind) == (0, {}, "bernoulli")
    alone.run()
    network, chosen = alone.finish()
    assert alone.best_epoch == 4
    assert isinstance(network, Committee)
    assert len(network.parts) == 2
    assert set(chosen) == {"temperature", "validation_accuracy", "first_member"}


def test_an_error_in_the_middle_of_an_epoch_is_not_trained_over(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = trainer(small())
    alone.run(steps=STEPS + 2)

    def broken(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BNNLearner, "step", broken)
        with pytest.raises(KeyboardInterrupt):
            alone.run()
    with pytest.raises(BitspikeError, match=r"in the middle of epoch 2.*new Trainer"):
        alone.run()
    assert (alone.epoch, alone.between_epochs) == (1, False)


def test_augmentation_of_what_is_not_an_image_is_refused() -> None:
    from bitspike.recipes import RECIPES

    experiment = replace(RECIPES["hm2bp-fsdd"], augment=Augment(shift=1))
    sound = split(load("digits"), 1 / 6, 1)
    listed = replace(sound, train_inputs=[0] * len(sound.train_inputs))
    with pytest.raises(UsageError, match="these data hold none"):
        Trainer(experiment, listed, 10, (8, 8))


def test_the_cpu_by_name_and_by_choice_gives_the_same_bits(tmp_path: Path) -> None:
    files = []
    for device in ("cpu", "auto"):
        folder = tmp_path / device
        train(small(**SPIKING, device=device), folder, progress=False)
        if device == "cpu" or not torch.cuda.is_available():
            files.append(
                [(folder / f"{name}.safetensors").read_bytes() for name in ("checkpoint", "evaluation")]
            )
            assert RunFolder(folder).manifest()["device"] == "cpu"
            assert RunFolder(folder).experiment().device == device
    assert files[0] == files[-1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_refused_before_anything_is_written(tmp_path: Path, device: str) -> None:
    sentence = f"device is {device}, but .*; use device=cpu or auto"
    with pytest.raises(BackendError, match=sentence):
        train(small(device=device), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    with pytest.raises(BackendError, match=sentence):
        trainer(small(device=device))
    RunFolder.create(tmp_path / "elsewhere", small(device=device))  # begun on another machine
    before = (tmp_path / "elsewhere" / "experiment.json").read_bytes()
    with pytest.raises(BackendError, match=sentence):
        resume(tmp_path / "elsewhere", progress=False)
    assert [entry.name for entry in (tmp_path / "elsewhere").iterdir()] == ["experiment.json"]
    assert (tmp_path / "elsewhere" / "experiment.json").read_bytes() == before
    resume(tmp_path / "elsewhere", progress=False, changes={"device": "cpu"})
    assert RunFolder(tmp_path / "elsewhere").experiment().device == "cpu"


def test_nothing_of_a_run_outlives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waiting for the collector of cycles: what joins processes must be freed before they part."""
    made: list[weakref.ref[Trainer]] = []

    class Watched(Trainer):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(weakref.ref(self))

    monkeypatch.setattr(run_module, "Trainer", Watched)
    gc.collect()
    gc.disable()
    try:
        train(small(training=Training(epochs=1)), tmp_path / "run", progress=False)
        assert [trainer() for trainer in made] == [None]
    finally:
        gc.enable()


def test_two_trainers_do_not_touch_each_other() -> None:
    one, other = trainer(small()), trainer(small())
    before = copy.deepcopy(other.network.state_dict())
    one.run(epochs=1)
    assert same(other.network.state_dict(), before)
    other.run(epochs=1)
    assert same(other.network.state_dict(), one.network.state_dict())
