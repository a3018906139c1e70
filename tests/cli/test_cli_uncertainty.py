"""`bitspike predict --abstain`, thresholds on their way from a run to its model file, and what `eval` shows of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import bitspike
from bitspike.cli import main
from bitspike.data import load, write_idx
from bitspike.deploy.model import Model
from bitspike.deploy.pack import save, with_conformal
from bitspike.metrics import coverage_range, mutual_information
from bitspike.packed.committee import CommitteePacked
from bitspike.packed.contents import Contents
from bitspike.packed.file import read, write
from bitspike.packed.first_spike.layers import FirstSpikePackedLayer

N_VALIDATION = 240  # a sixth of the embedded digits that are not test images


def as_idx(folder: Path, images: np.ndarray[Any, Any]) -> None:
    """A data set of ten classes whose test images these are."""
    folder.mkdir()
    for side in ("train", "t10k"):
        write_idx(folder / f"{side}-images-idx3-ubyte", images)
        write_idx(folder / f"{side}-labels-idx1-ubyte", (np.arange(len(images)) % 10).astype(np.uint8))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    np.save(tmp_path / "some.npy", load("digits").test_inputs[:60])
    return tmp_path / "some.npy"


def result(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main([*arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return " ".join(shown.err.replace("│", " ").split())


def test_thresholds_of_the_run_lie_in_its_model_file(run: Path) -> None:
    model = bitspike.load(run / "model.bitspike")
    stored = json.loads((run / "evaluation.json").read_text())["uncertainty"]
    assert [list(pair) for pair in model.contents.conformal] == stored["conformal_thresholds"]
    digits = load("digits")
    for alpha, figures in stored["conformal"].items():
        within = model.sets(digits.test_inputs, float(alpha))
        held = within[np.arange(len(within)), digits.test_labels]
        assert held.mean() == pytest.approx(figures["coverage"])
        assert within.sum(1).mean() == pytest.approx(figures["mean_set_size"])


def test_answers_and_refusals(run: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(run / "model.bitspike")
    found = result(capsys, "predict", model, str(images), "--abstain", "0.05")
    plain = result(capsys, "predict", model, str(images))
    assert found["alpha"] == 0.05
    assert "alpha" not in plain
    answers = bitspike.load(model).abstain(np.load(images), 0.05)
    for row, answer, other in zip(found["predictions"], answers.tolist(), plain["predictions"], strict=True):
        assert {name: row[name] for name in other} == other
        assert row["refused"] == (answer == -1) == (len(row["set"]) != 1)
        assert row["answer"] == (None if answer == -1 else str(answer))
        if answer != -1:
            assert row["set"] == [row["answer"]] == [row["label"]]
    assert 0 < sum(row["refused"] for row in found["predictions"]) < 60


def test_the_table_shows_answers_and_sets(
    run: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["predict", str(run / "model.bitspike"), str(images), "--abstain", "0.05"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["file", "input", "answer", "set", "probability", "decision", "time", "silent"]
    rows = [line for line in lines if "some.npy" in line]
    assert len(rows) == 60
    refused = [line for line in rows if "refused" in line]
    assert any("," in line for line in refused)
    assert lines[-1] == f"refused {len(refused)} of 60 at alpha 0.05"


def test_bad_values_are_refused_before_anything_runs(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = str(tmp_path / "absent.npy")
    model = str(run / "model.bitspike")
    for alpha in ("0", "1", "-0.1", "nan", "1.5"):
        said = complaint(capsys, "predict", str(tmp_path / "absent"), absent, f"--abstain={alpha}")
        assert "the share of sets that may miss the right class, between 0 and 1" in said
    assert "supports" in complaint(capsys, "predict", model, absent, "--abstain", "0.0001")
    assert "--abstain" in complaint(capsys, "predict", model, absent, "--abstain", "often")
    bare = tmp_path / "bare.bitspike"
    write(dataclasses.replace(read(model), conformal=()), bare)
    said = complaint(capsys, "predict", str(bare), absent, "--abstain", "0.1")
    assert "no conformal thresholds" in said
    assert "bitspike pack" in said


def test_a_run_with_damaged_thresholds_is_not_packed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run / "evaluation.json"
    before = file.read_text()
    try:
        damaged = json.loads(before)
        damaged["uncertainty"]["conformal_thresholds"] = [[0.1, 2.0]]
        file.write_text(json.dumps(damaged))
        said = complaint(capsys, "pack", str(run), "-o", str(tmp_path / "m"))
        assert "evaluation.json" in said
        assert "train the run again" in said
        del damaged["uncertainty"]  # a run of an older release
        file.write_text(json.dumps(damaged))
        assert result(capsys, "pack", str(run), "-o", str(tmp_path / "m"))["model"] == str(tmp_path / "m")
        assert bitspike.load(tmp_path / "m").contents.conformal == ()
    finally:
        file.write_text(before)


def test_eval_shows_the_whole_family(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = result(capsys, "eval", str(run), "--ood", "digits")["uncertainty"]
    stored = json.loads((run / "evaluation.json").read_text())["uncertainty"]
    for name in ("ece_interval", "ece_mass", "ece_mass_interval", "aurc", "eaurc"):
        assert found[name] == pytest.approx(stored[name], rel=1e-5, abs=1e-7)
    assert found["conformal"] == stored["conformal"]
    assert found["conformal_samples"] == stored["conformal_samples"] == N_VALIDATION
    ends = found["conformal"]["0.1"]["coverage_range"]
    assert ends == list(coverage_range(N_VALIDATION, 0.1))
    assert found["ood"]["entropy"] == found["ood"]["max_probability"] == 0.5  # of the very same images
    assert main(["eval", str(run), "--ood", "digits"]) == 0
    shown = capsys.readouterr().out.splitlines()
    width = {line.index(unit) for line in shown for unit in (" %, 95", " nats", " steps") if unit in line}
    assert len(width) == 1
    low, high = found["ece_mass_interval"]
    assert any(line.endswith(f"95 % interval {100 * low:.2f} to {100 * high:.2f}") for line in shown)
    expected = "90 % {:.1f} to {:.1f} %".format(*(100 * end for end in ends))
    assert any(" ".join(line.split()).startswith(expected) for line in shown)
    assert any(f"of 100 models, each of {N_VALIDATION} calibration inputs" in line for line in shown)
    assert any("against 355 inputs of digits" in line for line in shown)
    without = result(capsys, "eval", str(run), "--reference")["uncertainty"]
    assert set(without) == {"ece_interval", "ece_mass", "ece_mass_interval", "aurc", "eaurc"}
    bare = run.parent / "bare.bitspike"
    write(dataclasses.replace(read(run / "model.bitspike"), conformal=()), bare)
    assert "conformal" not in result(capsys, "eval", str(bare))["uncertainty"]
    as_idx(tmp_path / "others", load("digits").test_inputs)
    # of a file alone, and for other data, there is no calibration set to name
    for where in ([str(run / "model.bitspike")], [str(run), "--data", f"idx:{tmp_path / 'others'}"]):
        alone = result(capsys, "eval", *where)["uncertainty"]
        assert "conformal_samples" not in alone
        assert set(alone["conformal"]["0.1"]) == set(found["conformal"]["0.1"]) - {"coverage_range"}
        assert main(["eval", *where]) == 0
        assert "on average over calibration sets; one model strays" in capsys.readouterr().out


def test_strange_inputs_are_told_apart_and_must_have_the_same_shape(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = load("digits")
    as_idx(tmp_path / "flat", digits.test_inputs // 8 + 100)
    as_idx(tmp_path / "big", np.zeros((20, 9, 9), np.uint8))
    found = result(capsys, "eval", str(run), "--ood", f"idx:{tmp_path / 'flat'}")["uncertainty"]["ood"]
    model = bitspike.load(run / "model.bitspike")
    inside, outside = (
        model.predict_proba(images).astype(np.float64)
        for images in (digits.test_inputs, digits.test_inputs // 8 + 100)
    )
    truth = [0] * len(inside) + [1] * len(outside)
    expected = roc_auc_score(truth, 1 - np.concatenate([inside, outside]).max(1))
    assert found["max_probability"] == pytest.approx(expected)
    assert found["n"] == len(outside)
    assert "same shape" in complaint(capsys, "eval", str(run), "--ood", f"idx:{tmp_path / 'big'}")
    assert "'minst' is unknown" in complaint(capsys, "eval", str(run), "--ood", "minst")


def test_a_packed_committee_is_judged_by_its_disagreement(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, digits = bitspike.load(run / "model.bitspike"), load("digits")
    layers = first.network.layers
    turned = FirstSpikePackedLayer.binary(
        np.roll(layers[0].weights.dense(), 64 // 2, axis=0) > 0, layers[0].thresholds
    )
    network = dataclasses.replace(first.network, layers=(turned, *layers[1:]))
    second = dataclasses.replace(first.contents, network=network)
    packed = CommitteePacked((first.contents, second))
    shape, classes = first.contents.input_shape, first.classes
    committee = Model(Contents(packed, shape, classes, temperature=0.8, recipe="bs4nn-digits"))
    save(committee, tmp_path / "plain")
    save(with_conformal(committee, ((0.05, 0.9), (0.1, 0.7))), tmp_path / "two")
    strange = 255 - digits.test_inputs
    as_idx(tmp_path / "negative", strange)
    ood = f"idx:{tmp_path / 'negative'}"
    found = result(capsys, "eval", str(tmp_path / "two"), "--ood", ood, "--data", "digits")["uncertainty"]
    inside, outside = (
        mutual_information(torch.from_numpy(committee.member_probabilities(images)))
        for images in (digits.test_inputs, strange)
    )
    expected = roc_auc_score([0] * len(inside) + [1] * len(outside), torch.cat([inside, outside]))
    assert found["ood"]["mutual_information"] == pytest.approx(expected)
    assert expected != 0.5
    held = committee.predict_proba(digits.test_inputs)[np.arange(355), digits.test_labels]
    assert found["conformal"]["0.1"]["coverage"] == pytest.approx(np.mean(1 - held.astype(float) <= 0.7))
    np.save(tmp_path / "some.npy", digits.test_inputs[:30])
    rows = result(capsys, "predict", str(tmp_path / "two"), str(tmp_path / "some.npy"), "--abstain", "0.07")
    assert any(row["refused"] for row in rows["predictions"])
    refusal = complaint(
        capsys, "predict", str(tmp_path / "plain"), str(tmp_path / "some.npy"), "--abstain", "0.07"
    )
    assert "no conformal thresholds" in refusal
