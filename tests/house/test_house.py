"""A system that the library has never heard of: votes_network.py, votes_rule.py, votes_packed.py, and a line."""

import dataclasses
import json
import shutil
import sys

import numpy as np
import pytest
import torch
import votes_network
import votes_packed
import votes_rule

from bitspike import cli, codec, kinds
from bitspike.coding import Pixel
from bitspike.data import load as load_data
from bitspike.deploy import load, pack
from bitspike.errors import DataError, FormatError, UsageError
from bitspike.experiment import Experiment
from bitspike.settings import LIF, Predict, Weights
from bitspike.training import load_model, resume, train

FLOOR = 0.8  # ten perceptrons of one bit on digits: 0.86 in eight epochs
PLUGIN = ["--plugin", "votes_rule"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("house") / "run"
    return train(votes_rule.votes_digits, folder, progress=False)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def command(capsys, *words):
    """What the command line says with --json."""
    code = cli.main([*map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def without_its_modules(monkeypatch):
    """As in a process that has not imported them."""
    for module in (votes_rule, votes_network, votes_packed):
        monkeypatch.delitem(sys.modules, module.__name__)


def test_it_trains_and_is_evaluated(run):
    figures = run.evaluation
    assert figures["accuracy"] >= FLOOR
    assert (figures["system"], figures["decides"]) == ("votes", "window")
    assert [layer["neurons"] for layer in figures["layers"]] == [64, 10]
    assert set(figures["robustness"]) == {"jitter", "deletion"}
    assert figures["uncertainty"]["conformal_early"]


def test_its_files_name_its_modules(run):
    saved = json.loads((run.folder / "experiment.json").read_text())
    assert saved["rule"]["kind"] == "votes_rule:Perceptron"
    assert saved["network"]["kind"] == "votes_network:Votes"
    assert codec.from_json(codec.to_json(run.experiment)) == run.experiment


def test_a_line_in_kinds_gives_it_a_name_of_its_own(monkeypatch, run):
    monkeypatch.setitem(kinds.AXES[votes_rule.Rule], "Perceptron", votes_rule.Perceptron)
    monkeypatch.setitem(codec.NAMES, votes_rule.Perceptron, "Perceptron")
    text = codec.to_json(run.experiment)
    assert json.loads(text)["rule"]["kind"] == "Perceptron"
    assert codec.from_json(text) == run.experiment


def test_it_packs_decides_alike_and_predicts(run, digits, tmp_path, capsys):
    code, said = command(capsys, "pack", run.folder, "-o", tmp_path / "votes.bitspike", *PLUGIN)
    assert code == 0
    assert said["synapse_bits"] == 640
    model = load.load(tmp_path / "votes.bitspike")
    images = digits.test_inputs
    coded = run.experiment.coding.encode(torch.from_numpy(images).flatten(1))
    assert pack.difference(model.decide(images), run.model.decide(coded).decisions(), "both") is None
    np.save(tmp_path / "some.npy", images[:3])
    code, said = command(capsys, "predict", tmp_path / "votes.bitspike", tmp_path / "some.npy", *PLUGIN)
    labels = [row["label"] for row in said["predictions"]]
    assert labels == [model.classes[label] for label in model.predict(images[:3])]


def test_eval_verifies_it(run, tmp_path, capsys):
    shutil.copytree(run.folder, tmp_path / "run")
    assert command(capsys, "pack", tmp_path / "run", *PLUGIN)[0] == 0
    code, said = command(capsys, "eval", tmp_path / "run", "--verify", *PLUGIN)
    assert (code, said["verified"]) == (0, ["reference"])
    assert said["accuracy"] == pytest.approx(run.evaluation["accuracy"])


def test_it_has_a_report(run, capsys, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    assert command(capsys, "report", tmp_path / "run")[0] == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Perceptron" in page
    assert f"{run.evaluation['accuracy']:.2%}" in page


def test_it_resumes_to_the_same_bits_and_trains_on(run, tmp_path):
    class Stop(Exception):
        pass

    def interrupted(*_):
        raise Stop

    from bitspike.training import run as loop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Display, "epoch", interrupted)  # after the first checkpoint
        with pytest.raises(Stop):
            train(votes_rule.votes_digits, tmp_path / "run", progress=False)
    again = resume(tmp_path / "run", progress=False)
    assert again.evaluation == run.evaluation
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
    longer = resume(tmp_path / "run", progress=False, changes={"training.epochs": 9})
    assert longer.experiment.training.epochs == 9


def test_it_joins_a_committee(run, tmp_path, capsys):
    other = dataclasses.replace(
        votes_rule.votes_digits,
        data=dataclasses.replace(votes_rule.votes_digits.data, split=1),
        training=dataclasses.replace(votes_rule.votes_digits.training, epochs=2),
        seed=2,
    )
    train(other, tmp_path / "other", progress=False)
    output = tmp_path / "two.bitspike"
    code, said = command(capsys, "committee", run.folder, tmp_path / "other", "-o", output, *PLUGIN)
    assert (code, said["members"]) == (0, 2)
    assert said["bytes"] == output.stat().st_size
    assert len(load.load(output).network.members) == 2


def test_it_has_a_posterior(tmp_path):
    bayes = dataclasses.replace(
        votes_rule.votes_digits,
        weights=Weights("bernoulli", clip=4.0),
        predict=Predict("committee", draws=3),
        training=dataclasses.replace(votes_rule.votes_digits.training, epochs=3),
    )
    result = train(bayes, tmp_path / "run", progress=False)
    assert set(result.evaluation["modes"]) == {"map", "draw", "ensemble", "committee"}


def test_it_is_refused_by_name_where_it_does_not_fit():
    own = votes_rule.votes_digits
    for change, said in (
        ({"network": LIF()}, "LIF"),
        ({"coding": Pixel()}, "Pixel"),
        ({"weights": Weights("real")}, "real"),
        ({"coding": dataclasses.replace(own.coding, n_steps=1)}, "n_steps"),
    ):
        with pytest.raises(UsageError, match=said):
            dataclasses.replace(own, **change)
    with pytest.raises(UsageError, match="Votes"):
        Experiment("other", network=votes_network.Votes())
    with pytest.raises(UsageError, match=r"network\.scale"):
        votes_network.Votes(scale=-1.0)


def test_without_its_modules_its_files_say_what_to_do(run, tmp_path, monkeypatch):
    shutil.copytree(run.folder, tmp_path / "run")
    file = tmp_path / "votes.bitspike"
    pack.save(pack.pack(run.model, run.experiment, [str(digit) for digit in range(10)], (8, 8)), file)
    before = dict(sys.modules)
    without_its_modules(monkeypatch)
    with pytest.raises(DataError, match="--plugin votes_network"):
        load_model(tmp_path / "run")
    with pytest.raises(FormatError, match="--plugin votes_packed"):
        load.load(file)
    assert not {"votes_rule", "votes_network", "votes_packed"} & set(
        sys.modules
    )  # nothing was imported for a file
    monkeypatch.undo()
    assert sys.modules["votes_rule"] is before["votes_rule"]
    assert load_model(tmp_path / "run", plugins=[votes_rule])[0] == run.experiment


def test_a_class_that_cannot_be_saved_is_refused_before_anything_is_written(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Local(votes_rule.Perceptron):
        """Nobody finds it again."""

    own = dataclasses.replace(votes_rule.votes_digits, rule=Local())
    with pytest.raises(UsageError, match="Local"):
        train(own, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
