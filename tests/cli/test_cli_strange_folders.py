"""Whatever a run folder holds, each verb that reads it ends with exit 2 and a sentence that names the file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from bitspike.cli import main

Change = Callable[[Path], Any]
TRAIN, PACK, REPORT = ["train", "--resume"], ["pack"], ["report"]


def text(words: str) -> Change:
    return lambda file: file.write_text(words)


def field(*path: str, value: Any) -> Change:
    def change(file: Path) -> None:
        tree = json.loads(file.read_text())
        place = tree
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
        file.write_text(json.dumps(tree))

    return change


def tensor(name: str, change: Callable[[Any], Any], **facts: Any) -> Change:
    """Another tensor (None: none) and other facts in the metadata of a safetensors file."""

    def go(file: Path) -> None:
        with safe_open(file, "np") as opened:
            known = json.loads((opened.metadata() or {}).get("bitspike", "{}"))
        tensors = load_file(file)
        new = change(tensors.pop(name).copy())
        tensors |= {} if new is None else {name: new}
        save_file(tensors, file, {"bitspike": json.dumps(known | facts)} if known else None)

    return go


def first(value: Any) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array.reshape(-1)[0] = value
        return array

    return change


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def endless(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


EXPERIMENT, MANIFEST, METRICS = "experiment.json", "manifest.json", "metrics.jsonl"
EVALUATION, ARRAYS, CHECKPOINT = "evaluation.json", "evaluation.safetensors", "checkpoint.safetensors"
WORDS = '{"epoch": 1, "loss": "a", "accuracy": "z"}\n'
RAGGED = '{"epoch": 1, "loss": 1, "firing": [0.1]}\n{"epoch": 2, "loss": 1, "firing": [0.1, 0.2]}\n'
CASES: list[tuple[str, Change, list[str]]] = [
    (EXPERIMENT, field("network", "hidden", value=[2 * 10**9]), PACK),
    (EXPERIMENT, field("network", "hidden", value=[10**30]), TRAIN),
    (EXPERIMENT, field("network", "hidden", value=[1] * 100_000), TRAIN),
    (EXPERIMENT, field("network", "hidden", value=[1 << 21, 1 << 10]), TRAIN),
    (EXPERIMENT, field("data", "name", value="nonsense"), TRAIN),
    (EXPERIMENT, field("seed", value=[]), REPORT),
    (EXPERIMENT, pipe, REPORT),
    (MANIFEST, text("[]"), TRAIN),
    (MANIFEST, field("resumed", value=3), TRAIN),
    (MANIFEST, field("data", "classes", value=7), PACK),
    (MANIFEST, endless, REPORT),
    (METRICS, text(WORDS), REPORT),
    (METRICS, text(RAGGED), REPORT),
    (METRICS, text("[" * 200_000 + "\n" + WORDS), TRAIN),
    (METRICS, text('{"epoch": ' + "9" * 5000 + "}\n" + WORDS), REPORT),
    (EVALUATION, text('{"accuracy": 1e999}'), REPORT),
    (EVALUATION, text('{"accuracy": ' * 500 + "1" + "}" * 500), TRAIN),
    (EVALUATION, field("calibration", value={"sweep": 3}), REPORT),
    (EVALUATION, field("n_steps", value=10**9), REPORT),
    (EVALUATION, field("uncertainty", "aurc", value=10**30), REPORT),
    (EVALUATION, field("uncertainty", "conformal", value={"x": {}}), REPORT),
    (EVALUATION, field("modes", value={"network": {"accuracy": 0.5}}), REPORT),
    (ARRAYS, tensor("labels", first(10**9)), REPORT),
    (ARRAYS, tensor("labels", first(-1)), PACK),
    (ARRAYS, tensor("predicted", first(99)), REPORT),
    (ARRAYS, tensor("probabilities", first(np.nan)), REPORT),
    (ARRAYS, tensor("probabilities", lambda p: p[:, :0]), REPORT),
    (ARRAYS, tensor("example_images", lambda images: images[:, :3, :3]), PACK),
    (ARRAYS, tensor("example_output_times", lambda times: times[:, :2]), REPORT),
    (CHECKPOINT, endless, PACK),
    (CHECKPOINT, tensor("final.latents.0", first(np.nan)), PACK),
    (CHECKPOINT, tensor("final.temperature", lambda t: np.zeros_like(t)), PACK),
    (CHECKPOINT, tensor("final.latents.0", lambda w: None), PACK),
    (CHECKPOINT, tensor("final.latents.0", lambda w: w, n_inputs=10**9), PACK),
    (CHECKPOINT, tensor("final.latents.0", lambda w: w, best_score=10**400), TRAIN),
]  # fmt: skip


def unfinished(file: Path, name: str, change: Callable[[Any], Any]) -> None:
    """The checkpoint of a run that has its last epochs before it, with another tensor."""
    tensor(name, change, epoch=1, best_epoch=1)(file)
    with safe_open(file, "np") as opened:
        known = opened.metadata()
    kept = {name: value for name, value in load_file(file).items() if not name.startswith("final.")}
    save_file(kept, file, known)


CASES += [
    (CHECKPOINT, lambda file, name=name, change=change: unfinished(file, name, change), TRAIN)
    for name, change in (
        ("network.latents.0", first(np.nan)),
        ("best.latents.0", lambda w: None),
        ("best.latents.0", lambda w: np.zeros(3, np.float32)),
        ("learner.optimiser.0.exp_avg", first(np.inf)),
        ("learner.optimiser.0.step", lambda step: None),
    )
]


@pytest.mark.parametrize(
    ("name", "change", "verb"), CASES, ids=[f"{n}-{name}-{v[0]}" for n, (name, _, v) in enumerate(CASES)]
)
def test_a_changed_file_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, change: Change, verb: list[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    change(folder / name)
    before = {file: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    capsys.readouterr()
    assert main([*verb, str(folder)]) == 2
    said = capsys.readouterr().err
    last = said.strip().splitlines()[-1]
    assert last.startswith("bitspike: ")
    assert str(folder) in last
    kept = {file: data for file, data in before.items() if file.name not in (MANIFEST, "report.html")}
    assert {file: file.read_bytes() for file in kept} == kept


def test_a_sound_copy_passes(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    for verb in (TRAIN, PACK, REPORT):
        assert main([*verb, str(folder)]) == 0


def test_what_a_killed_writer_left_goes_when_the_run_goes_on(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    mine, other = (
        folder / f".checkpoint.safetensors.{'0a' * 8}.tmp",
        folder / ".checkpoint.safetensors.mine.tmp",
    )
    for file in (mine, other):
        file.write_text("half")
    assert main([*TRAIN, str(folder)]) == 0
    assert not mine.exists()
    assert other.exists()
