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

from bitspike.errors import BitspikeError, DataError, UsageError
from bitspike.recipes.bnn import bnn_digits
from bitspike.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    restore_model,
    restore_optimiser,
    save_checkpoint,
)
from bitspike.training.run_folder import RunFolder, default_path


def trained() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1 + 0.2)
    model(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    return model, optimiser


def checkpoint(epoch: int = 3) -> Checkpoint:
    model, optimiser = trained()
    best = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    return Checkpoint(epoch, model.state_dict(), best, 2, 2 / 3, optimiser.state_dict(), 3, 2)


def test_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path, written = tmp_path / "c.safetensors", checkpoint()
    save_checkpoint(path, written)
    read = load_checkpoint(path)
    assert (read.epoch, read.best_epoch, read.best_accuracy) == (3, 2, 2 / 3)
    assert (read.n_inputs, read.n_classes, read.finished) == (3, 2, False)
    for part in ("model", "best"):
        old, new = getattr(written, part), getattr(read, part)
        assert old.keys() == new.keys()
        assert all(torch.equal(old[name], new[name]) for name in old)
    model, optimiser = trained()
    restore_model(path, model, read.model)
    restore_optimiser(path, optimiser, read.optimiser)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in written.model.items())
    again = optimiser.state_dict()
    assert again["param_groups"][0]["lr"] == 0.1 + 0.2
    for index, state in written.optimiser["state"].items():
        assert all(torch.equal(again["state"][index][name], tensor) for name, tensor in state.items())


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


def with_facts(**change: Any) -> bytes:
    facts = {
        "version": 2, "epoch": 1, "best_epoch": 1, "best_accuracy": 0.5, "n_inputs": 3, "n_classes": 2,
        "input_shape": [], "n_train": 4,
        "finished": False, "optimiser_groups": [], "optimiser_numbers": {},
    }  # fmt: skip
    return save({"model.w": torch.ones(1)}, {"bitspike": json.dumps(facts | change)})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04K\x01.",  # a pickle
        struct.pack("<Q", 2**62) + b"{}",
        save({"model.w": torch.ones(1)}),
        save({"model.w": torch.ones(1)}, {"bitspike": "no json"}),
        save({"model.w": torch.ones(1)}, {"bitspike": "[" * 100_000}),
        save({"model.w": torch.ones(1)}, {"bitspike": "[1, 2]"}),
        save({"surprise": torch.ones(1)}, {"bitspike": "{}"}),
        with_facts(version=1),
        with_facts(epoch=-1),
        with_facts(epoch=True),
        with_facts(epoch="3"),
        with_facts(best_accuracy=[]),
        with_facts(optimiser_numbers={"a": {}}),
        with_facts(optimiser_groups=None),
    ],
)
def test_hostile_checkpoints_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"c\.safetensors"):
        load_checkpoint(path)


def test_the_hostile_examples_are_hostile_for_one_reason_each(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(with_facts())
    assert load_checkpoint(path).epoch == 1


def test_a_missing_checkpoint_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(DataError, match="no checkpoint"):
            load_checkpoint(path)


def test_checkpoints_of_other_networks_are_refused(tmp_path: Path) -> None:
    written = checkpoint()
    with pytest.raises(DataError, match="'bias'"):
        restore_model(tmp_path, torch.nn.Linear(3, 2, bias=False), written.model)
    with pytest.raises(DataError, match="network"):
        restore_model(tmp_path, torch.nn.Linear(4, 2), written.model)
    with pytest.raises(DataError, match="network"):
        restore_model(tmp_path, torch.nn.Linear(3, 2).double(), written.model)


def test_optimisers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    good = checkpoint().optimiser
    model, optimiser = trained()
    wrong_shape = {"step": torch.tensor(1.0), "exp_avg": torch.ones(7), "exp_avg_sq": torch.ones(7)}
    group = good["param_groups"][0]
    for bad in (
        {**good, "state": {0: wrong_shape}},
        {**good, "state": {9: good["state"][0]}},
        {**good, "state": {-1: good["state"][0]}},
        {**good, "param_groups": []},
        {**good, "param_groups": [{**group, "params": [0]}]},
        {**good, "param_groups": [{"params": [0, 1]}]},
    ):
        with pytest.raises(DataError, match="optimiser"):
            restore_optimiser(tmp_path, optimiser, bad)
    restore_optimiser(tmp_path, optimiser, good)
    assert model is not None


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
