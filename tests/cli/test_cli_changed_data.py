"""A run knows its data: other data under their name are named by eval and refused by committee."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from bitspike import cli, data
from bitspike.data import write_idx
from bitspike.data.idx import read_idx
from bitspike.experiment import Data, Training
from bitspike.recipes.bnn import bnn_digits
from bitspike.training import train


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run on a folder of IDX files, and that folder."""
    monkeypatch.chdir(tmp_path)
    mine, digits = tmp_path / "mine", data.load("digits")
    mine.mkdir()
    for side in ("train", "test"):
        write_idx(mine / f"{side}-images-idx3-ubyte", vars(digits)[f"{side}_inputs"])
        write_idx(mine / f"{side}-labels-idx1-ubyte", vars(digits)[f"{side}_labels"].astype(np.uint8))
    recipe = replace(bnn_digits, data=Data("idx:mine"), training=Training(epochs=1, batch_size=100))
    folder = train(recipe, tmp_path / "run", progress=False).folder
    assert cli.main(["pack", str(folder)]) == 0
    return folder, mine


def roll(file):
    write_idx(file, np.roll(read_idx(file), 1))


def test_eval_says_which_part_changed_and_committee_refuses(run, capsys):
    folder, mine = run
    capsys.readouterr()
    assert cli.main(["eval", str(folder), "--json"]) == 0
    out, err = capsys.readouterr()
    assert "changed_data" not in json.loads(out)
    assert not err
    roll(mine / "test-labels-idx1-ubyte")
    assert cli.main(["eval", str(folder), "--json"]) == 0
    out, err = capsys.readouterr()
    (part,) = json.loads(out)["changed_data"]
    assert "test" in part
    assert part in err
    assert cli.main(["committee", str(folder), str(folder), "-o", str(folder / "two.bitspike")]) == 2
    assert "was trained on other data" in capsys.readouterr().err
    assert not (folder / "two.bitspike").exists()
    shutil.copytree(mine, mine.with_name("other"))  # other data by another name
    for other in ("digits", "idx:other"):
        assert cli.main(["eval", str(folder), "--data", other, "--json"]) == 0
        assert "changed_data" not in json.loads(capsys.readouterr().out)
