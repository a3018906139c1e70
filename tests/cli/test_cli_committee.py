"""`bitspike committee`: runs, draws, snapshots and model files in one file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitspike
from bitspike.cli import main
from bitspike.cli.pack import pack
from bitspike.cli.train import parse
from bitspike.data import load
from bitspike.data.dataset import held_out
from bitspike.packed.committee import CommitteePacked
from bitspike.training import train

SMALL = ("--network.hidden", "24", "--training.epochs", "3", "--data.split=7")
SEEDS = (1, 2)


def made(folder: Path, *options: str) -> str:
    """A run with its model file, without a report."""
    train(parse(["bs4nn-digits", *SMALL, *options]).experiment, folder, progress=False)
    pack(folder)
    return str(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two seeds that share their validation data, and a Bayesian run with snapshots."""
    folder = tmp_path_factory.mktemp("runs")
    paths = [made(folder / f"seed{seed}", f"--seed={seed}") for seed in SEEDS]
    kind = ("--weights.kind=bernoulli", "--training.keep=2", "--weights.clip=None")
    return [*paths, made(folder / "bayes", *kind)]


def result(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    """What a verb printed with --json."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def calibrated(members: list[np.ndarray], temperature: float) -> np.ndarray:
    """The mean of the members' probabilities, sharpened: p^(1 / T), made to sum to 1."""
    p = np.mean(members, axis=0, dtype=np.float64) ** (1 / temperature)
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def test_runs_of_several_seeds(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "two.bitspike")
    found = result(capsys, "committee", *runs[:2], "-o", file)
    model = bitspike.load(file)
    assert isinstance(model.network, CommitteePacked)
    assert found["members"] == 2
    assert found["bytes"] == Path(file).stat().st_size
    assert found["temperature"] == model.temperature != 1
    assert found["fitted_to"] == 240
    digits = load("digits")
    members = [bitspike.load(Path(run) / "model.bitspike") for run in runs[:2]]
    of_test = [member.predict_proba(digits.test_inputs) for member in members]
    mean = np.mean(of_test, axis=0)
    np.testing.assert_array_equal(model.predict(digits.test_inputs), mean.argmax(axis=1))
    np.testing.assert_allclose(model.member_probabilities(digits.test_inputs), of_test, rtol=1e-6)
    held, _ = held_out(len(digits.train_inputs), 1 / 6, 7)
    parts = [each.predict_proba(digits.train_inputs[held]) for each in members]
    scores = np.sort(1 - calibrated(parts, model.temperature)[np.arange(240), digits.train_labels[held]])
    threshold = dict(model.contents.conformal)[0.1]
    assert scores[216] < threshold < scores[216] + 2e-4  # ceil(241 * 0.9) = 217, loosened a little
    sets = calibrated(of_test, model.temperature) >= 1 - threshold
    np.save(tmp_path / "test.npy", digits.test_inputs)
    rows = result(capsys, "predict", file, str(tmp_path / "test.npy"), "--abstain", "0.1")["predictions"]
    assert [row["set"] for row in rows] == [np.flatnonzero(row).astype(str).tolist() for row in sets]
    assert len({tuple(row["set"]) for row in rows}) > 10
    evaluated = result(capsys, "eval", file)
    assert evaluated["data"] == "digits"
    assert evaluated["accuracy"] == pytest.approx((mean.argmax(axis=1) == digits.test_labels).mean())
    capsys.readouterr()
    assert main(["committee", *runs[:2], "-o", file, "--average", "potential"]) == 0
    shown = capsys.readouterr().out
    assert "2 members, average of potential" in shown
    assert "240 held-out inputs" in shown


def test_draws_and_snapshots(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn, again, kept = (str(tmp_path / name) for name in ("drawn", "again", "kept"))
    assert result(capsys, "committee", runs[2], "-o", drawn, "--draws", "3")["members"] == 3
    result(capsys, "committee", runs[2], "-o", again, "--draws", "3")
    assert Path(drawn).read_bytes() == Path(again).read_bytes()
    members = bitspike.load(drawn).network.members
    signs = [member.network.layers[0].weights.dense() for member in members]
    assert not np.array_equal(signs[0], signs[1])
    assert result(capsys, "committee", runs[2], "-o", kept, "--snapshots")["members"] == 2


def test_model_files_are_members_whose_temperature_is_not_fitted(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two, three = tmp_path / "two", tmp_path / "three"
    result(capsys, "committee", *runs[:2], "-o", str(two))
    found = result(capsys, "committee", str(two), f"{runs[2]}/model.bitspike", "-o", str(three))
    assert (found["members"], found["temperature"], found["fitted_to"]) == (3, 1.0, 0)
    assert main(["committee", str(two), "-o", str(three)]) == 0
    assert "temperature 1" in capsys.readouterr().out


def test_what_cannot_decide_together_is_refused(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = ("-o", str(tmp_path / "out")), made(tmp_path / "other", "--data.split=8")
    for match, arguments in (
        ("which members", ()),
        ("the same --data.split", (runs[0], other)),
        ("no posterior", (runs[0], "--draws", "2")),
        ("no snapshots", (runs[0], "--snapshots")),
        ("draws is -1", (runs[0], "--draws", "-1")),
        ("not together", (runs[0], "--draws", "1", "--snapshots")),
        ("is a model file", (f"{runs[0]}/model.bitspike", "--draws", "1")),
        ("holds no run", (str(tmp_path),)),
        ("cannot be read", (str(tmp_path / "nothing"),)),
    ):
        assert match in result(capsys, "committee", *arguments, *out, code=2)["error"]
    found = result(capsys, "committee", runs[0], "-o", str(tmp_path / "no" / "out"), code=2)
    assert "is not a folder" in found["error"]
    assert not (tmp_path / "out").exists()
