"""A run through the command line: train, evaluate, pack, predict, report, resume, and what can go wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bitspike
from bitspike.cli import main
from bitspike.cli.train import parse
from bitspike.data import load, write_idx

SMALL = ("--network.hidden", "24", "--training.epochs", "6", "--seed=3")


def result(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    """What a verb printed with --json: exactly one object."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    shown = capsys.readouterr()
    assert shown.out.count("\n") == 1
    found: dict[str, Any] = json.loads(shown.out)
    return found


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """What a verb said on stderr; nothing on stdout, no traceback."""
    capsys.readouterr()
    assert main([*arguments]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    return " ".join(shown.err.replace("│", " ").split())


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training ends without a page: other tests look at it, and it takes longer than all the rest."""
    monkeypatch.setattr("bitspike.cli.report.report", lambda run: {"report": f"{run}/report.html"})


def test_a_run_ends_with_model_and_report(run: Path) -> None:
    held = {entry.name for entry in run.iterdir()}
    assert {"experiment.json", "manifest.json", "metrics.jsonl", "model.bitspike", "report.html"} <= held
    experiment = json.loads((run / "experiment.json").read_text())
    assert experiment["seed"] == 3
    assert experiment["network"]["hidden"] == [24]
    assert experiment["training"]["epochs"] == 6


def test_options_reach_every_field() -> None:
    words = ["bs4nn-mnist", "--data", "fashion", "--data-dir=/d", "--rule.tau-c", "7", "--rule.tau_h=8"]
    experiment = parse([*words, "--optimizer.lr", "0.5", "--network.hidden", "30", "20"]).experiment
    assert (experiment.data.name, experiment.data.dir) == ("fashion", "/d")
    assert (experiment.rule.tau_c, experiment.rule.tau_h) == (7, 8)  # type: ignore[union-attr]
    assert experiment.optimizer.lr == 0.5
    assert experiment.network.hidden == (30, 20)
    assert experiment.training == parse(["bs4nn-mnist"]).experiment.training


def test_eval_of_run_model_file_and_trained_model_agree(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_run = result(capsys, "eval", str(run))
    keys = "accuracy accuracy_tie_optimistic ece nll brier decision_time spikes synops energy_uj model_bytes n seconds"
    assert set(keys.split()) <= set(of_run)
    assert of_run["n"] == len(load("digits").test_labels)
    assert of_run["model_bytes"] == (run / "model.bitspike").stat().st_size
    of_file = result(capsys, "eval", str(run / "model.bitspike"), "--backend", "reference")
    verified = result(capsys, "eval", str(run), "--verify")
    assert verified.pop("verified")[-1] == verified["backend"]
    assert {**verified, "seconds": 0} == {**of_run, "seconds": 0}
    trained = result(capsys, "eval", str(run), "--reference")
    stored = json.loads((run / "evaluation.json").read_text())
    for name in ("accuracy", "accuracy_tie_optimistic", "decision_time", "spikes", "synops", "silent"):
        assert of_run[name] == of_file[name] == trained[name] == stored[name]
    assert main(["eval", str(run)]) == 0
    assert f"{100 * of_run['accuracy']:.2f} %" in capsys.readouterr().out


def test_predict_reads_png_npy_and_idx(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = load("digits").test_inputs[:3]
    Image.fromarray(images[0]).save(tmp_path / "one.png")
    np.save(tmp_path / "some.npy", images)
    write_idx(tmp_path / "some-idx3-ubyte", images)
    files = [str(tmp_path / name) for name in ("one.png", "some.npy", "some-idx3-ubyte")]
    model = str(run / "model.bitspike")
    rows = result(capsys, "predict", model, *files)["predictions"]
    assert [(Path(row["file"]).name, row["input"]) for row in rows] == [
        ("one.png", 0), *(("some.npy", i) for i in range(3)), *(("some-idx3-ubyte", i) for i in range(3)),
    ]  # fmt: skip
    packed = bitspike.load(model)
    decided, probabilities = packed.decide(images), packed.predict_proba(images)
    for row, k in zip(rows, (0, 0, 1, 2, 0, 1, 2), strict=True):
        assert row["label"] == str(decided.labels[k])
        assert row["probability"] == pytest.approx(float(probabilities[k].max()), abs=1e-6)
        assert (row["decision_time"], row["silent"]) == (decided.decision_time[k], decided.silent[k])
    assert len({row["probability"] for row in rows}) == 3
    assert main(["predict", model, files[0]]) == 0
    assert files[0] in capsys.readouterr().out


def test_predict_refuses_the_wrong_shape_and_files_that_are_not_there(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(run / "model.bitspike")
    np.save(tmp_path / "big.npy", np.zeros((2, 28, 28), np.uint8))
    assert "8, 8" in complaint(capsys, "predict", model, str(tmp_path / "big.npy"))
    assert "cannot be read" in complaint(capsys, "predict", model, str(tmp_path / "absent.png"))
    assert "cannot be read" in complaint(capsys, "predict", str(tmp_path / "absent.bitspike"), "x.png")
    (tmp_path / "damaged.bitspike").write_bytes(Path(model).read_bytes()[:100])
    assert "damaged.bitspike" in complaint(capsys, "predict", str(tmp_path / "damaged.bitspike"), "x.png")
    assert "which inputs" in complaint(capsys, "predict", model)


def test_predict_needs_no_torch(run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "some.npy", load("digits").test_inputs[:2])
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'torch':\n"
        "            raise ImportError('no torch here')\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"from bitspike.cli import main; sys.exit(main({['predict', str(run / 'model.bitspike')]!r} + sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "some.npy")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_pack_again_gives_the_same_bytes(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = result(capsys, "pack", str(run), "-o", str(tmp_path / "m.bitspike"))
    assert (tmp_path / "m.bitspike").read_bytes() == (run / "model.bitspike").read_bytes()
    assert packed["bytes"] == (tmp_path / "m.bitspike").stat().st_size
    assert packed["synapses"] == 64 * 24 + 24 * 10
    assert "not a folder" in complaint(
        capsys, "pack", str(run), "-o", str(tmp_path / "absent" / "m.bitspike")
    )


def test_report_is_written_where_it_says(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "report.html").unlink()
    assert Path(result(capsys, "report", str(run))["report"]) == run / "report.html"
    assert (run / "report.html").stat().st_size > 10_000


def test_verbs_of_runs_refuse_folders_that_hold_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("eval", "pack", "report"):
        assert str(tmp_path) in complaint(capsys, verb, str(tmp_path))
    assert "holds no run" in complaint(capsys, "train", "--resume", str(tmp_path))


def test_a_second_run_into_the_same_folder_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "experiment.json").read_bytes()
    assert "already holds a run" in complaint(capsys, "train", "bs4nn-digits", "--out", str(run))
    assert (run / "experiment.json").read_bytes() == before


def test_wrong_recipes_options_and_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ("--out", str(tmp_path / "new"))
    assert "did you mean bs4nn-digits?" in complaint(capsys, "train", "bs4n-digits", *out)
    assert "name the recipe first" in complaint(capsys, "train", *out)
    assert "--training.epochs" in complaint(capsys, "train", "bs4nn-digits", "--training.epoch", "3", *out)
    assert "is not a whole number" in complaint(capsys, "train", "bs4nn-digits", "--seed", "one", *out)
    assert "1 or more" in complaint(capsys, "train", "bs4nn-digits", "--training.epochs=0", *out)
    assert "network.delay to 0" in complaint(capsys, "train", "bs4nn-digits", "--network.delay", "1", *out)
    assert not (tmp_path / "new").exists()


def test_data_that_are_not_there(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ("--out", str(tmp_path / "new"))
    assert "'minst' is unknown" in complaint(capsys, "train", "bs4nn-digits", "--data", "minst", *out)
    absent = ("--data", "mnist", "--data-dir", str(tmp_path / "absent"))
    assert "no folder" in complaint(capsys, "train", "bs4nn-digits", *absent, *out)
    assert "no such folder" in complaint(capsys, "eval", str(run), "--data", f"idx:{tmp_path / 'absent'}")
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("no_report")
def test_own_idx_files_are_trained_on_and_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits, own = load("digits"), tmp_path / "own"
    own.mkdir()
    two = digits.train_labels < 2
    for side, images, labels in (
        ("train", digits.train_inputs[two], digits.train_labels[two]),
        ("test", digits.test_inputs[digits.test_labels < 2], digits.test_labels[digits.test_labels < 2]),
    ):
        write_idx(own / f"{side}-images-idx3-ubyte", images)
        write_idx(own / f"{side}-labels-idx1-ubyte", labels.astype(np.uint8))
    folder, data = tmp_path / "run", f"idx:{own}"
    trained = result(capsys, "train", "bs4nn-digits", *SMALL, "--data", data, "--out", str(folder))
    assert trained["accuracy"] > 0.6
    assert result(capsys, "eval", str(folder))["accuracy"] == trained["accuracy"]
    assert "10 classes" in complaint(capsys, "eval", str(folder), "--data", "digits")


@pytest.mark.usefixtures("no_report")
def test_resuming_a_finished_run_changes_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "model.bitspike").read_bytes()
    again = result(capsys, "train", "--resume", str(run))
    assert again["run"] == str(run)
    assert (run / "model.bitspike").read_bytes() == before


@pytest.mark.usefixtures("no_report")
def test_more_epochs_and_other_settings_go_on_with_a_finished_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(run, tmp_path / "copy")
    before = (folder / "experiment.json").read_bytes(), (folder / "manifest.json").read_bytes()
    said = complaint(capsys, "train", "--resume", str(folder), "--optimizer.lr", "0.001")
    assert "is finished, without optimizer.lr changed; raise training.epochs too" in said
    said = complaint(capsys, "train", "--resume", str(folder), "--seed", "4", "--training.epochs", "7")
    assert "seed cannot change while a run goes on; start another run" in said
    assert before == ((folder / "experiment.json").read_bytes(), (folder / "manifest.json").read_bytes())
    longer = ("--training.epochs", "7", "--optimizer.lr", "0.001")
    assert result(capsys, "train", "--resume", str(folder), *longer)["run"] == str(folder)
    experiment = json.loads((folder / "experiment.json").read_text())
    assert (experiment["training"]["epochs"], experiment["optimizer"]["lr"]) == (7, 0.001)
    told = json.loads((folder / "manifest.json").read_text())["resumed"][-1]
    assert told["changes"]["training.epochs"] == [6, 7]
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 7
