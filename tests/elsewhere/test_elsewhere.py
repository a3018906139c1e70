"""The code path of a device is one: every rule trains on a second device that computes on the CPU, to the same bits."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bitspike.errors import BackendError
from bitspike.ops.backend import resolve_device
from bitspike.training import train

HERE = Path(__file__).parent


def test_every_rule_trains_on_another_device_to_the_bits_of_the_cpu():
    command = [sys.executable, HERE / "train_elsewhere.py"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": equal, there") == 6


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_before_anything_is_written(tmp_path):
    from dataclasses import replace

    from bitspike.recipes import RECIPES

    with pytest.raises(BackendError, match="device is cuda, but"):
        train(replace(RECIPES["bs4nn-digits"], device="cuda"), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    assert resolve_device("auto") == "cpu"


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["bs4nn-digits", "bnn-digits", "hm2bp-digits", "bayes-bisnn-moons"])
def test_a_recipe_of_every_rule_trains_on_a_gpu(name, tmp_path):
    from dataclasses import replace

    from bitspike.recipes import RECIPES

    recipe = RECIPES[name]
    recipe = replace(recipe, device="cuda", training=replace(recipe.training, epochs=1, mode_epochs=0))
    result = train(recipe, tmp_path / "run", progress=False)
    assert result.evaluation["accuracy"] > 0.3
