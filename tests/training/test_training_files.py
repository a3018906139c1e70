"""Checkpoints and run folders: whole or not at all, never another run's, nothing trusted that is read back."""

from __future__ import annotations

import errno
import json
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from bitspike.contracts import Batch, Learner, Progress, StepReport
from bitspike.errors import BitspikeError, DataError, UsageError
from bitspike.recipes.bnn import bnn_digits
from bitspike.rules.gradient import GradientLearner
from bitspike.settings import Optimizer
from bitspike.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    restore_learner,
    restore_network,
    save_checkpoint,
)
from bitspike.training.run_folder import RunFolder, default_path
from bitspike.training.trainer import Facts


class Plain(GradientLearner):
    """A learner of any module, by its optimiser alone."""

    def __init__(self, network: Any, lr: float = 0.1 + 0.2) -> None:
        groups = [{"params": list(network.parameters()), "lr": lr}]
        super().__init__(network, Optimizer(lr=lr), groups)

    def step(self, batch: Batch, progress: Progress, generator: torch.Generator) -> StepReport:
        raise AssertionError


def trained() -> tuple[torch.nn.Module, Plain]:
    network = torch.nn.Linear(3, 2)
    learner = Plain(network)
    network(torch.ones(1, 3)).sum().backward()
    learner.optimiser.step()
    return network, learner


def checkpoint(epoch: int = 3, final: bool = False) -> Checkpoint:
    network, learner = trained()
    best = {name: tensor + 1 for name, tensor in network.state_dict().items()}
    decides = {name: tensor + 2 for name, tensor in network.state_dict().items()} if final else {}
    facts = Facts(3, 2, (1, 3), 4)
    return Checkpoint(epoch, network.state_dict(), best, 2, 2 / 3, learner.state_dict(), facts, decides)


@pytest.mark.parametrize("finished", [False, True])
def test_checkpoint_comes_back_bit_for_bit(tmp_path: Path, finished: bool) -> None:
    path, written = tmp_path / "c.safetensors", checkpoint(final=finished)
    save_checkpoint(path, written)
    read = load_checkpoint(path)
    assert (read.epoch, read.best_epoch, read.best_score) == (3, 2, 2 / 3)
    assert (read.facts, read.finished) == (Facts(3, 2, (1, 3), 4), finished)
    for part in ("network", "best", "learner", "final"):
        old, new = getattr(written, part), getattr(read, part)
        assert old.keys() == new.keys()
        assert all(torch.equal(old[name], new[name]) for name in old)
    network, learner = trained()
    restore_network(path, network, read.network)
    restore_learner(path, learner, read.learner)
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in written.network.items())
    again = learner.state_dict()
    assert learner.optimiser.state_dict()["param_groups"][0]["lr"] == 0.1 + 0.2
    assert again.keys() == written.learner.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in written.learner.items())
    assert {tensor.dtype for tensor in again.values()} == {torch.float32}


def test_step_sizes_are_those_of_the_settings_not_of_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, checkpoint())
    network = torch.nn.Linear(3, 2)
    learner = Plain(network, lr=0.5)
    restore_learner(path, learner, load_checkpoint(path).learner)
    learner.follow(Progress())
    assert learner.optimiser.param_groups[0]["lr"] == 0.5


def test_one_file_and_no_leftovers(tmp_path: Path) -> None:
    for epoch in range(3):
        save_checkpoint(tmp_path / "c.safetensors", checkpoint(epoch))
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.safetensors"]


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, checkpoint())
    whole = path.read_bytes()
    for length in [*range(64), *range(64, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"c\.safetensors"):
            load_checkpoint(path)


def with_facts(name: str = "network.w", **change: Any) -> bytes:
    facts = {
        "version": 3, "epoch": 1, "best_epoch": 1, "best_score": 0.5, "n_inputs": 3, "n_classes": 2,
        "input_shape": [], "n_train": 4,
    }  # fmt: skip
    return save({name: torch.ones(1)}, {"bitspike": json.dumps(facts | change)})


def of_version_2(name: str = "model.w", **change: Any) -> bytes:
    older = {"version": 2, "best_accuracy": 0.5, "finished": False}
    return with_facts(name, **(older | change))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04K\x01.",  # a pickle
        struct.pack("<Q", 2**62) + b"{}",
        save({"network.w": torch.ones(1)}),
        save({"network.w": torch.ones(1)}, {"bitspike": "no json"}),
        save({"network.w": torch.ones(1)}, {"bitspike": "[" * 100_000}),
        save({"network.w": torch.ones(1)}, {"bitspike": "[1, 2]"}),
        save({"surprise": torch.ones(1)}, {"bitspike": "{}"}),
        with_facts("surprise"),
        with_facts("surprise.w"),
        with_facts("model.w"),
        with_facts(version=1),
        with_facts(version=4),
        with_facts(version=[3]),
        with_facts(version=True),
        with_facts(epoch=-1),
        with_facts(epoch=True),
        with_facts(epoch="3"),
        with_facts(best_score=[]),
        with_facts(input_shape=3),
        with_facts(input_shape=[3.0]),
        with_facts(n_train=None),
        of_version_2("network.w"),
        of_version_2("surprise"),
        of_version_2(best_accuracy=[]),
        of_version_2(epoch=-1),
    ],
)
def test_hostile_checkpoints_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"c\.safetensors"):
        load_checkpoint(path)


def test_the_hostile_examples_are_hostile_for_one_reason_each(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    for good in (with_facts(), with_facts("best.w"), with_facts("learner.w"), with_facts("final.w")):
        path.write_bytes(good)
        assert load_checkpoint(path).epoch == 1
    for good in (of_version_2(), of_version_2("best.w"), of_version_2("optimiser.0.step")):
        path.write_bytes(good)
        assert load_checkpoint(path).best_score == 0.5


def test_a_missing_checkpoint_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(DataError, match="no checkpoint"):
            load_checkpoint(path)


def test_checkpoints_of_other_networks_are_refused(tmp_path: Path) -> None:
    written = checkpoint()
    with pytest.raises(DataError, match="'bias'"):
        restore_network(tmp_path, torch.nn.Linear(3, 2, bias=False), written.network)
    with pytest.raises(DataError, match="network"):
        restore_network(tmp_path, torch.nn.Linear(4, 2), written.network)
    with pytest.raises(DataError, match="network"):
        restore_network(tmp_path, torch.nn.Linear(3, 2).double(), written.network)


def test_what_a_learner_did_not_carry_is_refused(tmp_path: Path) -> None:
    _, learner = trained()
    good = learner.state_dict()
    step = good["optimiser.0.step"]
    for bad in (
        {**good, "optimiser.0.exp_avg": torch.ones(7)},
        {**good, "optimiser.0.exp_avg": good["optimiser.0.exp_avg"].long()},
        {**good, "optimiser.9.step": step},
        {**good, "optimiser.-1.step": step},
        {**good, "optimiser.one.step": step},
        {**good, "optimiser": step},
        {**good, "alpha": step},
    ):
        with pytest.raises(DataError, match=f"{tmp_path}.*rule"):
            restore_learner(tmp_path, learner, bad)
    restore_learner(tmp_path, learner, good)
    assert all(torch.equal(value, good[name]) for name, value in learner.state_dict().items())


class Forgetful(Learner):
    """A learner that carries nothing."""

    def step(self, batch: Batch, progress: Progress, generator: torch.Generator) -> StepReport:
        raise AssertionError


def test_a_learner_that_carries_nothing_takes_nothing(tmp_path: Path) -> None:
    restore_learner(tmp_path, Forgetful(), {})
    with pytest.raises(DataError, match=r"Forgetful carries nothing.*alpha"):
        restore_learner(tmp_path, Forgetful(), {"alpha": torch.ones(1)})


def no_space(*arguments: Any, **named: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_only(*arguments: Any, **named: Any) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.mark.parametrize(
    ("call", "failure", "reason"),
    [
        ("os.fsync", no_space, "No space left"),
        ("os.replace", no_space, "No space left"),
        ("os.open", read_only, "Read-only file system"),
    ],
)
def test_failed_writing_keeps_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, failure: Callable[..., None], reason: str
) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, checkpoint(1))
    before = path.read_bytes()
    second = checkpoint(2)
    with monkeypatch.context() as patch:
        patch.setattr(call, failure)
        with pytest.raises(BitspikeError, match=reason) as caught:
            save_checkpoint(path, second)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.safetensors"]
    save_checkpoint(path, second)
    assert load_checkpoint(path).epoch == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_really_full_disk_when_appending(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", bnn_digits)
    (folder.path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(BitspikeError, match="No space left"):
        folder.append_metrics({"epoch": 1})


def test_folders_that_hold_something_are_refused(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "a", bnn_digits)
    with pytest.raises(UsageError, match="already holds a run"):
        RunFolder.create(tmp_path / "a", bnn_digits)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="not empty"):
        RunFolder.create(tmp_path / "b", bnn_digits)
    assert (tmp_path / "b" / "thesis.tex").read_text() == "years of work"
    with pytest.raises(UsageError, match="is a file"):
        RunFolder.create(tmp_path / "b" / "thesis.tex", bnn_digits)
    with pytest.raises(DataError, match="holds no run"):
        RunFolder.open(tmp_path / "b")
    (tmp_path / "c").mkdir()
    assert RunFolder.create(tmp_path / "c", bnn_digits).experiment() == bnn_digits


def test_a_damaged_experiment_is_refused(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "a", bnn_digits)
    text = (folder.path / "experiment.json").read_text()
    for bad in (text[:-20], text.replace("epochs", "epoch"), "\x00", "[" * 100_000):
        (folder.path / "experiment.json").write_text(bad)
        with pytest.raises(DataError, match=r"experiment\.json"):
            folder.experiment()


def test_metrics_are_cut_to_the_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "a", bnn_digits)
    for epoch in (1, 2, 3):
        folder.append_metrics({"epoch": epoch, "loss": 0.1 * epoch})
    with open(folder.path / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 4, "lo')
    assert [line["epoch"] for line in folder.metrics()] == [1, 2, 3]
    folder.truncate_metrics(2)
    assert folder.metrics() == [{"epoch": 1, "loss": 0.1}, {"epoch": 2, "loss": 0.2}]
    folder.append_metrics({"epoch": 3})
    assert [line["epoch"] for line in folder.metrics()] == [1, 2, 3]


def test_default_paths_are_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen = set()
    for _ in range(3):
        path = default_path("bnn-digits")
        RunFolder.create(path, replace(bnn_digits))
        assert path.parent == Path("runs")
        assert path.name.startswith("bnn-digits-")
        seen.add(path)
    assert len(seen) == 3


@pytest.mark.parametrize("name", ["../elsewhere", "below/it", "/tmp", ".hidden", ".."])
def test_a_name_does_not_lead_out_of_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="use no separators"):
        default_path(name)
    assert not list(tmp_path.iterdir())
